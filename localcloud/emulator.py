"""The AWS emulator as a local server that enforces IAM: start it, make boto3 clients, find its Lambda processes.

stack.py deploys the app to the emulator.
"""

import contextlib
import http.client
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import boto3

from infrastructure.local_stage import HOST, endpoint_url, root_access
from localcloud.servers import PROJECT, Server, ServerError, clean_environment, free_port

HEALTH = "/_ministack/health"
HEALTH_SECONDS = 2.0
# The first start is slow because Python compiles ministack's modules.
START_SECONDS = 120.0


class Emulator(Server):
    """A running emulator."""

    def __init__(self, port: int | None = None, state: Path | None = None) -> None:
        """Start the emulator on a port, by default a free one, and wait until it responds.

        With a folder `state`, it loads its state from there and saves it when it stops. Otherwise it starts empty.
        """
        port = port or free_port()
        self.endpoint_url = endpoint_url(port)
        environment = {
            **clean_environment(),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": HOST,
            "AUTH": "true",
            # Do not let the emulator use Docker or open ports for other services.
            "DOCKER_HOST": f"unix://{os.devnull}/none",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        }
        if state:
            state.mkdir(parents=True, exist_ok=True)
            clear_stream_positions(state)
            environment |= {"PERSIST_STATE": "1", "STATE_DIR": str(state.resolve())}
        super().__init__("emulator", port, [sys.executable, "-m", "localcloud.patched_ministack"], environment, PROJECT)
        self._clients: dict[str, Any] = {}
        try:
            self.wait_until_up(f"{self.endpoint_url}{HEALTH}", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def client(self, service: str) -> Any:
        """Return the root user's boto3 client for a service. Each call returns the same client."""
        if service not in self._clients:
            make: Any = boto3.client  # boto3's type hints accept only literal service names.
            self._clients[service] = make(service, endpoint_url=self.endpoint_url, **root_access())
        return self._clients[service]

    def worker_pids(self, function_name: str = "") -> list[int]:
        """Return the ids of the running processes of a function, or of all functions without a name."""
        path = f"{self.folder}/ministack-lambda-{function_name}".encode()
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if path in _command_line(process)]

    def kill_workers(self, function_name: str = "") -> int:
        """Kill a function's processes, as a crash would. Return how many there were."""
        pids = self.worker_pids(function_name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)


def is_emulator(port: int) -> bool:
    """Return whether an AWS emulator listens on a port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # This connection ignores proxy settings.
    try:
        with opener.open(f"http://{HOST}:{port}{HEALTH}", timeout=HEALTH_SECONDS):
            return True
    except (OSError, http.client.HTTPException):
        return False


def clear_stream_positions(state: Path) -> None:
    """Delete the streams' read positions from a saved state.

    ministack 1.5.33 saves these positions but not the streams' records. After a restart it would therefore skip the
    first new records. Without a position, an event source mapping starts at the stream's first record.
    """
    saved = state / "lambda.json"
    if not saved.exists():
        return
    try:
        content = json.loads(saved.read_text(encoding="utf-8"))
        content["payload"]["dynamodb_stream_positions"] = {}
    except (ValueError, TypeError, KeyError):
        raise ServerError(f"{saved} is not a saved emulator state. Use another folder.") from None
    saved.write_text(json.dumps(content), encoding="utf-8")


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # The process has ended meanwhile.
        return b""
