"""Run ministack, the AWS emulator, and fix two of its differences from AWS.

1. An API Gateway REST API routes by the path as sent and passes path parameters percent-encoded: `%2F` does not
   separate segments, and `%2520` arrives as `%2520`. ministack 1.5.33 decodes the path first. This module gives it the
   undecoded path for API requests.
2. Lambda polls a DynamoDB stream four times per second, ministack 1.5.33 once. This module wakes its poller more often.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ministack.app
from ministack.core.concurrency import esm_wake

# Lambda polls a stream 4 times per second (Lambda Developer Guide, "Process DynamoDB records with Lambda").
STREAM_POLL_SECONDS = 0.25
API_HOST_PART = b".execute-api."
API_PATH_PREFIX = "/_aws/execute-api/"

Scope = Mapping[str, Any]
Channel = Callable[..., Awaitable[Any]]

ministack_app: Callable[[Scope, Channel, Channel], Awaitable[None]] = ministack.app.app


async def app(scope: Scope, receive: Channel, send: Channel) -> None:
    """Serve as ministack's ASGI application, with undecoded paths for API requests."""
    await ministack_app(with_raw_path(scope) if is_api_request(scope) else scope, receive, send)


def is_api_request(scope: Scope) -> bool:
    """Return whether a request is for an API behind API Gateway rather than for an AWS service."""
    if scope["type"] != "http":
        return False
    host = dict(scope["headers"]).get(b"host", b"")
    return API_HOST_PART in host or scope["path"].startswith(API_PATH_PREFIX)


def with_raw_path(scope: Scope) -> Scope:
    """Return the request with its path as it was sent, not percent-decoded."""
    return {**scope, "path": scope["raw_path"].partition(b"?")[0].decode("latin-1")}


def poll_streams() -> None:
    """Wake the poller of the event source mappings at AWS's rate, for as long as the process runs."""
    while True:
        time.sleep(STREAM_POLL_SECONDS)
        esm_wake.set()


if __name__ == "__main__":
    threading.Thread(target=poll_streams, daemon=True).start()
    ministack.app.app = app
    ministack.app.main()
