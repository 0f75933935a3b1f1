"""Tests for hostile HTTP requests: no response is a 5xx or reveals internals, and a rejected request writes nothing.

Most tests call the API through Chalice's test client, with tables in the emulator. The last tests use real connections,
which can also carry bytes that are not valid HTTP.
"""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from chalice.test import Client
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chalicelib import orders, tables
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT
from tests.proof.harness import Harness

EXAMPLES = 400
TIMEOUT_SECONDS = 20

# Texts that would reveal internals of the app.
INTERNALS = re.compile(rb"Traceback|File \"|\.py\b|botocore|dynamodb\.|arn:aws|ClientError")

# Chalice's test client cannot read the response to OPTIONS, so a test with a real connection covers it.
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "get", "FOO"]

HOSTILE_TEXTS = [
    "", " ", ".", "..", "%", "%%", "%2", "%zz", "%00", "%FF", "%C0%AF", "%F0%9F%93%93", "%ED%A0%80", "a%2Fb",
    "a%252Fb", "+", "a+b", "*", "~", "$", "{order_id}", "<script>", "' OR 1=1 --", "${jndi:ldap://x}", "{{7*7}}",
    "../../etc/passwd", "freshness", "%20", "null", "0", "-1", "NaN", "x" * 3000, "%F0%9F%93%93" * 600, "ﬀ",
    "\u202e", "é", "a;b", "a,b", "a=b",
]  # fmt: skip
SEGMENTS = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=20).map(
    lambda text: quote(text.encode(errors="replace"), safe="")
)
PATHS = st.one_of(
    st.sampled_from(["/", "/orders", "/totals", "/openapi.json", "/nowhere", "//", "/orders/", "/totals//trend"]),
    SEGMENTS.map(lambda segment: f"/orders/{segment}"),
    SEGMENTS.map(lambda segment: f"/totals/{segment}"),
    SEGMENTS.map(lambda segment: f"/totals/{segment}/trend"),
)
PARAMETERS = st.sampled_from(["limit", "cursor", "top", "days", "limit[]", "__proto__", "TOP"]) | SEGMENTS
QUERIES = st.lists(
    st.tuples(
        PARAMETERS, SEGMENTS | st.integers(-5, 10**30).map(str) | st.sampled_from(["1", "50", "1e3", "٣", "0x10"])
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([5, "Pen", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["product", "quantity", "orderId", "Product", "Quantity", "OrderID", "placedAt", "__class__"]
ALMOST_ORDERS = st.fixed_dictionaries(
    {"product": st.just("Pen") | JSON_VALUES, "quantity": st.integers(1, 9) | JSON_VALUES},
    optional={name: JSON_VALUES for name in FIELDS if name not in ("product", "quantity")},
)
BODIES = st.one_of(
    ALMOST_ORDERS.map(lambda value: json.dumps(value).encode()),
    ALMOST_ORDERS.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="replace")),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"", b"null", b"[]", b"{}", b'"', b"{", b"[" * 5000, b'{"a":' * 5000,
            b'{"product":"Pen","product":"Ink","quantity":1}',
            b'{"product":"Pen","quantity":1e400}', b'{"product":"Pen","quantity":' + b"9" * 5000 + b"}",
            b'{"product":"\\ud800","quantity":1}', b'{"product":"a\\u0000b","quantity":1}', b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00", b'{"product":"Pen","quantity":NaN}',
            b'{"product":"Pen","quantity":-0}', b'{"product":"Pen","quantity":1.0}',
            b"product=Pen&quantity=5", b"<order/>", b" " * 20000, b'{"product":"' + b"x" * 20000 + b'","quantity":1}',
            b'{"product":"Pen","quantity":true}', b"\x1f\x8b\x08\x00", b'{"product":"Pen","quantity":1}garbage',
        ]
    ),
)  # fmt: skip
TYPES = [
    "application/json", "APPLICATION/JSON", "application/json; charset=utf-16", "application/json, text/html",
    "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", ";", "é",
]  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(TYPES),
        "Accept": st.sampled_from(["", "*/*", "image/png", "application/xml;q=0.1", "\u00ff"]),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "zstd"]),
        "X-HTTP-Method-Override": st.just("DELETE"),
        "Authorization": st.sampled_from(["Bearer x", "Basic !!!", "AWS4-HMAC-SHA256 Credential="]),
        "X-Forwarded-For": st.just("x" * 2000),
        "Host": st.sampled_from(["", "evil.example", "a b"]),
        "Origin": st.just("null"),
    },
)


