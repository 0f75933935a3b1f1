"""Start local servers that stop when the process that started them ends, even if it crashes (supervisor.py)."""

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

from infrastructure.local_stage import HOST

PROJECT = Path(__file__).resolve().parent.parent
SUPERVISOR = Path(__file__).with_name("supervisor.py")
POLL_SECONDS = 0.05
STOP_SECONDS = 40.0  # The supervisor takes less time to stop, even if it has to kill the command.
LAST_LINES = 25


class ServerError(Exception):
    """A server did not start or has stopped. The message says why."""


class PortTakenError(ServerError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} on {HOST} is taken by another program.")
        self.port = port


class Server:
    """A server process on 127.0.0.1, with its own scratch folder and a file for its output."""

    def __init__(self, name: str, port: int, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        """Start the command. Call `wait_until_up` before using it. Raise PortTakenError if the port is in use."""
        self.name = name
        self.port = port
        require_free(port)
        self.folder = Path(tempfile.mkdtemp(prefix=f"order-totals-{name}-"))
        output_file = self.folder / "output.txt"
        with output_file.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, str(SUPERVISOR), str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "TMPDIR": str(self.folder), "PYTHONUNBUFFERED": "1"},
                cwd=cwd,
                start_new_session=True,
            )
        # An open file stays readable after the supervisor has deleted the folder.
        self._output = output_file.open("rb")
        self._read = 0  # The number of bytes that `new_output` has returned.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server is running."""
        return self._supervisor.poll() is None

    def wait_until_up(self, url: str, seconds: float = 60.0) -> None:
        """Wait until the URL responds with any status. Otherwise raise ServerError with the server's last output.

        `seconds` is the time limit.
        """
        end = time.monotonic() + seconds
        while not responds(url):
            if not self.running:
                raise ServerError(f"{self.name} has stopped:\n{self.last_output()}")
            if time.monotonic() > end:
                raise ServerError(f"{self.name} does not respond at {url}:\n{self.last_output()}")
            time.sleep(POLL_SECONDS)

    def last_output(self) -> str:
        """Return the last lines that the server printed."""
        self._output.seek(0)
        return b"".join(self._output.readlines()[-LAST_LINES:]).decode(errors="replace").rstrip()

    def new_output(self) -> list[str]:
        """Return the lines that the server has printed since the last call."""
        self._output.seek(self._read)
        whole, newline, _ = self._output.read().rpartition(b"\n")
        self._read += len(whole + newline)
        return whole.decode(errors="replace").splitlines()

    def stop(self) -> None:
        """Stop the server and its child processes, and wait for them. Do nothing if it has already stopped."""
        if self.running:
            self._supervisor.send_signal(signal.SIGTERM)
        if self._supervisor.stdin:
            self._supervisor.stdin.close()
        self._supervisor.wait(STOP_SECONDS)
        self._output.close()


def require_free(port: int) -> None:
    """Raise PortTakenError if something listens on the port."""
    if not is_free(port):
        raise PortTakenError(port)


def is_free(port: int) -> bool:
    """Return whether a server can listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this option too. Without it, recently closed connections would block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def responds(url: str) -> bool:
    """Return whether an HTTP server responds at a URL, with any status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # This opener ignores proxy settings.
    try:
        with opener.open(url, timeout=10):
            return True
    except urllib.error.HTTPError as error_response:
        error_response.close()
        return True
    except (urllib.error.URLError, OSError):
        return False


# Variables that could lead a program to a real AWS account, or change how the emulator or Python starts.
REMOVED_PREFIXES = ("AWS_", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "S3_", "PYTHON")
REMOVED_NAMES = {"SERVICES", "USE_SSL", "EDGE_PORT", "PERSIST_STATE", "STATE_DIR", "DOCKER_NETWORK", "CHALICE_WORKER"}


def clean_environment() -> dict[str, str]:
    """Return this process's environment without variables that could redirect a server or change how it runs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(REMOVED_PREFIXES) and name not in REMOVED_NAMES
    }
    local = f"{HOST},localhost"
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": local,
        "no_proxy": local,
    }
