"""Starting and stopping servers on 127.0.0.1, in such a way that they cannot be left behind (guard.py)."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parent.parent
GUARD = Path(__file__).with_name("guard.py")
POLL_SECONDS = 0.05
STOP_SECONDS = 40.0  # More than the guard takes at the most.
LAST_LINES = 25


class ServerError(Exception):
    """A server did not start; the message says why."""


class PortTaken(ServerError):
    """Another program listens there."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} on {HOST} is taken by another program.")
        self.port = port


class Server:
    """A server process on 127.0.0.1, with a folder of its own and a file for what it prints."""

    def __init__(self, name: str, port: int, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        """Starts the command; it is up when `wait` has returned. Raises PortTaken."""
        self.name = name
        self.port = port
        require_free(port)
        self.folder = Path(tempfile.mkdtemp(prefix=f"order-totals-{name}-"))
        printed = self.folder / "output.txt"
        with printed.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD), str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "TMPDIR": str(self.folder), "PYTHONUNBUFFERED": "1"},
                cwd=cwd,
                start_new_session=True,
            )
        # Stays readable when the guard has removed the folder.
        self._output = printed.open("rb")
        self._read = 0  # How much of it `new_output` has returned.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._guard.poll() is None

    def wait(self, url: str, seconds: float = 60.0) -> None:
        """Waits until the URL answers, whatever it answers. Raises ServerError, with what the server printed last."""
        end = time.monotonic() + seconds
        while not answers(url):
            if not self.running:
                raise ServerError(f"{self.name} has stopped:\n{self.last_output()}")
            if time.monotonic() > end:
                raise ServerError(f"{self.name} does not answer at {url}:\n{self.last_output()}")
            time.sleep(POLL_SECONDS)

    def last_output(self) -> str:
        """The last lines that it printed."""
        self._output.seek(0)
        return b"".join(self._output.readlines()[-LAST_LINES:]).decode(errors="replace").rstrip()

    def new_output(self) -> list[str]:
        """The lines that it has printed since the last call."""
        self._output.seek(self._read)
        whole, newline, _ = self._output.read().rpartition(b"\n")
        self._read += len(whole + newline)
        return whole.decode(errors="replace").splitlines()

    def stop(self) -> None:
        """Stops it and all that it has started, and waits for that. Does nothing if it is stopped already."""
        if self.running:
            self._guard.send_signal(signal.SIGTERM)
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait(STOP_SECONDS)
        self._output.close()


def require_free(port: int) -> None:
    """Raise PortTaken if something listens on the port."""
    if not is_free(port):
        raise PortTaken(port)


def is_free(port: int) -> bool:
    """Return whether a server can listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As servers do: a closed connection is no bar.
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether an HTTP server answers there, be it with an error."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=10):
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except (urllib.error.URLError, OSError):
        return False


# What would lead a program to a real AWS account, or the emulator or Python away from how we start them.
FOREIGN_PREFIXES = ("AWS_", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "S3_", "PYTHON")
FOREIGN_NAMES = {"SERVICES", "USE_SSL", "EDGE_PORT", "PERSIST_STATE", "STATE_DIR", "DOCKER_NETWORK", "CHALICE_WORKER"}


def clean_environment() -> dict[str, str]:
    """This process's environment without what has no business in a server's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN_PREFIXES) and name not in FOREIGN_NAMES
    }
    local = f"{HOST},localhost"
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": local,
        "no_proxy": local,
    }
