"""The place where schedules are run: an emulator, app.py in this process on its tables, and faults in between.

The app's clock is an artificial one, so that a schedule can let hours and weeks pass, and no pause takes any time.
"""

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
from tests.proof.faults import Wire

APP = Path(__file__).resolve().parents[2] / "app.py"
LOGGER = logging.getLogger("order-totals")  # One for every loaded app.
START = 1_795_003_200  # Epoch seconds; the beginning of an hour.


class Clock:
    """Time as app.py sees it, in place of its `time` module."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the start."""
        self.now = START
        self.steady = 0.0
        self.skew = 0  # Seconds by which the app's clock is ahead of DynamoDB's.

    def time(self) -> float:
        """Epoch seconds."""
        return self.now + self.skew

    def time_ns(self) -> int:
        """Epoch nanoseconds."""
        return (self.now + self.skew) * 1_000_000_000

    def monotonic(self) -> float:
        """Seconds of a steady clock."""
        return self.steady

    def sleep(self, seconds: float) -> None:
        """Lets them pass. Fractions, as between two tries, are too short to be seen in `now`."""
        self.steady += seconds
        self.now += int(seconds)


class Engine:
    """The emulator's DynamoDB for what is not the app's: a tenth of what a boto3 client takes of the processor."""

    # Of the root user, whose signature the emulator does not look at.
    HEADERS: ClassVar[dict[str, str]] = {
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={ROOT_KEY}/20261123/{REGION}/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port)

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Makes a request of DynamoDB; returns the answer."""
        return self._request(f"DynamoDB_20120810.{operation}", parameters)

    def stream(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Makes a request of DynamoDB Streams; returns the answer."""
        return self._request(f"DynamoDBStreams_20120810.{operation}", parameters)

    def _request(self, target: str, parameters: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(parameters)
        try:
            self._connection.request("POST", "/", body, {**self.HEADERS, "X-Amz-Target": target})
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # It was idle for too long.
            self._connection.close()
            self._connection.request("POST", "/", body, {**self.HEADERS, "X-Amz-Target": target})
            answer = self._connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, (target, parameters, content)
        return content


class Harness:
    """An emulator's DynamoDB, and the app on it."""

    def __init__(self, emulator: Emulator) -> None:
        self.engine = Engine(emulator.port)
        self.shell = load_app(emulator.endpoint_url)
        self.clock = Clock()
        self.wire = Wire(self.shell.dynamodb)
        self.shell.time = self.clock
        self.made = 0  # So many worlds.

    def make_tables(self, view: tables.StreamView) -> dict[str, str]:
        """Makes fresh tables and turns the app to them; returns their names by logical ones."""
        self.made += 1
        names = {}
        for table in tables.all_tables("local", view):
            names[table.logical_name] = f"{table.name}-{os.getpid()}-{self.made}"
            own = table._replace(name=names[table.logical_name])
            self.engine("CreateTable", **tables.create_parameters(own))
        point_to(self.shell, names)
        return names

    def delete_tables(self, names: dict[str, str]) -> None:
        """Deletes them again."""
        for name in names.values():
            self.engine("DeleteTable", TableName=name)


def point_to(shell: Any, names: dict[str, str]) -> None:
    """Turns a loaded app to other tables, as the environment does it before it is loaded."""
    from chalicelib import tables as core

    shell.NAMES.update(names)
    shell.ORDERS, shell.LEDGER = names[core.ORDERS], names[core.LEDGER]
    shell.TOTALS, shell.TREND = names[core.TOTALS], names[core.TREND]


def load_app(endpoint_url: str) -> Any:
    """app.py as a module of its own, its client going to this endpoint as the root user."""
    with mock.patch.dict(os.environ, root_environment(endpoint_url)):
        spec = importlib.util.spec_from_file_location("app_under_proof", APP)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    shell: Any = module
    LOGGER.disabled = True  # What it logs would be printed.
    shell.metrics = mock.MagicMock()  # So would they.
    return shell


@contextlib.contextmanager
def open_lab() -> Iterator[Harness]:
    """A lab with an emulator of its own. While it is open, the SDK's retries neither wait nor run out."""
    no_wait = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    with (
        Emulator() as emulator,
        mock.patch("botocore.endpoint.time", no_wait),
        mock.patch("chalicelib.jobs.backfill.PAGE_ORDERS", 2),
        mock.patch("botocore.retries.quota.RetryQuota.acquire", return_value=True),
    ):
        try:
            yield Harness(emulator)
        finally:
            LOGGER.disabled = False
