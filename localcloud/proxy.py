"""An HTTP proxy in front of the emulator. It adds latency to requests, and loses responses on demand.

It forwards bytes unchanged, so that signatures and encoded paths stay valid. Each client connection gets its own
connection to the emulator. When one side closes, the proxy closes the other, as if there were no proxy.
"""

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import NamedTuple, Self

from infrastructure.local_stage import HOST, endpoint_url

RECEIVE_BYTES = 1 << 20
POLL_SECONDS = 0.05
END_OF_HEAD = b"\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue" + END_OF_HEAD


def start(emulator_port: int, latency: float = 0.010) -> "Proxy":
    """Start a proxy for the emulator on port `emulator_port`. `latency` is in seconds."""
    return Proxy(emulator_port, latency)


class Fault:
    """A response to lose: the response to the nth request, from now on, with this operation and table."""

    def __init__(self, operation: str, table: str, nth: int, then: Callable[[], object]) -> None:
        self.happened = threading.Event()
        self.then = then
        self._operation = f".{operation}"
        self._table = f'"{table}"'.encode()  # The table's name as it appears in a request's JSON.
        self._left = nth

    def hits(self, message: "Message") -> bool:
        """Count the request if it matches. Return whether its response must be lost."""
        if self._table in message.body and message.header("X-Amz-Target").endswith(self._operation):
            self._left -= 1
            return self._left == 0
        return False


class Proxy:
    """A running proxy on a free port of 127.0.0.1."""

    def __init__(self, emulator_port: int, latency: float) -> None:
        self.latency = latency
        """Seconds to wait before each request is forwarded. It can be changed at any time."""
        self._emulator_address = (HOST, emulator_port)
        self._faults: list[Fault] = []
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()  # Of both.
        self._server = _Server((HOST, 0), self._serve)  # type: ignore[arg-type]  # Any callable will do.
        self.port: int = self._server.server_address[1]
        self.endpoint_url = endpoint_url(self.port)
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def lose_response(
        self, operation: str, table: str, nth: int = 1, then: Callable[[], object] = lambda: None
    ) -> Fault:
        """Let the emulator carry out the nth matching request, then close the connection without a response.

        `then` is called in between. It can kill the client before that client learns that its connection is closed.
        """
        fault = Fault(operation, table, nth, then)
        with self._lock:
            self._faults.append(fault)
        return fault

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):  # The other side has already disconnected.
                    each.shutdown(socket.SHUT_RDWR)

    def _serve(self, client_socket: socket.socket, *_: object) -> None:
        """Serve a client's connection until one side closes it."""
        with (
            contextlib.suppress(EOFError, OSError),
            socket.create_connection(self._emulator_address) as emulator_socket,
            self._tracked(client_socket),
            self._tracked(emulator_socket),
        ):
            client, emulator = _Peer(client_socket), _Peer(emulator_socket)
            # Between two requests, the emulator's socket becomes readable only when the emulator closes it.
            while client.unread or wait([client_socket, emulator_socket]) == [client_socket]:
                if not self._forward(client, emulator):
                    return

    def _forward(self, client: "_Peer", emulator: "_Peer") -> bool:
        """Forward a request and its response. Return False if the response is lost."""
        request = client.read_request()
        with self._lock:
            hits = [fault for fault in self._faults if fault.hits(request)]
            self._faults = [fault for fault in self._faults if fault not in hits]
        time.sleep(self.latency)
        emulator.socket.sendall(b"".join(request))
        response = emulator.read_response(to_head=request.head.startswith(b"HEAD "))
        for fault in hits:
            fault.then()
            fault.happened.set()
        if not hits:
            client.socket.sendall(b"".join(response))
        return not hits

    @contextlib.contextmanager
    def _tracked(self, connection: socket.socket) -> Iterator[None]:
        """Register an open connection during the block, so that `close` can close it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.remove(connection)


class Message(NamedTuple):
    """The bytes of an HTTP request or response."""

    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return a header's value, or "" if the header is missing."""
        found = re.search(rb"\r\n%s:[ \t]*(.*?)[ \t]*\r\n" % name.encode(), self.head, re.IGNORECASE)
        return found[1].decode("latin-1") if found else ""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128  # Clients may open many connections at once.


class _Peer:
    """The client or the emulator at the other end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.unread = bytearray()
        """The bytes that were received of the next message."""

    def read_request(self) -> Message:
        """Read a request. Raise EOFError if the connection ends."""
        head = Message(self._read_until(END_OF_HEAD))
        if head.header("Expect"):
            self.socket.sendall(CONTINUE)
        return self._with_body(head)

    def read_response(self, to_head: bool) -> Message:
        """Read a response. `to_head` is true if the request was HEAD. Raise EOFError if the connection ends."""
        status = b"100"
        while status.startswith(b"1"):  # Skip `100 Continue`, which the proxy has sent itself.
            head = Message(self._read_until(END_OF_HEAD))
            status = head.head.split(maxsplit=2)[1]
        return head if to_head or status == b"304" else self._with_body(head)

    def _with_body(self, head: Message) -> Message:
        """Read the body. It has a Content-Length or is chunked."""
        if "chunked" in head.header("Transfer-Encoding").lower():
            return head._replace(body=b"".join(self._chunks()))
        return head._replace(body=self._read(int(head.header("Content-Length") or 0)))

    def _chunks(self) -> Iterator[bytes]:
        """Yield the parts of a chunked body, including the lines with chunk sizes."""
        while size := int((line := self._read_until(b"\r\n")).partition(b";")[0], 16):
            yield line + self._read(size + 2)
        yield line
        while (line := self._read_until(b"\r\n")) != b"\r\n":  # Trailers
            yield line
        yield line

    def _read_until(self, mark: bytes) -> bytes:
        while (end := self.unread.find(mark)) < 0:
            self._receive()
        return self._read(end + len(mark))

    def _read(self, size: int) -> bytes:
        while len(self.unread) < size:
            self._receive()
        found = bytes(self.unread[:size])
        del self.unread[:size]
        return found

    def _receive(self) -> None:
        received = self.socket.recv(RECEIVE_BYTES)
        if not received:
            raise EOFError
        self.unread += received
