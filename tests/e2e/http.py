"""A small HTTP client for tests, which sends paths, headers and bodies just as they are given."""

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """The app's routes behind a URL without a slash at its end."""

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
    ) -> Answer:
        """Makes a request. The path goes as it is, percent-encoded by the caller; a body that is no bytes as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = dict(headers or {})
        if data is not None and content_type is not None:
            sent["Content-Type"] = content_type
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, self._prefix + path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self("GET", path)

    def post(self, path: str, body: Any, **how: Any) -> Answer:
        return self("POST", path, body, **how)

    def put(self, path: str, body: Any, **how: Any) -> Answer:
        return self("PUT", path, body, **how)

    def delete(self, path: str) -> Answer:
        return self("DELETE", path)
