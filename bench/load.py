"""`make load`: many clients at the deployed app for a while, and whether every total is right afterwards.

Deploys the app to an emulator of its own, with IAM enforced, and has clients (clients.py) place, amend and cancel
orders there. With KILL=yes the processes that run the functions are killed again and again meanwhile, wherever they
are. In the end each counter of each view is compared with what the clients know was accepted. The exit status is 1
if one is not equal.
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

from bench.clients import PROBE_EVERY_SECONDS, Client, Counters, Prober, expected, stored
from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy

GRACE_PERIOD_SECONDS = 120.0
POLL_SECONDS = 0.2
TELL_EVERY_SECONDS = 5.0
KILL_EVERY_SECONDS = (0.5, 5.0)  # Anything between, so that they are killed at any moment of their work.
KILLED = ("APIHandler", "Aggregate")
DIFFERENCES_SHOWN = 20

Say = Callable[[str], None]


class Result(NamedTuple):
    """What a run has come to."""

    seconds: float
    accepted: Counter[str]
    """Changes by kind, and by way."""
    doubtful: int
    """Requests whose answers were lost."""
    happened: int
    """Of them, those that had been carried out."""
    killed: int
    milliseconds: list[float]
    """From sending a probe's order until its total is there."""
    largest_backlog: int
    """Orders placed, but not yet in the ledger."""
    caught_up_seconds: float
    """From the last request until all totals were right, or until it was given up."""
    counters: int
    orders: int
    wrong: list[str]
    """Each counter that is not as it should be, and each answer that there should not have been."""


