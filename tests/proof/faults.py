"""Faults that can hit the app's requests, and an injector that applies them between a boto3 client and the emulator.

The injector works below botocore's retries, at the network, so the SDK handles each fault as it would in production.
Callers choose the fault for each request (races.py, test_failing_database.py). On the engine, engine/client.py applies
the faults in schedules.FAULTS. The engine itself makes conflicts and throttled items.
"""

import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

# The number of attempts that app.py's client makes.
SDK_ATTEMPTS = 4

Send = Callable[[], AWSResponse]


class Crash(BaseException):
    """Ends an invocation as if its process were killed. It is not an Exception, so the app cannot catch it."""


class Fault(Enum):
    """A fault that hits a request, or NONE."""

    NONE = "the request is served"
    CRASH_BEFORE = "the process ends before it sends the request"
    CRASH_AFTER = "the request is applied, and the process ends before the response arrives"
    RESPONSE_LOST = "the request is applied, the response is lost, and the SDK's retry succeeds"
    UNREACHABLE = "the request is applied, the response is lost, and every SDK retry fails too"
    CONFLICT = "the transaction is cancelled with TransactionConflict"
    THROTTLED_ITEM = "the transaction is cancelled with ThrottlingError"
    THROUGHPUT_OF_ITEM = "the transaction is cancelled with ProvisionedThroughputExceeded"
    THROTTLED = "the request fails with ProvisionedThroughputExceededException, and the SDK's retry succeeds"
    THROTTLED_ALWAYS = "the request and every SDK retry fail with ProvisionedThroughputExceededException"
    ERROR_BEFORE = "the request fails with InternalServerError and is not applied; the SDK's retry succeeds"
    ERROR_AFTER = "the request fails with InternalServerError but is applied; the SDK's retry succeeds"
    ERRORS_ALWAYS = "the request and every SDK retry fail with InternalServerError, but the first is applied"
    REQUEST_LOST = "the request never arrives, and the SDK's retry succeeds"
    CRASH_DURING = "the process ends while the request is carried out"
    GIVEN_UP = "the SDK stops waiting and tries again while the request is carried out"


CANCELLATIONS = {
    Fault.CONFLICT: "TransactionConflict",
    Fault.THROTTLED_ITEM: "ThrottlingError",
    Fault.THROUGHPUT_OF_ITEM: "ProvisionedThroughputExceeded",
}
# An invocation may fail after one of these faults. It must survive all others.
MAY_END_INVOCATION = frozenset(
    {
        Fault.CRASH_BEFORE,
        Fault.CRASH_AFTER,
        Fault.UNREACHABLE,
        Fault.THROTTLED_ALWAYS,
        Fault.ERRORS_ALWAYS,
    }
)


class Request(NamedTuple):
    """A request that the app is about to send."""

    operation: str
    body: Mapping[str, Any]


class FaultInjector:
    """Apply the fault that `choose(request)` returns to each request of a client.

    `requests` and `faults` count requests and faults since they were last reset, without SDK retries.
    """

    def __init__(self, client: Any) -> None:
        self.choose: Callable[[Request], Fault] = lambda request: Fault.NONE
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._client = client
        self._retries = threading.local()  # The faults planned for the SDK's retries of the current request.
        client.meta.events.register_first("before-send.dynamodb", self._before_send)

    def _before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        def send() -> AWSResponse:
            response: AWSResponse = self._client._endpoint.http_session.send(request)
            return response

        planned: list[Fault] = self._retries.__dict__.setdefault("planned", [])
        if planned:
            return self._attempt(planned.pop(), request, send)
        self.requests += 1
        body = json.loads(request.body)
        fault = self.choose(Request(event_name.rpartition(".")[2], body))
        if fault is not Fault.NONE:
            self.faults[fault.name] += 1
        if fault in (Fault.UNREACHABLE, Fault.THROTTLED_ALWAYS, Fault.ERRORS_ALWAYS):
            planned.extend([fault] * (SDK_ATTEMPTS - 1))
        elif fault in (Fault.RESPONSE_LOST, Fault.THROTTLED, Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            planned.append(Fault.NONE)
        if fault in (Fault.UNREACHABLE, Fault.RESPONSE_LOST, Fault.ERRORS_ALWAYS, Fault.ERROR_AFTER):
            send()
        return self._attempt(fault, request, send)

    def _attempt(self, fault: Fault, request: Any, send: Send) -> AWSResponse | None:
        """Return a fake response or raise a network error, as the fault requires. Return None to send the request."""
        body = json.loads(request.body)
        if fault is Fault.CRASH_AFTER:
            send()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            raise Crash
        if fault in (Fault.UNREACHABLE, Fault.RESPONSE_LOST):
            raise ConnectionClosedError(endpoint_url=request.url)
        if fault in (Fault.THROTTLED, Fault.THROTTLED_ALWAYS):
            return fake_response(request, 400, error("ProvisionedThroughputExceededException"))
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.ERRORS_ALWAYS):
            return fake_response(request, 500, error("InternalServerError"))
        if fault in CANCELLATIONS:
            return fake_response(request, 400, cancelled(CANCELLATIONS[fault], len(body["TransactItems"])))
        return None


def error(code: str) -> dict[str, Any]:
    """Return the body of an error response."""
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "Injected."}


def cancelled(code: str, actions: int) -> dict[str, Any]:
    """Return the response body of a transaction that was cancelled because of its last action."""
    reasons = [{"Code": "None"}] * (actions - 1) + [{"Code": code, "Message": "Injected."}]
    return {**error("TransactionCanceledException"), "CancellationReasons": reasons}


def fake_response(request: Any, status: int, body: Mapping[str, Any]) -> AWSResponse:
    """Return a made-up HTTP response."""
    raw: Any = _RawBody(json.dumps(body, default=lambda binary: base64.b64encode(binary).decode()))
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, status, headers, raw)


class _RawBody(io.BytesIO):
    """A response body with the only method of urllib3's body that botocore calls."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode())

    def stream(self, **_: Any) -> Any:
        """Yield the whole body as one piece."""
        yield self.read()
