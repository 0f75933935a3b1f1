"""The wire between a handler and DynamoDB: what goes over it is counted here, and broken on demand.

Done by botocore's own events, on the session that all ways' clients are made from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
import botocore.session
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

# All items here are below 1 KB: a write is 1 write unit, and 2 in a transaction. One that is refused costs the same
# (Developer Guide, "DynamoDB read and write operations" and "Managing complex workflows with DynamoDB transactions"),
# but its answer does not say so.
UNITS_OF_A_REFUSED_WRITE = 1
UNITS_OF_A_REFUSED_ACTION = 2


class Crash(BaseException):
    """The handler's process ends here. No `except Exception` sees that."""


class Traffic(NamedTuple):
    """What has gone over the wire."""

    requests: int = 0  # As HTTP sees them: what botocore tries again counts again.
    write_units: float = 0
    read_units: float = 0


class Wire:
    """What happens to the requests of all clients that boto3 makes from now on."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        boto3.setup_default_session(botocore_session=session)
        session.register("before-parameter-build.dynamodb", self._ask_for_units)
        session.register("before-send.dynamodb", self._send)
        session.register("after-call.dynamodb", self._answered)
        self._counting = False
        self.traffic = Traffic()
        self._crash_after = 0  # Answers; 0 for no crash.
        self._lose_after = 0  # Requests: the answer to the last of them is lost; 0 for none.

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what goes over the wire; `traffic` tells what there was."""
        self._counting, self.traffic = True, Traffic()
        try:
            yield
        finally:
            self._counting = False

    @contextmanager
    def crashing(self, after: int) -> Iterator[None]:
        """Raises Crash in place of giving the handler this answer, the how manieth of all."""
        self._crash_after = after
        try:
            yield
        finally:
            self._crash_after = 0

    @contextmanager
    def losing(self, answer: int) -> Iterator[None]:
        """Lets DynamoDB carry a request out, the how manieth of all, and botocore wait for the answer in vain."""
        self._lose_after = answer
        try:
            yield
        finally:
            self._lose_after = 0

    def _ask_for_units(self, **event: Any) -> None:
        if self._counting:
            event["params"]["ReturnConsumedCapacity"] = "TOTAL"
            event["context"]["parameters"] = event["params"]

    def _send(self, **event: Any) -> None:
        if self._counting:
            self._add(Traffic(requests=1))
        if self._is_now("_lose_after"):
            URLLib3Session().send(event["request"])
            raise ReadTimeoutError(endpoint_url=event["request"].url)

    def _answered(self, **event: Any) -> None:
        if self._counting:
            self._add(units(event["model"].name, event["context"]["parameters"], event["parsed"]))
        if self._is_now("_crash_after"):
            raise Crash

    def _is_now(self, countdown: str) -> bool:
        left = getattr(self, countdown)
        setattr(self, countdown, max(left - 1, 0))
        return bool(left == 1)

    def _add(self, more: Traffic) -> None:
        so_far = self.traffic
        self.traffic = Traffic(
            so_far.requests + more.requests,
            so_far.write_units + more.write_units,
            so_far.read_units + more.read_units,
        )


def units(operation: str, parameters: Any, answer: Any) -> Traffic:
    """What a request has consumed: as its answer says, or by DynamoDB's rules where it says nothing."""
    if "Error" in answer:
        return Traffic(write_units=units_of_a_refusal(operation, parameters, answer["Error"]["Code"]))
    if operation == "BatchGetItem":
        return Traffic(read_units=units_of_reads(parameters))
    consumed = answer["ConsumedCapacity"]
    total = sum(each["CapacityUnits"] for each in (consumed if isinstance(consumed, list) else [consumed]))
    return Traffic(read_units=total) if operation == "GetItem" else Traffic(write_units=total)


def units_of_reads(parameters: Any) -> float:
    """The read units of a BatchGetItem, which the emulator does not tell: those of its reads one by one."""
    return sum(
        len(request["Keys"]) * (1.0 if request.get("ConsistentRead") else 0.5)
        for request in parameters["RequestItems"].values()
    )


def units_of_a_refusal(operation: str, parameters: Any, code: str) -> int:
    """The write units of a request that a condition has refused."""
    if code == "ConditionalCheckFailedException":
        return UNITS_OF_A_REFUSED_WRITE
    if code == "TransactionCanceledException":
        return UNITS_OF_A_REFUSED_ACTION * len(parameters["TransactItems"])
    raise ValueError(f"{operation} was refused with {code}: what that consumes is not known here")
