"""Intercept the DynamoDB requests of a handler: count what they consume, send them elsewhere, or inject a fault.

This uses botocore's events on the default boto3 session. A handler may send requests from several threads.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from benchmarks.units import Usage, consumed


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
        self.usage = Usage()
        self._lock = threading.Lock()
        self._counting = False
        self._forgets_tokens = False
        self._port = 0  # 0 for that of the client.
        self._calls_until_crash = 0  # 0 for no crash.
        self._requests_until_loss = 0  # 0 for no loss.

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count from zero in this block. The result is in `usage`."""
        self.usage = Usage()
        with self._setting("_counting", True):
            yield

    def crash_after(self, call: int) -> Any:
        """Raise Crash instead of returning the result of the nth call, counted from 1, in this block."""
        return self._setting("_calls_until_crash", call)

    def lose_response(self, request: int) -> Any:
        """Send the nth request in this block, counted from 1, and raise a timeout instead of returning its response."""
        return self._setting("_requests_until_loss", request)

    def forgetting_tokens(self) -> Any:
        """Have DynamoDB know no ClientRequestToken from before this block, as after more than 10 minutes."""
        return self._setting("_forgets_tokens", True)

    def sending_to(self, port: int) -> Any:
        """Send requests to another port in this block."""
        return self._setting("_port", port)

    @contextmanager
    def _setting(self, name: str, value: int) -> Iterator[None]:
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, 0)

    def _before_build(self, **event: Any) -> None:
        parameters = event["params"]
        if "ReturnConsumedCapacity" in event["model"].input_shape.members:
            # Set at all times, because a request that is sent again with the same token must not differ.
            parameters["ReturnConsumedCapacity"] = "TOTAL"
            event["context"]["parameters"] = parameters
        if self._forgets_tokens and "ClientRequestToken" in parameters:
            parameters["ClientRequestToken"] = str(uuid.uuid4())

    def _before_send(self, **event: Any) -> None:
        request = event["request"]
        if self._counting:
            self._add(Usage(requests=1))
        if self._port:
            request.url = urlsplit(request.url)._replace(netloc=f"127.0.0.1:{self._port}").geturl()
        if self._reaches_zero("_requests_until_loss"):
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url=request.url)

    def _after_call(self, **event: Any) -> None:
        if self._counting:
            self._add(consumed(event["model"].name, event["context"]["parameters"], event["parsed"]))
        if self._reaches_zero("_calls_until_crash"):
            raise Crash

    def _reaches_zero(self, countdown: str) -> bool:
        with self._lock:
            left: int = getattr(self, countdown)
            setattr(self, countdown, max(left - 1, 0))
        return left == 1

    def _add(self, more: Usage) -> None:
        with self._lock:
            self.usage = Usage(*map(sum, zip(self.usage, more, strict=True)))
