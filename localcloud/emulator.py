"""The emulator of AWS as a server on this machine, with IAM enforced: starting it, its clients, its Lambda workers.

What is deployed into it is in stack.py.
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
from botocore.config import Config

from localcloud.servers import HOST, PROJECT, Server, ServerError, clean_environment, free_port

REGION = "us-east-1"
# What ministack takes for the account's root user. Everybody else is subject to IAM.
ROOT_KEY = "test"
ROOT_SECRET = "test"
HEALTH = "/_ministack/health"
HEALTH_SECONDS = 2.0
# The first start compiles a lot.
START_SECONDS = 120.0


class Emulator(Server):
    """A running emulator. Its state is fresh, or that of a folder, to which it is saved when it is stopped."""

    def __init__(self, port: int | None = None, state: Path | None = None) -> None:
        """Starts one on a port, by default a free one, and waits until it is up."""
        port = port or free_port()
        self.endpoint_url = f"http://{HOST}:{port}"
        environment = {
            **clean_environment(),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": HOST,
            "AUTH": "true",
            # Neither Docker nor the ports that it would open for other services.
            "DOCKER_HOST": f"unix://{os.devnull}/none",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        }
        if state:
            state.mkdir(parents=True, exist_ok=True)
            forget_stream_positions(state)
            environment |= {"PERSIST_STATE": "1", "STATE_DIR": str(state.resolve())}
        super().__init__("emulator", port, [sys.executable, "-m", "localcloud.gateway"], environment, PROJECT)
        self._clients: dict[str, Any] = {}
        try:
            self.wait(f"{self.endpoint_url}{HEALTH}", START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root user, the same each time."""
        if service not in self._clients:
            make: Any = boto3.client  # Its type knows services by literal names only.
            self._clients[service] = make(service, endpoint_url=self.endpoint_url, **root_access())
        return self._clients[service]

    def worker_pids(self, function_name: str = "") -> list[int]:
        """The processes that run this function's code at the moment, or any function's."""
        mark = f"{self.folder}/ministack-lambda-{function_name}".encode()
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if mark in _command_line(process)]

    def kill_workers(self, function_name: str = "") -> int:
        """Kills them without warning, as a crash would, in the midst of whatever they do; returns how many."""
        pids = self.worker_pids(function_name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)


def is_emulator(port: int) -> bool:
    """Return whether an emulator answers on a port."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{HOST}:{port}{HEALTH}", timeout=HEALTH_SECONDS):
            return True
    except (OSError, http.client.HTTPException):
        return False


def root_access() -> dict[str, Any]:
    """What a boto3 client of the root user is made with, besides the endpoint."""
    return {
        "region_name": REGION,
        "aws_access_key_id": ROOT_KEY,
        "aws_secret_access_key": ROOT_SECRET,
        "config": Config(retries={"mode": "standard"}, read_timeout=900, inject_host_prefix=False),
    }


def root_environment(endpoint_url: str) -> dict[str, str]:
    """The environment in which an AWS program works on the emulator as the root user."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
    }


def forget_stream_positions(state: Path) -> None:
    """Takes out of a saved state how far the streams have been read.

    ministack 1.5.33 saves these positions but not the streams' records, so that the first records after a start
    would be taken for read. Without a position a mapping begins with the stream's first record.
    """
    saved = state / "lambda.json"
    if not saved.exists():
        return
    try:
        content = json.loads(saved.read_text(encoding="utf-8"))
        content["payload"]["dynamodb_stream_positions"] = {}
    except (ValueError, TypeError, KeyError):
        raise ServerError(f"{saved} is not a state that an emulator has saved: take another folder.") from None
    saved.write_text(json.dumps(content), encoding="utf-8")


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # It has ended meanwhile.
        return b""
