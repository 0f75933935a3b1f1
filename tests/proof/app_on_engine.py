"""Run app.py in this process, with the engine instead of DynamoDB."""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from chalicelib import stream_lag, tables
from tests.proof.engine import Choose
from tests.proof.engine.client import Client, Http, Network
from tests.proof.engine.database import Database, Table
from tests.proof.engine.tasks import Scheduler, Threads
from tests.proof.faults import Fault
from tests.proof.harness import LOGGER, load_app, use_tables

NOWHERE = "http://127.0.0.1:1"  # The app never connects to it.


class Clock:
    """Replace the `time` module of app.py. The app's clock is `skew` seconds ahead of DynamoDB's."""

    def __init__(self, scheduler: Scheduler, skew: int = 0) -> None:
        self.scheduler = scheduler
        self.skew = skew

    def time(self) -> float:
        """Return the app's time in epoch seconds."""
        return self.scheduler.now + self.skew

    def time_ns(self) -> int:
        """Return the app's time in epoch nanoseconds."""
        return int(self.time()) * 1_000_000_000

    def monotonic(self) -> float:
        """Return the elapsed time in seconds, which never decreases."""
        return self.scheduler.elapsed

    def sleep(self, seconds: float) -> None:
        """Pause this invocation, so that other tasks can run."""
        self.scheduler.sleep(seconds)


class Silence:
    """Replace the app's metrics and log, and discard everything."""

    def add_metric(self, *arguments: Any, **more: Any) -> None:
        """Do nothing."""

    flush_metrics = info = warning = error = exception = add_metric


class AppOnEngine:
    """The loaded app, to run on an engine. `shell` is the module app.py."""

    def __init__(self) -> None:
        self.shell = load_app(NOWHERE)
        self.shell.metrics = self.shell.logger = Silence()
        self.shell.random = SimpleNamespace(uniform=lambda low, high: (low + high) / 2)
        use_tables(self.shell, {name: name for name in tables.KEYS})
        self._boto3 = self.shell.dynamodb
        self._http = Http(self._boto3)

    def attach(
        self,
        scheduler: Scheduler,
        choose: Choose,
        choose_fault: Callable[[str], Fault] = lambda operation: Fault.NONE,
        *,
        skew: int = 0,
        through_botocore: bool = False,
        page_bytes: int = 1_000_000,
        mishaps: int = 0,
    ) -> Network:
        """Connect the app to a new engine with empty tables. Return the Network between the two."""
        database = Database(lambda: scheduler.now, choose, page_bytes, mishaps)
        for name, keys in tables.KEYS.items():
            database.tables[name] = Table(name, keys)
        network = Network(scheduler, database, choose_fault)
        self.shell.time = Clock(scheduler, skew)
        self.shell.ThreadPoolExecutor = lambda threads: Threads(scheduler)
        self.shell.lag_reporter = stream_lag.Reporter()
        self._http.network = network
        self.shell.dynamodb = self._boto3 if through_botocore else Client(network, self._boto3.exceptions)
        return network


@contextlib.contextmanager
def open_app() -> Iterator[AppOnEngine]:
    """Load the app, without the SDK's pauses and with few audit buckets, so that it runs fast."""
    no_wait = SimpleNamespace(sleep=lambda seconds: None, time=lambda: 0.0)
    with (
        mock.patch("botocore.endpoint.time", no_wait),
        mock.patch("botocore.retries.quota.RetryQuota.acquire", return_value=True),
        mock.patch("chalicelib.jobs.audit.checksums.BUCKETS", 64),
    ):
        try:
            yield AppOnEngine()
        finally:
            LOGGER.disabled = False
