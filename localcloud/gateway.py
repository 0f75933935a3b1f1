"""Run ministack, the emulator of AWS, with two differences from AWS fixed.

An API Gateway REST API routes by the path as it is sent and hands path parameters over percent-encoded: `%2F`
does not part segments there, and `%2520` arrives as `%2520`. ministack 1.5.33 decodes the path first. So
requests for an API get to it with the path as it was sent.

Lambda polls a DynamoDB stream four times a second; ministack 1.5.33 polls once a second. So this wakes its poller.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ministack.app
from ministack.core.concurrency import esm_wake

STREAM_POLL_SECONDS = 0.25  # AWS Lambda Developer Guide, "Process DynamoDB records with Lambda": 4 times per second.
API_HOST_MARK = b".execute-api."
API_PATH_PREFIX = "/_aws/execute-api/"

Scope = Mapping[str, Any]
Channel = Callable[..., Awaitable[Any]]

ministack_app: Callable[[Scope, Channel, Channel], Awaitable[None]] = ministack.app.app


async def app(scope: Scope, receive: Channel, send: Channel) -> None:
    """The ASGI application: ministack's, with undecoded paths for APIs."""
    await ministack_app(undecoded(scope) if is_api_request(scope) else scope, receive, send)


def is_api_request(scope: Scope) -> bool:
    """Whether a request is for an API behind API Gateway, and not for a service."""
    if scope["type"] != "http":
        return False
    host = dict(scope["headers"]).get(b"host", b"")
    return API_HOST_MARK in host or scope["path"].startswith(API_PATH_PREFIX)


def undecoded(scope: Scope) -> Scope:
    """The request with its path as it was sent."""
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
