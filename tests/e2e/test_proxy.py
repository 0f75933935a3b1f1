"""Tests for localcloud/proxy.py: the proxy adds latency and loses responses."""

import http.client
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from infrastructure.local_stage import HOST, root_access
from localcloud import proxy
from localcloud.emulator import Emulator
from localcloud.proxy import Proxy
from localcloud.servers import free_port, is_free

LARGE = os.urandom(16 << 20)
TARGET = "DynamoDB_20120810.UpdateItem"


class Upstream(http.server.ThreadingHTTPServer):
    """A fake emulator that records requests and echoes their bodies."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__((HOST, 0), Handler)
        self.connections: list[socket.socket] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.together = threading.Barrier(1)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self.chunks()
        )
        self.server.requests.append((self.command, self.path, body))
        self.server.together.wait(30)
        self.send_response(200)
        if self.headers.get("Accept") == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:7], body[7:]):
                self.wfile.write(b"%x;note=1\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nChecksum: none\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def running(upstream: Upstream) -> Iterator[Proxy]:
    with proxy.start(upstream.port, latency=0) as started:
        yield started


@pytest.fixture
def connection(running: Proxy) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection(HOST, running.port, timeout=30)
    yield client
    client.close()


def post(client: http.client.HTTPConnection, body: Any, path: str = "/", **headers: str) -> bytes:
    client.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = client.getresponse()
    assert response.status == 200
    return response.read()


def update(client: http.client.HTTPConnection, table: str, number: int = 0) -> bytes:
    return post(client, json.dumps({"TableName": table, "n": number}), X_Amz_Target=TARGET)


# --- Forwarding ----------------------------------------------------------------------------------


def test_requests_and_responses_of_16_mb_pass_unchanged(connection: http.client.HTTPConnection):
    assert post(connection, LARGE) == LARGE
    assert post(connection, iter([LARGE[:5], LARGE[5:]]), Accept="chunked") == LARGE


def test_one_connection_of_a_client_is_one_to_the_emulator(connection: http.client.HTTPConnection, upstream: Upstream):
    for number in range(3):
        post(connection, b"%d" % number, path=f"/a%2F%20b?n={number}")
    assert upstream.requests == [("POST", f"/a%2F%20b?n={number}", b"%d" % number) for number in range(3)]
    assert len(upstream.connections) == 1


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204)])
def test_responses_without_a_body_keep_the_connection_usable(
    connection: http.client.HTTPConnection, method: str, status: int
):
    connection.request(method, "/")
    response = connection.getresponse()
    assert (response.status, response.read()) == (status, b"")
    assert post(connection, b"next") == b"next"


def test_client_that_waits_for_100_continue_gets_it_once(running: Proxy):
    with socket.create_connection((HOST, running.port), timeout=30) as client, client.makefile("rb") as received:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert received.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert received.readline() == b"\r\n"
        client.sendall(b"hi")
        assert received.readline() == b"HTTP/1.1 200 OK\r\n"


def test_two_requests_sent_together_get_two_responses(running: Proxy):
    request = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    received = b""
    with socket.create_connection((HOST, running.port), timeout=30) as client:
        client.sendall(request * 2)
        while received.count(b"HTTP/1.1 200 OK") < 2:
            more = client.recv(1000)
            assert more, received
            received += more


def test_when_one_side_closes_the_proxy_closes_the_other(
    connection: http.client.HTTPConnection, upstream: Upstream, eventually: Callable[..., Any]
):
    post(connection, b"1")
    upstream.connections[0].shutdown(socket.SHUT_RDWR)
    assert connection.sock.recv(1) == b""
    connection.close()
    post(connection, b"2")
    assert len(upstream.connections) == 2
    connection.close()
    assert eventually(upstream.connections[1].fileno, -1) == -1


def test_connection_ends_if_there_is_no_emulator():
    with proxy.start(free_port()) as started, socket.create_connection((HOST, started.port), timeout=30) as client:
        assert client.recv(1) == b""


def test_closing_ends_open_connections_and_frees_the_port(connection: http.client.HTTPConnection, running: Proxy):
    post(connection, b"1")
    running.close()
    assert connection.sock.recv(1) == b""
    assert is_free(running.port)


# --- Latency -------------------------------------------------------------------------------------


def test_latency_can_be_changed_while_it_runs(upstream: Upstream):
    with proxy.start(upstream.port, latency=3600) as started:
        started.latency = 0
        client = http.client.HTTPConnection(HOST, started.port, timeout=30)
        post(client, b"at once")
        started.latency = 0.2
        before = time.monotonic()
        post(client, b"later")
        assert time.monotonic() - before >= 0.2
        client.close()


def test_requests_wait_side_by_side(upstream: Upstream):
    upstream.together = threading.Barrier(16)  # Each request waits until all have arrived.
    with proxy.start(upstream.port) as started, ThreadPoolExecutor(16) as pool:
        clients = [http.client.HTTPConnection(HOST, started.port, timeout=30) for _ in range(16)]
        assert list(pool.map(post, clients, [b"%d" % n for n in range(16)])) == [b"%d" % n for n in range(16)]
        for client in clients:
            client.close()


# --- Faults --------------------------------------------------------------------------------------


def test_nth_matching_request_is_carried_out_and_its_response_lost(
    connection: http.client.HTTPConnection, running: Proxy, upstream: Upstream
):
    fault = running.lose_response("UpdateItem", "Totals", nth=2)
    update(connection, "Totals", 1)
    update(connection, "TotalsOfOthers", 2)
    post(connection, b'{"TableName": "Totals"}', X_Amz_Target="DynamoDB_20120810.PutItem")
    assert not fault.happened.is_set()
    with pytest.raises(http.client.RemoteDisconnected):
        update(connection, "Totals", 3)
    assert fault.happened.is_set()
    assert json.loads(upstream.requests[-1][2]) == {"TableName": "Totals", "n": 3}
    update(connection, "Totals", 4)
    assert len(upstream.requests) == 5


def test_client_can_be_killed_after_its_request_is_carried_out_and_before_it_knows(
    connection: http.client.HTTPConnection, running: Proxy, upstream: Upstream
):
    seen = []
    running.lose_response("UpdateItem", "Totals", then=lambda: seen.append((len(upstream.requests), readable())))

    def readable() -> bool:
        connection.sock.setblocking(False)
        try:
            return connection.sock.recv(1) is not None
        except BlockingIOError:
            return False
        finally:
            connection.sock.settimeout(30)

    with pytest.raises(http.client.RemoteDisconnected):
        update(connection, "Totals")
    assert seen == [(1, False)]


def test_sdk_sends_an_add_again_whose_response_was_lost(emulator: Emulator, unique: str):
    emulator.client("dynamodb").create_table(
        TableName=unique,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "product", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "product", "KeyType": "HASH"}],
    )
    make: Callable[..., Any] = boto3.client
    with proxy.start(emulator.port) as started:
        dynamodb = make("dynamodb", endpoint_url=started.endpoint_url, **root_access())
        started.lose_response("UpdateItem", unique)
        dynamodb.update_item(
            TableName=unique,
            Key={"product": {"S": "Notebook"}},
            UpdateExpression="ADD quantity :five",
            ExpressionAttributeValues={":five": {"N": "5"}},
        )
        item = dynamodb.get_item(TableName=unique, Key={"product": {"S": "Notebook"}})["Item"]
    assert item["quantity"]["N"] == "10"
