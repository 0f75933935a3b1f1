"""An emulator, app.py in this process, and injected faults between the two. (The schedules use the engine instead.)"""

import contextlib
import http.client
import importlib.util
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from infrastructure import tables
from infrastructure.local_stage import HOST, REGION, ROOT_KEY, root_environment
from localcloud.emulator import Emulator
from tests.proof.faults import FaultInjector

APP = Path(__file__).resolve().parents[2] / "app.py"
START = 1_795_003_200  # The start time in epoch seconds, at the beginning of an hour.
LOGGER = logging.getLogger("order-totals")  # All loaded copies of the app share this logger.


class Clock:
    """An artificial clock that replaces the `time` module of app.py."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset the time to START and the skew to 0."""
        self.now = START
        self.elapsed = 0.0
        self.skew = 0  # The seconds that the app's clock is ahead of DynamoDB's.

    def time(self) -> float:
        """Return the app's time in epoch seconds."""
        return self.now + self.skew

    def time_ns(self) -> int:
        """Return the app's time in epoch nanoseconds."""
        return (self.now + self.skew) * 1_000_000_000

    def monotonic(self) -> float:
        """Return the elapsed time in seconds. It ignores skew and never decreases."""
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        """Let some seconds pass. `now` advances by whole seconds only."""
        self.elapsed += seconds
        self.now += int(seconds)


class EmulatorClient:
    """A minimal client for requests from tests to the emulator. It takes a tenth of boto3's CPU time."""

    # The emulator does not check the root user's signature.
    HEADERS: ClassVar[dict[str, str]] = {
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={ROOT_KEY}/20261123/{REGION}/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port)

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a request to DynamoDB and return its result. Raise AssertionError if it fails."""
        return self._request(f"DynamoDB_20120810.{operation}", parameters)

    def attempt(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a request to DynamoDB and return its result or its error."""
        return self._send(f"DynamoDB_20120810.{operation}", parameters)[1]

    def stream(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a request to DynamoDB Streams and return its result. Raise AssertionError if it fails."""
        return self._request(f"DynamoDBStreams_20120810.{operation}", parameters)

    def _request(self, target: str, parameters: dict[str, Any]) -> dict[str, Any]:
        status, result = self._send(target, parameters)
        assert status == 200, (target, parameters, result)
        return result

    def _send(self, target: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        body = json.dumps(parameters)
        try:
            self._connection.request("POST", "/", body, {**self.HEADERS, "X-Amz-Target": target})
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # The emulator closed an idle connection.
            self._connection.close()
            self._connection.request("POST", "/", body, {**self.HEADERS, "X-Amz-Target": target})
            response = self._connection.getresponse()
        return response.status, json.loads(response.read())


class Harness:
    """An emulator, app.py connected to its DynamoDB, and the fault injector."""

    def __init__(self, emulator: Emulator) -> None:
        self.dynamodb = EmulatorClient(emulator.port)
        self.shell = load_app(emulator.endpoint_url)
        self.injector = FaultInjector(self.shell.dynamodb)
        self.clock = Clock()
        self.shell.time = self.clock
        self._table_sets = 0

    def make_tables(self, view: tables.StreamView) -> dict[str, str]:
        """Create new tables and make the app use them. Return their names by logical name."""
        self._table_sets += 1
        names = {}
        for table in tables.all_tables("local", view):
            names[table.logical_name] = f"{table.name}-{os.getpid()}-{self._table_sets}"
            fresh = table._replace(name=names[table.logical_name])
            self.dynamodb("CreateTable", **tables.create_parameters(fresh))
        use_tables(self.shell, names)
        return names

    def delete_tables(self, names: dict[str, str]) -> None:
        """Delete the tables that `make_tables` created."""
        for name in names.values():
            self.dynamodb("DeleteTable", TableName=name)


def use_tables(shell: Any, names: dict[str, str]) -> None:
    """Make a loaded app use other tables. In production, environment variables set the tables' names."""

    shell.NAMES.update(names)


def load_app(endpoint_url: str) -> Any:
    """Load a separate copy of app.py whose DynamoDB client sends requests to this endpoint as the root user."""
    with mock.patch.dict(os.environ, root_environment(endpoint_url)):
        spec = importlib.util.spec_from_file_location("app_under_proof", APP)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    shell: Any = module
    # Keep the app's log and metrics out of the output.
    LOGGER.disabled = True
    shell.metrics = mock.MagicMock()
    return shell


@contextlib.contextmanager
def open_harness() -> Iterator[Harness]:
    """Start an emulator and yield a harness for it.

    While it is open, the SDK retries without pauses and without a retry quota.
    """
    no_wait = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    with (
        Emulator() as emulator,
        mock.patch("botocore.endpoint.time", no_wait),
        mock.patch("botocore.retries.quota.RetryQuota.acquire", return_value=True),
    ):
        try:
            yield Harness(emulator)
        finally:
            LOGGER.disabled = False
