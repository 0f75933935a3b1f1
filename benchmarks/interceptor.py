"""Intercept a handler's DynamoDB requests: count their capacity units, lose a response, or crash the handler.

It uses botocore's events on the default boto3 session.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from benchmarks.capacity import Usage, consumed


class Crash(BaseException):
    """Simulates a crash of the handler's process. `except Exception` in a handler does not catch it."""


class RequestInterceptor:
    """Count requests and inject faults in all boto3 clients that are created later."""

    def __init__(self) -> None:
        session = botocore.session.get_session()
        boto3.setup_default_session(botocore_session=session)
        session.register("before-parameter-build.dynamodb", self._before_build)
        session.register("before-send.dynamodb", self._before_send)
        session.register("after-call.dynamodb", self._after_call)
        self._counting = False
        self.usage = Usage()
        self._calls_until_crash = 0  # 0 means no crash.
        self._requests_until_loss = 0  # 0 means no lost response.

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count requests and units from zero during this block, in `usage`."""
        self._counting, self.usage = True, Usage()
        try:
            yield
        finally:
            self._counting = False

    @contextmanager
    def crash_after(self, call: int) -> Iterator[None]:
        """Raise Crash instead of returning the result of call number `call`, counted from 1."""
        self._calls_until_crash = call
        try:
            yield
        finally:
            self._calls_until_crash = 0

    @contextmanager
    def lose_response(self, request: int) -> Iterator[None]:
        """Send request number `request`, counted from 1, and raise a timeout instead of returning its response."""
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
