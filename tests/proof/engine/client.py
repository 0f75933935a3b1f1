"""The SDK and the network between the app and the database: the SDK retries, the network loses requests and responses.

Client has the methods of boto3's client that the app calls. Http connects a real boto3 client to the same database.
Sources: botocore/retries/standard.py; "Error handling with DynamoDB".
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ConnectionClosedError
from greenlet import getcurrent

from tests.proof.engine.database import Database
from tests.proof.engine.expressions import ServiceError
from tests.proof.engine.tasks import Invocation, Scheduler
from tests.proof.faults import SDK_ATTEMPTS, Crash, Fault, fake_response

OPERATIONS = {
    "batch_get_item": "BatchGetItem",
    "delete_item": "DeleteItem",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "scan": "Scan",
    "transact_write_items": "TransactWriteItems",
    "update_item": "UpdateItem",
}
# DynamoDB's error codes that the SDK's standard mode retries. It also retries every 5xx.
RETRIED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionInProgressException",
    }
)
# Faults that also hit the SDK's retries of the request.
LASTING = frozenset({Fault.UNREACHABLE, Fault.THROTTLED_ALWAYS, Fault.ERRORS_ALWAYS})


class Network:
    """Send requests to a database, and apply the fault that `choose_fault(operation)` returns to each call."""

    def __init__(self, scheduler: Scheduler, database: Database, choose_fault: Callable[[str], Fault]) -> None:
        self.scheduler = scheduler
        self.database = database
        self.choose_fault = choose_fault
        self.requests = 0
        self._lasting: dict[Any, Fault] = {}  # The lasting fault of each invocation.

    def send(self, operation: str, request: Mapping[str, Any], attempt: int) -> dict[str, Any]:
        """Return the response to one attempt. Raise ServiceError, ConnectionClosedError, or Crash."""
        current = getcurrent()
        if attempt == 0:
            self.requests += 1
            fault = self.choose_fault(operation)
            self._lasting[current] = fault if fault in LASTING else Fault.NONE
        else:
            fault = self._lasting[current]
        if fault is Fault.CRASH_BEFORE:
            raise Crash
        if fault in (Fault.THROTTLED, Fault.THROTTLED_ALWAYS):
            raise ServiceError("ProvisionedThroughputExceededException")
        if fault is Fault.ERROR_BEFORE or (attempt and fault is Fault.ERRORS_ALWAYS):
            raise ServiceError("InternalServerError", status=500)
        if fault is Fault.REQUEST_LOST:
            raise ConnectionClosedError(endpoint_url="engine")
        running = self.scheduler.submit(self.database.start(operation, request))
        if fault in (Fault.CRASH_DURING, Fault.GIVEN_UP) and isinstance(current, Invocation):
            self.scheduler.sleep(0)  # Meanwhile the operation may continue.
            if fault is Fault.CRASH_DURING:
                raise Crash
            raise ConnectionClosedError(endpoint_url="engine")
        response: dict[str, Any] = self.scheduler.wait(running)
        if fault is Fault.CRASH_AFTER:
            raise Crash
        if fault in (Fault.RESPONSE_LOST, Fault.UNREACHABLE):
            raise ConnectionClosedError(endpoint_url="engine")
        if fault in (Fault.ERROR_AFTER, Fault.ERRORS_ALWAYS):
            raise ServiceError("InternalServerError", status=500)
        return response


class Client:
    """A DynamoDB client with boto3's methods and errors. `exceptions` are a boto3 client's exceptions."""

    def __init__(self, network: Network, exceptions: Any) -> None:
        self.network = network
        self.exceptions = exceptions
        self._tokens = 0
        for method, operation in OPERATIONS.items():
            setattr(self, method, self._method(operation))

    def _method(self, operation: str) -> Callable[..., dict[str, Any]]:
        return lambda **request: self._call(operation, request)

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "TransactWriteItems" and "ClientRequestToken" not in request:
            self._tokens += 1  # The SDK's retries send the same token.
            request = {**request, "ClientRequestToken": f"token-{self._tokens}"}
        for attempt in range(SDK_ATTEMPTS):
            is_last = attempt == SDK_ATTEMPTS - 1
            try:
                response = self.network.send(operation, request, attempt)
            except ServiceError as error:
                retried = error.code in RETRIED or error.status >= 500
                if is_last or not retried:
                    raise self._error(operation, error, attempt, exhausted=retried) from None
            except ConnectionClosedError:
                if is_last:
                    raise
            else:
                response["ResponseMetadata"] = {"RetryAttempts": attempt}
                return response
        raise AssertionError

    def _error(self, operation: str, error: ServiceError, attempt: int, exhausted: bool) -> Exception:
        metadata: dict[str, Any] = {"RetryAttempts": attempt, "HTTPStatusCode": error.status}
        if exhausted:
            metadata["MaxAttemptsReached"] = True
        content = {"Error": {"Code": error.code, "Message": error.message}, "ResponseMetadata": metadata}
        kind = self.exceptions.from_code(error.code)
        made: Exception = kind({**content, **error.more}, operation)
        return made


class Http:
    """While open, send a real boto3 client's requests to a Network instead of over HTTP."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.network: Network | None = None
        client.meta.events.register_first("before-send.dynamodb", self._before_send)

    def _before_send(self, request: Any, event_name: str, **_: Any) -> Any:
        assert self.network
        attempt = int(request.headers["amz-sdk-request"].decode().partition("attempt=")[2].partition(";")[0]) - 1
        try:
            response = self.network.send(
                event_name.rpartition(".")[2], json.loads(request.body, object_hook=_decode), attempt
            )
        except ServiceError as error:
            kind = f"com.amazonaws.dynamodb.v20120810#{error.code}"
            return fake_response(request, error.status, {"__type": kind, "message": error.message, **error.more})
        return fake_response(request, 200, response)


def _decode(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value of a request with binary data as bytes."""
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value
