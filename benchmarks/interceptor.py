"""Intercept the DynamoDB requests of a handler: count what they consume, lose a response, or crash the handler.

This uses botocore's events on the default boto3 session, from which all contenders' clients are created.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
import botocore.session
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

# All items here are below 1 KB: a write consumes 1 unit, and 2 in a transaction. A write that its condition rejects
# consumes the same (Developer Guide, "DynamoDB read and write operations" and "Managing complex workflows with
# DynamoDB transactions"), but the error response does not include it.
UNITS_PER_REJECTED_WRITE = 1
UNITS_PER_REJECTED_ACTION = 2


class Crash(BaseException):
    """The end of the handler's process. A handler cannot catch it with `except Exception`."""


class Usage(NamedTuple):
    """The requests that were sent, and the capacity that they consumed."""

    requests: int = 0  # HTTP requests: botocore's retries count too.
    write_units: float = 0
    read_units: float = 0


class RequestInterceptor:
    """Count and disturb the requests of all clients that boto3 creates after this object."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        boto3.setup_default_session(botocore_session=session)
        session.register("before-parameter-build.dynamodb", self._before_build)
        session.register("before-send.dynamodb", self._before_send)
        session.register("after-call.dynamodb", self._after_call)
        self._counting = False
        self.usage = Usage()
        self._calls_until_crash = 0  # 0 for no crash.
        self._requests_until_loss = 0  # 0 for no loss.

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count from zero in this block. The result is in `usage`."""
        self._counting, self.usage = True, Usage()
        try:
            yield
        finally:
            self._counting = False

    @contextmanager
    def crash_after(self, call: int) -> Iterator[None]:
        """Raise Crash instead of returning the result of the nth call, counted from 1."""
        self._calls_until_crash = call
        try:
            yield
        finally:
            self._calls_until_crash = 0

    @contextmanager
    def lose_response(self, request: int) -> Iterator[None]:
        """Send the nth request, counted from 1, and raise a timeout instead of returning its response."""
        self._requests_until_loss = request
        try:
            yield
        finally:
            self._requests_until_loss = 0

    def _before_build(self, **event: Any) -> None:
        if self._counting:
            event["params"]["ReturnConsumedCapacity"] = "TOTAL"
            event["context"]["parameters"] = event["params"]

    def _before_send(self, **event: Any) -> None:
        if self._counting:
            self._add(Usage(requests=1))
        if self._reaches_zero("_requests_until_loss"):
            URLLib3Session().send(event["request"])
            raise ReadTimeoutError(endpoint_url=event["request"].url)

    def _after_call(self, **event: Any) -> None:
        if self._counting:
            self._add(consumed(event["model"].name, event["context"]["parameters"], event["parsed"]))
        if self._reaches_zero("_calls_until_crash"):
            raise Crash

    def _reaches_zero(self, countdown: str) -> bool:
        left = getattr(self, countdown)
        setattr(self, countdown, max(left - 1, 0))
        return bool(left == 1)

    def _add(self, more: Usage) -> None:
        total = self.usage
        self.usage = Usage(
            total.requests + more.requests,
            total.write_units + more.write_units,
            total.read_units + more.read_units,
        )


def consumed(operation: str, parameters: Any, result: Any) -> Usage:
    """Return the capacity that a request consumed.

    Take it from the result if it is there, and otherwise calculate it by DynamoDB's rules. Raise ValueError for an
    error whose price is not known.
    """
    if "Error" in result:
        return Usage(write_units=units_of_rejection(operation, parameters, result["Error"]["Code"]))
    if operation == "BatchGetItem":
        return Usage(read_units=units_of_batch_get(parameters))
    capacity = result["ConsumedCapacity"]
    total = sum(each["CapacityUnits"] for each in (capacity if isinstance(capacity, list) else [capacity]))
    return Usage(read_units=total) if operation == "GetItem" else Usage(write_units=total)


def units_of_batch_get(parameters: Any) -> float:
    """Return the read units of a BatchGetItem, which the emulator does not report: the sum over its keys."""
    return sum(
        len(request["Keys"]) * (1.0 if request.get("ConsistentRead") else 0.5)
        for request in parameters["RequestItems"].values()
    )


def units_of_rejection(operation: str, parameters: Any, code: str) -> int:
    """Return the write units of a request that a condition rejected."""
    if code == "ConditionalCheckFailedException":
        return UNITS_PER_REJECTED_WRITE
    if code == "TransactionCanceledException":
        return UNITS_PER_REJECTED_ACTION * len(parameters["TransactItems"])
    raise ValueError(f"{operation} failed with {code}. Add the units that it consumes to benchmarks/interceptor.py.")
