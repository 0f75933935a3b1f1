"""Faults that can hit a request of the app, and an injector that applies them between a boto3 client and the emulator.

The injector works below botocore's retries, at the network, so the SDK handles each fault as it would in production.
Callers decide when which fault comes (races.py, test_failing_database.py). engine/client.py applies those of
schedules.FAULTS on the engine, which has conflicts and throttled items of its own.
"""

import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

# app.py creates its client with retries={"total_max_attempts": 4}.
SDK_ATTEMPTS = 4

Send = Callable[[], AWSResponse]


class Crash(BaseException):
    """Ends an invocation as if its process were killed. Not an Exception, so that the app cannot catch it."""


class Fault(Enum):
    """What happens to a request."""

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
# After one of these an invocation may fail. The app must recover from all others by itself.
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
    """Hooks into a client and applies to each request the fault that `choose(request)` returns.

    `requests` and `faults` count what has happened since they were last reset. SDK retries are not counted.
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
        """Return the response to one attempt, raise what the network raises, or return None to send it normally."""
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
    """Return the body for a cancelled transaction whose last action failed: a counter's, if it has any."""
    reasons = [{"Code": "None"}] * (actions - 1) + [{"Code": code, "Message": "Injected."}]
    return {**error("TransactionCanceledException"), "CancellationReasons": reasons}


def fake_response(request: Any, status: int, body: Mapping[str, Any]) -> AWSResponse:
    """Return a response that never came over the network."""
    raw: Any = _RawBody(json.dumps(body))
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, status, headers, raw)


class _RawBody(io.BytesIO):
    """A response body with the one method of urllib3's that botocore calls."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode())

    def stream(self, **_: Any) -> Any:
        """Yield the body in one piece."""
        yield self.read()
