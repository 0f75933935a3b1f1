"""A small HTTP client for tests, which sends paths, headers and bodies unchanged."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """Values by lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """A client for the app's routes at a URL without a trailing slash."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._prefix = parts.netloc, parts.path

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str | None = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send a request. The path must be percent-encoded. A body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = dict(headers or {})
        if data is not None and content_type is not None:
            sent["Content-Type"] = content_type
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, self._prefix + path, data, sent)
            response = connection.getresponse()
            return Response(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def get(self, path: str) -> Response:
        return self("GET", path)

    def post(self, path: str, body: Any, **how: Any) -> Response:
        return self("POST", path, body, **how)

    def put(self, path: str, body: Any, **how: Any) -> Response:
        return self("PUT", path, body, **how)

    def delete(self, path: str) -> Response:
        return self("DELETE", path)