class Target:
    """The API in this process, and its OrdersTable."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.names = harness.make_tables("NEW_AND_OLD_IMAGES")
        self._client = Client(harness.shell.app, stage_name="local", project_dir=str(PROJECT))

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        with self._client as client:
            return client.http.request(method, path, headers=headers, body=body)

    def orders(self) -> list[dict[str, Any]]:
        """Return all items of OrdersTable."""
        items: list[dict[str, Any]] = self._harness.dynamodb("Scan", TableName=self.names[tables.ORDERS])["Items"]
        return items

    def clear(self) -> None:
        """Delete all items of OrdersTable."""
        for item in self.orders():
            key = {"OrderID": item["OrderID"]}
            self._harness.dynamodb("DeleteItem", TableName=self.names[tables.ORDERS], Key=key)

    def put(self, order_id: str) -> None:
        """Write a valid order to OrdersTable."""
        item = {"OrderID": {"S": order_id}, "Product": {"S": "Pen"}, "Quantity": {"N": "5"}}
        self._harness.dynamodb("PutItem", TableName=self.names[tables.ORDERS], Item=item)


@pytest.fixture(scope="module")
def target(harness: Harness) -> Iterator[Target]:
    created = Target(harness)
    yield created
    harness.delete_tables(created.names)


PLACES = [
    ("GET", "/orders/{}"), ("PUT", "/orders/{}"), ("DELETE", "/orders/{}"), ("GET", "/totals/{}"),
    ("GET", "/totals/{}/trend"), ("GET", "/totals?cursor={}"), ("GET", "/totals?top={}"), ("GET", "/totals?{}=1"),
    ("GET", "/totals/Pen/trend?days={}"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_hostile_text_in_a_path_or_query_is_rejected_or_not_found(target: Target, method: str, path: str):
    for text in HOSTILE_TEXTS:
        response = target(
            method, path.format(text), {"Content-Type": "application/json"}, b'{"product":"Pen","quantity":1}'
        )
        # An empty text would make another route's path, such as /orders instead of /orders/{}.
        expected = (200, 400, 404) if "?" in path else (400, 403, 404) if text else (200, 403, 404, 405)
        assert response.status_code in expected, text
        assert_reveals_no_internals(path, response.headers, response.body)
    assert target.orders() == []


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(method=st.sampled_from(METHODS), path=PATHS, query=QUERIES, headers=HEADERS, body=BODIES)
def test_no_request_gets_a_server_error_or_reveals_internals(
    target: Target, method: str, path: str, query: str, headers: dict[str, str], body: bytes
):
    target.put("existing")
    before = target.orders()
    response = target(method, f"{path}?{query}" if query else path, headers, body)
    assert response.status_code < 500
    assert_reveals_no_internals(path, response.headers, response.body)
    after = target.orders()
    if response.status_code >= 400 or method not in ("POST", "PUT", "DELETE"):
        assert after == before
    assert_valid(after)
    target.clear()


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES, headers=HEADERS, amend=st.booleans())
def test_a_body_is_stored_as_a_valid_order_or_rejected_without_a_write(
    target: Target, body: bytes, headers: dict[str, str], amend: bool
):
    target.put("existing")
    before = target.orders()
    response = target("PUT", "/orders/existing", headers, body) if amend else target("POST", "/orders", headers, body)
    after = target.orders()
    assert response.status_code in (200, 201, 400, 409, 415)
    if response.status_code >= 400:
        assert after == before
        assert response.json_body["Code"]
        assert response.json_body["Message"].strip()
    else:
        assert_valid(after)
        assert any(orders.to_json(item) == response.json_body for item in after)
    target.clear()


@settings(max_examples=EXAMPLES // 2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(query=QUERIES, path=st.sampled_from(["/totals", "/totals/Pen/trend"]))
def test_a_rejected_query_names_the_parameters_at_fault(target: Target, query: str, path: str):
    assume(query)
    response = target("GET", f"{path}?{query}", {}, b"")
    assert response.status_code in (200, 400, 404)
    if response.status_code == 400:
        assert response.json_body["problems"]


def assert_valid(items: list[dict[str, Any]]) -> None:
    for item in items:
        assert isinstance(orders.from_item(item, ""), orders.Order), item


def assert_reveals_no_internals(path: str, headers: Any, body: bytes) -> None:
    if path in ("/", "//", "/openapi.json"):
        return
    assert not INTERNALS.search(body), body
    assert not any("traceback" in str(value).lower() for value in headers.values())


# --- Requests over real connections -----------------------------------------------------------------------

MALFORMED_HTTP = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /totals HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    b"GET /totals HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}",
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    bytes(range(256)) * 16,
]


@pytest.fixture(scope="module")
def server() -> Iterator[ChaliceLocal]:
    """Start `chalice local` without tables. These requests must be rejected before the app uses a table."""
    with Emulator() as emulator, ChaliceLocal(emulator) as running:
        yield running


@pytest.mark.parametrize("sent", MALFORMED_HTTP, ids=lambda sent: repr(sent[:30]))
def test_malformed_http_ends_only_its_own_connection(server: ChaliceLocal, sent: bytes):
    received = send(server, sent)
    assert not INTERNALS.search(received)
    assert send(server, b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.")
    assert server.running


@pytest.mark.parametrize("path", ["/orders", "/orders/x", "/totals/Pen", "/nowhere"])
def test_options_is_allowed_or_forbidden(server: ChaliceLocal, path: str):
    received = send(server, f"OPTIONS {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert received.split(b" ", 2)[1] in (b"200", b"403")
    assert not INTERNALS.search(received)


def send(server: ChaliceLocal, sent: bytes) -> bytes:
    """Send bytes over a new connection. Return everything that the server sends until it closes the connection."""
    parts = urlsplit(server.url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionError:  # The server may close the connection before it has read all bytes.
            pass
    return received
