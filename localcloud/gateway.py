"""Runs ministack, the emulator of AWS, with one difference mended.

An API Gateway REST API routes by the path as it is sent and hands path parameters over percent-encoded: `%2F`
does not part segments there, and `%2520` arrives as `%2520`. ministack 1.5.33 decodes the path first. So
requests for an API get to it with the path as it was sent.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ministack.app

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


if __name__ == "__main__":
    ministack.app.app = app
    ministack.app.main()
