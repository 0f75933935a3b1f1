"""`make load`: put the deployed app under load, then check that every total is right.

The app is deployed to a separate emulator that enforces IAM. Clients (clients.py) place, amend and cancel orders. With
KILL=yes, the command kills the functions' processes at random moments. At the end it compares each counter with the
orders that the clients know were accepted. The exit status is 1 if a counter differs.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from benchmarks.clients import (
    PROBE_EVERY_SECONDS,
    Api,
    Client,
    Counters,
    Prober,
    Table,
    expected_counters,
    stored_counters,
)
from benchmarks.progress import show_progress
from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy

GRACE_PERIOD_SECONDS = 120.0
POLL_SECONDS = 0.2
PROGRESS_EVERY_SECONDS = 5.0
KILL_EVERY_SECONDS = (0.5, 5.0)  # A random time in this range, so that kills hit any point of an invocation.
KILLED_FUNCTIONS = ("APIHandler", "Aggregate")
DIFFERENCES_SHOWN = 20


class Result(NamedTuple):
    """The outcome of a run."""

    seconds: float
    accepted: Counter[str]
    """Accepted changes, by kind and by channel."""
    uncertain: int
    """Requests whose responses were lost."""
    carried_out: int
    """How many of them were carried out."""
    killed: int
    milliseconds: list[float]
    """The time from sending each probe order until its total exists."""
    largest_backlog: int
    """Orders placed but not yet in the ledger."""
    caught_up_seconds: float
    """The time from the last request until all totals were right, or until the grace period ended."""
    counters: int
    orders: int
    errors: list[str]
    """Each wrong counter and each unexpected response."""


class Killer(threading.Thread):
    """Kill processes of the API's function and the stream handler at random moments."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.killed = 0
        self._stack = stack
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Stop killing."""
        self._stopped.set()

    def run(self) -> None:
        """Kill processes until stopped."""
        while not self._stopped.wait(random.uniform(*KILL_EVERY_SECONDS)):
            for pid in self._stack.emulator.worker_pids(self._stack.functions[random.choice(KILLED_FUNCTIONS)]):
                # Never kill a process that is starting. In ministack 1.5.33, all other processes of its function would
                # end too, and so would new ones, so that no request succeeds for minutes.
                if has_connections(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self.killed += 1


def has_connections(pid: int) -> bool:
    """Return whether a process has open sockets, which shows that it has sent a request to DynamoDB."""
    try:
        files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # The process has ended or has closed a file.
        return False
    return any(file.startswith("socket:") for file in files)


class Load:
    """A load run against a deployed stack that nothing else uses."""

    def __init__(self, stack: Stack, clients: int, kill: bool, show_progress: Callable[[str], None]) -> None:
        self._stack = stack
        self._show_progress = show_progress
        self._prober = Prober("probe", stack)
        self._clients: list[Client] = [self._prober, *(Client(f"client-{n + 1}", stack) for n in range(clients))]
        self._killer = Killer(stack) if kill else None
        self._dynamodb = stack.emulator.client("dynamodb")
        self._largest_backlog = 0

    def run(self, seconds: float) -> Result:
        """Run the clients, wait until all orders are counted, and compare the counters. Raise UnknownOutcomeError."""
        started = time.monotonic()
        for thread in (*self._clients, *filter(None, [self._killer])):
            thread.start()
        self._watch(started, seconds)
        if self._killer:  # Stop killing first, so that the clients' last requests get a response.
            self._killer.stop()
            self._killer.join()
        for client in self._clients:
            client.stop()
        for client in self._clients:
            client.join()
        ended = time.monotonic()
        self._prober.wait_for_pending(GRACE_PERIOD_SECONDS)
        for client in self._clients:
            client.look_up_uncertain()
        expected = expected_counters(order for client in self._clients for order in client.orders.values())
        stored = self._wait_for(expected)
        return Result(
            seconds=ended - started,
            accepted=self._accepted(),
            uncertain=sum(len(client.uncertain) for client in self._clients),
            carried_out=sum(client.carried_out for client in self._clients),
            killed=self._killer.killed if self._killer else 0,
            milliseconds=self._prober.milliseconds,
            largest_backlog=self._largest_backlog,
            caught_up_seconds=time.monotonic() - ended,
            counters=len(expected),
            orders=sum(len(client.orders) for client in self._clients),
            errors=[*(text for client in self._clients for text in client.errors), *differences(expected, stored)],
        )

    def _watch(self, started: float, seconds: float) -> None:
        """Record the largest backlog and show progress until the time is over."""
        shown_at, shown_changes = started, 0
        while (now := time.monotonic()) < started + seconds and any(client.is_alive() for client in self._clients):
            backlog = self._backlog()
            self._largest_backlog = max(self._largest_backlog, backlog)
            if now >= shown_at + PROGRESS_EVERY_SECONDS:
                changes = _changes(self._accepted())
                rate = (changes - shown_changes) / (now - shown_at)
                killed = f", {self._killer.killed:,} workers killed" if self._killer else ""
                self._show_progress(
                    f"{now - started:4.0f} s: {changes:,} changes, {rate:,.0f}/s, backlog {backlog:,}{killed}"
                )
                shown_at, shown_changes = now, changes
            time.sleep(POLL_SECONDS)

    def _backlog(self) -> int:
        # The ledger keeps the entries of cancelled orders, so compare it with all orders ever placed.
        table = self._dynamodb.describe_table(TableName=self._stack.tables["LedgerTable"])["Table"]
        entries: int = table["ItemCount"]
        return max(0, sum(client.placed for client in self._clients) - entries)

    def _accepted(self) -> Counter[str]:
        return sum((Counter(client.accepted) for client in self._clients), Counter())

    def _wait_for(self, expected: Counters) -> Counters:
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while (stored := stored_counters(self._stack)) != expected and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return stored


def differences(expected: Counters, stored: Counters) -> list[str]:
    """Return a line for each counter that differs from the expected one."""
    return [
        f"{' / '.join(counter)} is {stored.get(counter, 0):,}, expected {expected.get(counter, 0):,}"
        for counter in sorted(expected.keys() | stored.keys())
        if expected.get(counter, 0) != stored.get(counter, 0)
    ]


def report(result: Result) -> str:
    """Return the result as text."""
    accepted = result.accepted
    changes = _changes(accepted)
    kinds = ", ".join(f"{accepted[kind]:,} {kind}" for kind in ("placed", "amended", "cancelled"))
    channels = ", ".join(f"{accepted[label]:,} {label}" for label in (Api.label, Table.label))
    lines = {
        "changes accepted": f"{changes:,} in {result.seconds:.0f} s, {changes / result.seconds:,.0f}/s",
        "of these": f"{kinds}; {channels}",
        "lost responses": f"{result.uncertain:,}; {result.carried_out:,} of these requests were carried out",
        "workers killed": f"{result.killed:,}",
        "order to total": _latency(result.milliseconds),
        "largest backlog": f"{result.largest_backlog:,} orders placed and not yet in the ledger",
        "caught up": f"{result.caught_up_seconds:.1f} s after the last request",
        "counters compared": f"{result.counters:,} of {result.orders:,} orders, in totals and trend",
    }
    figures = [f"  {name:<18} {text}" for name, text in lines.items()]
    errors = [f"  WRONG: {text}" for text in result.errors[:DIFFERENCES_SHOWN]]
    verdict = f"{len(result.errors):,} WRONG" if result.errors else "Every counter equals the accepted orders."
    return "\n".join([*figures, *errors, verdict])


def _changes(accepted: Counter[str]) -> int:
    return accepted["placed"] + accepted["amended"] + accepted["cancelled"]


def _latency(milliseconds: list[float]) -> str:
    if len(milliseconds) < 2:
        return "not measured: the run was too short"
    cuts = quantiles(milliseconds, n=100)
    return f"p50 {cuts[49]:,.0f} ms, p99 {cuts[98]:,.0f} ms, of {len(milliseconds):,} probe orders"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make load", description="Put the deployed app under load.")
    parser.add_argument("--clients", type=int, default=8, help="how many clients send requests at the same time")
    parser.add_argument("--seconds", type=float, default=60, help="how many seconds they send requests")
    parser.add_argument("--kill", action="store_true", help="also kill the functions' processes at random moments")
    options = parser.parse_args(arguments)
    with Emulator() as emulator, tempfile.TemporaryDirectory() as folder:
        show_progress("Packaging the app and deploying it to an emulator")
        package("local", Path(folder))
        stack = deploy(emulator, Path(folder))
        show_progress(f"{options.clients} clients, and one probe order every {PROBE_EVERY_SECONDS} s")
        result = Load(stack, options.clients, options.kill, show_progress).run(options.seconds)
        print(f"{options.clients} clients on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        print(report(result), flush=True)
    return 1 if result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
