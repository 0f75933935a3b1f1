"""Faults on the wire: what can become of a request between the app's own DynamoDB client and the engine.

They are put in below botocore's retries, where the network is, so that the SDK does with them what it does in
earnest. Which fault comes when is for others to say (schedules.py, test_races.py).
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

# As the client of app.py is made: retries={"total_max_attempts": 4}.
SDK_ATTEMPTS = 4

Send = Callable[[], AWSResponse]


class Crash(BaseException):
    """The process ends here. Not an Exception, so that nothing in the app can handle it."""


class Fault(Enum):
    """What becomes of a request."""

    NONE = "it is served"
    CRASH_BEFORE = "the process ends before it leaves"
    CRASH_AFTER = "it is applied, and the process ends before the response"
    RESPONSE_LOST = "it is applied, the response is lost, and the SDK makes it again"
    UNREACHABLE = "it is applied, the response is lost, and so is whatever the SDK tries then"
    CONFLICT = "its transaction is cancelled: TransactionConflict"
    THROTTLED_ITEM = "its transaction is cancelled: ThrottlingError"
    THROUGHPUT_OF_ITEM = "its transaction is cancelled: ProvisionedThroughputExceeded"
    IN_PROGRESS = "TransactionInProgressException"
    THROTTLED = "ProvisionedThroughputExceededException, once"
    THROTTLED_ALWAYS = "ProvisionedThroughputExceededException, as often as the SDK tries"
    ERROR_BEFORE = "InternalServerError, and it was not applied; then the SDK makes it again"
    ERROR_AFTER = "InternalServerError, though it was applied; then the SDK makes it again"
    ERRORS_ALWAYS = "InternalServerError, as often as the SDK tries, though the first one was applied"
    UNPROCESSED = "its answer has no item yet"


CANCELLATIONS = {
    Fault.CONFLICT: "TransactionConflict",
    Fault.THROTTLED_ITEM: "ThrottlingError",
    Fault.THROUGHPUT_OF_ITEM: "ProvisionedThroughputExceeded",
}
OF_TRANSACTIONS = frozenset({*CANCELLATIONS, Fault.IN_PROGRESS})
OF_READS = frozenset({Fault.UNPROCESSED})
# After these an invocation may end in an error; after all others the app has to cope.
ENDING = frozenset(
    {
        Fault.CRASH_BEFORE,
        Fault.CRASH_AFTER,
        Fault.UNREACHABLE,
        Fault.THROTTLED_ALWAYS,
        Fault.ERRORS_ALWAYS,
    }
)


def possible(operation: str) -> list[Fault]:
    """The faults that a request of this operation can meet."""
    return [
        fault
        for fault in Fault
        if (fault not in OF_TRANSACTIONS or operation == "TransactWriteItems")
        and (fault not in OF_READS or operation == "BatchGetItem")
    ]


class Request(NamedTuple):
    """A request that is about to leave."""

    operation: str
    body: Mapping[str, Any]


class Wire:
    """The line between a client and its endpoint; `choose` says what becomes of each request."""

    def __init__(self, client: Any) -> None:
        self.choose: Callable[[Request], Fault] = lambda request: Fault.NONE
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._client = client
        self._again = threading.local()  # What becomes of further attempts at the same request.
        client.meta.events.register_first("before-send.dynamodb", self._before_send)

    def _before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        def send() -> AWSResponse:
            answer: AWSResponse = self._client._endpoint.http_session.send(request)
            return answer

        planned: list[Fault] = self._again.__dict__.setdefault("planned", [])
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
        body = json.loads(request.body)
        if fault is Fault.CRASH_AFTER:
            send()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            raise Crash
        if fault in (Fault.UNREACHABLE, Fault.RESPONSE_LOST):
            raise ConnectionClosedError(endpoint_url=request.url)
        if fault in (Fault.THROTTLED, Fault.THROTTLED_ALWAYS):
            return answer(request, 400, error("ProvisionedThroughputExceededException"))
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.ERRORS_ALWAYS):
            return answer(request, 500, error("InternalServerError"))
        if fault is Fault.IN_PROGRESS:
            return answer(request, 400, error("TransactionInProgressException"))
        if fault is Fault.UNPROCESSED:
            return answer(request, 200, nothing_processed(body["RequestItems"]))
        if fault in CANCELLATIONS:
            return answer(request, 400, cancelled(CANCELLATIONS[fault], len(body["TransactItems"])))
        return None


def error(code: str) -> dict[str, Any]:
    """The body of an error answer."""
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "Injected."}


def cancelled(code: str, actions: int) -> dict[str, Any]:
    """The body of a cancelled transaction whose last action, a counter if there is one, is at fault."""
    reasons = [{"Code": "None"}] * (actions - 1) + [{"Code": code, "Message": "Injected."}]
    return {**error("TransactionCanceledException"), "CancellationReasons": reasons}


def nothing_processed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an answer to BatchGetItem that has none of the items."""
    return {"Responses": {table: [] for table in asked}, "UnprocessedKeys": asked}


def answer(request: Any, status: int, body: Mapping[str, Any]) -> AWSResponse:
    """An answer that never came over the network."""
    raw: Any = _Raw(json.dumps(body))
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, status, headers, raw)


class _Raw(io.BytesIO):
    """What urllib3 would hold of an answer."""

    def __init__(self, text: str) -> None:
        super().__init__(text.encode())

    def stream(self, **_: Any) -> Any:
        """The body, in one piece."""
        yield self.read()