class Killer(threading.Thread):
    """Kills all processes that run the API, or the stream handler, at random moments."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.killed = 0
        self._stack = stack
        self._over = threading.Event()

    def stop(self) -> None:
        """Ends it."""
        self._over.set()

    def run(self) -> None:
        """Kills until it is stopped."""
        while not self._over.wait(random.uniform(*KILL_EVERY_SECONDS)):
            for pid in self._stack.emulator.worker_pids(self._stack.functions[random.choice(KILLED)]):
                # In ministack 1.5.33 one that dies while it starts takes all of the function's with it, and those
                # that are starting then take the next ones: for minutes no request gets through.
                if at_work(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self.killed += 1


def at_work(pid: int) -> bool:
    """Whether a process has connections, as those have that have begun to ask DynamoDB."""
    try:
        files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # It has ended, or closed one, meanwhile.
        return False
    return any(file.startswith("socket:") for file in files)


class Load:
    """One run against a deployed stack, with nobody else at it."""

    def __init__(self, stack: Stack, clients: int, kill: bool, say: Say) -> None:
        self._stack = stack
        self._say = say
        self._prober = Prober("probe", stack)
        self._clients: list[Client] = [self._prober, *(Client(f"client-{n + 1}", stack) for n in range(clients))]
        self._killer = Killer(stack) if kill else None
        self._dynamodb = stack.emulator.client("dynamodb")
        self._largest_backlog = 0

    def run(self, seconds: float) -> Result:
        """Has the clients work for so long, waits until all is counted, and compares. Raises Lost."""
        started = time.monotonic()
        everybody = [*self._clients, *filter(None, [self._killer])]
        for each in everybody:
            each.start()
        self._watch(started, seconds)
        if self._killer:  # First, so that the clients' last requests are answered.
            self._killer.stop()
            self._killer.join()
        for client in self._clients:
            client.stop()
        for client in self._clients:
            client.join()
        ended = time.monotonic()
        self._prober.look_for_the_rest(GRACE_PERIOD_SECONDS)
        for client in self._clients:
            client.look_up_doubtful()
        wanted = expected(order for client in self._clients for order in client.orders.values())
        there = self._wait_for(wanted)
        return Result(
            seconds=ended - started,
            accepted=self._accepted(),
            doubtful=sum(len(client.doubtful) for client in self._clients),
            happened=sum(client.happened for client in self._clients),
            killed=self._killer.killed if self._killer else 0,
            milliseconds=self._prober.milliseconds,
            largest_backlog=self._largest_backlog,
            caught_up_seconds=time.monotonic() - ended,
            counters=len(wanted),
            orders=sum(len(client.orders) for client in self._clients),
            wrong=[*(text for client in self._clients for text in client.wrong), *differences(wanted, there)],
        )

    def _watch(self, started: float, seconds: float) -> None:
        """Looks at the backlog until the time is over, and tells how far it is."""
        told_at, told = started, 0
        while (now := time.monotonic()) < started + seconds and any(client.is_alive() for client in self._clients):
            backlog = self._backlog()
            self._largest_backlog = max(self._largest_backlog, backlog)
            if now >= told_at + TELL_EVERY_SECONDS:
                changes = _changes(self._accepted())
                rate = (changes - told) / (now - told_at)
                killed = f", {self._killer.killed:,} workers killed" if self._killer else ""
                self._say(f"{now - started:4.0f} s: {changes:,} changes, {rate:,.0f}/s, {backlog:,} behind{killed}")
                told_at, told = now, changes
            time.sleep(POLL_SECONDS)

    def _backlog(self) -> int:
        # Also of an order that is cancelled the ledger keeps an item, so that this goes by orders ever placed.
        ledger: int = self._dynamodb.describe_table(TableName=self._stack.tables["LedgerTable"])["Table"]["ItemCount"]
        return max(0, sum(client.placed for client in self._clients) - ledger)

    def _accepted(self) -> Counter[str]:
        return sum((Counter(client.accepted) for client in self._clients), Counter())

    def _wait_for(self, wanted: Counters) -> Counters:
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while (there := stored(self._stack)) != wanted and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return there


def differences(wanted: Counters, there: Counters) -> list[str]:
    """Each counter that is not what it should be."""
    return [
        f"{' / '.join(counter)} is {there.get(counter, 0):,}, and should be {wanted.get(counter, 0):,}"
        for counter in sorted(wanted.keys() | there.keys())
        if wanted.get(counter, 0) != there.get(counter, 0)
    ]


def report(result: Result) -> str:
    """What people read."""
    accepted = result.accepted
    changes = _changes(accepted)
    kinds = ", ".join(f"{accepted[kind]:,} {kind}" for kind in ("placed", "amended", "cancelled"))
    ways = ", ".join(f"{accepted[way]:,} {way}" for way in ("over the API", "in the table"))
    lines = {
        "changes accepted": f"{changes:,} in {result.seconds:.0f} s, {changes / result.seconds:,.0f}/s",
        "of these": f"{kinds}; {ways}",
        "answers lost": f"{result.doubtful:,}; {result.happened:,} of these requests had been carried out",
        "workers killed": f"{result.killed:,}",
        "order to total": _latency(result.milliseconds),
        "largest backlog": f"{result.largest_backlog:,} orders placed and not yet in the ledger",
        "caught up": f"{result.caught_up_seconds:.1f} s after the last request",
        "counters compared": f"{result.counters:,} of {result.orders:,} orders, in totals and trend",
    }
    told = [f"  {name:<18} {text}" for name, text in lines.items()]
    shown = [f"  WRONG: {text}" for text in result.wrong[:DIFFERENCES_SHOWN]]
    verdict = f"{len(result.wrong):,} WRONG" if result.wrong else "All equal to what the clients know was accepted."
    return "\n".join([*told, *shown, verdict])


def _changes(accepted: Counter[str]) -> int:
    return accepted["placed"] + accepted["amended"] + accepted["cancelled"]


def _latency(milliseconds: list[float]) -> str:
    if len(milliseconds) < 2:
        return "not measured in so short a time"
    cuts = quantiles(milliseconds, n=100)
    return f"p50 {cuts[49]:,.0f} ms, p99 {cuts[98]:,.0f} ms, of {len(milliseconds):,} probe orders"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make load", description="Puts the deployed app under load.")
    parser.add_argument("--clients", type=int, default=8, help="how many make requests at once")
    parser.add_argument("--seconds", type=float, default=60, help="for how long")
    parser.add_argument("--kill", action="store_true", help="kill the functions' processes again and again meanwhile")
    asked = parser.parse_args(arguments)
    with Emulator() as emulator, tempfile.TemporaryDirectory() as folder:
        say("Packaging the app and deploying it to an emulator")
        package("local", Path(folder))
        stack = deploy(emulator, Path(folder))
        say(f"{asked.clients} clients, and one that probes every {PROBE_EVERY_SECONDS} s")
        result = Load(stack, asked.clients, asked.kill, say).run(asked.seconds)
        print(f"{asked.clients} clients on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        print(report(result), flush=True)
    return 1 if result.wrong else 0


def say(text: str) -> None:
    """Tells whoever waits how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
