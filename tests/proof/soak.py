"""`make soak`: thousands of fault schedules with a progress bar, then races, then which schedules catch a broken rule.

make soak                                     10,000 schedules, of every kind alike; then the rest
make soak SCHEDULES=500 KIND=backfill         some of one kind
make soak SCHEDULES=20 KIND=faults SEED=7     those of one seed again: as a failed run says it
make soak JOBS=8                              eight at a time, each with an emulator of its own
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TextIO

from localcloud.emulator import Emulator
from tests.proof import schedules
from tests.proof.lab import Harness, open_lab
from tests.proof.mutations import MUTATIONS
from tests.proof.races import PROCESSES, Race, Racers, racers

SCHEDULES = 10_000
JOBS = 2
# So many have one seed: a failed one is found again within seconds.
OF_A_SEED = 50
MUTATION_SCHEDULES = 50
RACE_ORDERS = 2000
CONFLICT_RATES = (0, 0.1, 0.5, 0.9)
BAR = 40


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = parse(arguments)
    fake_access()
    with workers(asked.jobs) as pool:
        if not soak(pool, tasks(asked.schedules, asked.kind, asked.seed)):
            return 1
        if asked.seed is not None or asked.kind:
            return 0
        with Emulator() as emulator, racers(emulator) as running:
            if not race(running, asked.race_orders):
                return 1
        print_matrix(pool, asked.mutation_schedules)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="make soak", description="Runs fault schedules by the thousand.")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--kind", choices=list(schedules.KINDS), help="of all kinds, if left out")
    parser.add_argument("--seed", type=int, help="only the schedules of this seed, made small if one fails")
    parser.add_argument("--jobs", type=int, default=JOBS, help="so many at a time")
    parser.add_argument("--race-orders", type=int, default=RACE_ORDERS, help="in each race")
    parser.add_argument("--mutation-schedules", type=int, default=MUTATION_SCHEDULES, help="for each broken rule")
    return parser.parse_args(arguments)


def fake_access() -> None:
    """No real account is within reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull})
    os.environ.update({"AWS_SHARED_CREDENTIALS_FILE": os.devnull})


# --- Workers -------------------------------------------------------------------------------------


class Pool(Protocol):
    """What is used of a pool of processes."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """The results, in the order of the tasks."""

    def imap_unordered(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """The results, as they come."""


class Laboratory:
    """The lab of this process, if it is a worker."""

    lab: Harness
    _open = contextlib.ExitStack()

    @classmethod
    def open(cls) -> None:
        """Opens it for as long as the process lives; the emulator does not outlive it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The one that is at the terminal ends this one.
        cls.lab = cls._open.enter_context(open_lab())


@contextmanager
def workers(jobs: int) -> Iterator[Pool]:
    """Processes with a lab each."""
    with multiprocessing.get_context("spawn").Pool(jobs, Laboratory.open) as pool:
        yield pool


# --- Schedules -----------------------------------------------------------------------------------


class Task(NamedTuple):
    """Some schedules of a kind, which the seed determines."""

    kind: str
    number: int
    seed: int
    shrink: bool = False


class Ended(NamedTuple):
    """What became of a task."""

    task: Task
    requests: int
    faults: Counter[str]
    trouble: str  # What is to be said of a schedule that failed.


def tasks(number: int, kind: str | None, seed: int | None, of_a_seed: int = OF_A_SEED) -> list[Task]:
    """So many schedules, of one kind or of all kinds alike; those of one seed in one piece."""
    if seed is not None:
        return [Task(kind or "everything", number, seed, shrink=True)]
    kinds = [kind] if kind else list(schedules.KINDS)
    sizes = [min(of_a_seed, number - start) for start in range(0, number, of_a_seed)]
    return [Task(kinds[n % len(kinds)], size, schedules.fresh_seed()) for n, size in enumerate(sizes)]


def soak(pool: Pool, wanted: list[Task]) -> bool:
    """Runs the schedules; returns whether all were good. Says of a bad one how to see it again."""
    number = sum(task.number for task in wanted)
    done: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    requests = 0
    started = time.monotonic()
    for ended in pool.imap_unordered(run, wanted):
        if ended.trouble:
            print(f"\n{ended.trouble}\nA schedule of kind {ended.task.kind!r} failed.", flush=True)
            return False
        done[ended.task.kind] += ended.task.number
        requests += ended.requests
        faults += ended.faults
        show_progress(done.total(), number, time.monotonic() - started, sys.stdout)
    print(f"\n{number:,} schedules in {time.monotonic() - started:.0f} s, all good: {numbers(done)}.")
    print(f"The app made {requests:,} requests; of these {numbers(faults)}.", flush=True)
    return True


def numbers(counts: Counter[str]) -> str:
    """Counts, for people."""
    return ", ".join(f"{count:,} {name.lower().replace('_', ' ')}" for name, count in counts.items())


def run(task: Task) -> Ended:
    """Runs schedules in this process's lab."""
    lab = Laboratory.lab
    lab.wire.requests = 0
    lab.wire.faults.clear()
    said = io.StringIO()
    trouble = ""
    try:
        with contextlib.redirect_stdout(said):
            schedules.run(lab, *task)
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", []))
        trouble = f"{said.getvalue()}\n{''.join(traceback.format_exception(error, limit=-5))}\n{notes}"
    return Ended(task, lab.wire.requests, Counter(lab.wire.faults), trouble)


def show_progress(done: int, number: int, seconds: float, to: TextIO) -> None:
    """A bar that moves, or a line now and then where nobody watches."""
    full = BAR * done // number
    left = seconds / done * (number - done)
    line = f"[{'#' * full}{'.' * (BAR - full)}] {done}/{number} schedules, {seconds:.0f} s, {left:.0f} s to go"
    if to.isatty():
        to.write(f"\r\033[K{line}")
    elif done % (20 * OF_A_SEED) == 0 or done == number:
        to.write(f"{line}\n")
    to.flush()


# --- Races ---------------------------------------------------------------------------------------


def race(running: Racers, orders: int) -> bool:
    """Runs the races; returns whether all ended with the right totals."""
    print(f"\n{PROCESSES} processes at once, each with all records of the same {orders:,} orders of one product, each")
    print("placed and amended; a share of their transactions is refused for conflicts or throttling:\n")
    print(f"{'refused':>8} {'requests':>10} {'refusals':>10} {'given up':>10} {'seconds':>9}  total")
    for rate in CONFLICT_RATES:
        ended = running.race(orders, rate)
        print(f"{rate:>8.0%} {row(ended)}", flush=True)
        if not ended.right:
            return False
    return True


def row(ended: Race) -> str:
    """A race, for people."""
    attempts = ended.attempts
    wrong = f"WRONG: {ended.total} of {ended.counted} orders in the ledger, and should be {ended.expected}"
    figures = f"{attempts.requests:>10,} {attempts.refused:>10,} {attempts.raised:>10,} {ended.seconds:>9.0f}"
    return f"{figures}  {'right' if ended.right else wrong}"


# --- Broken rules --------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A rule to break, the kind of schedules that may catch that, and how many of these there are at the most."""

    mutation: str
    kind: str
    most: int


def print_matrix(
    pool: Pool, most: int, mutations: Iterable[str] = MUTATIONS, kinds: Sequence[str] = list(schedules.KINDS)
) -> None:
    """After how many schedules of each kind each broken rule was caught."""
    width = max(map(len, mutations))
    print(f"\nBroken rules, and after how many schedules of a kind they were caught (-: not within {most}):\n")
    print(" " * width, *(f"{kind:>16}" for kind in kinds))
    caught = pool.imap(catch, [Cell(name, kind, most) for name in mutations for kind in kinds])
    for name in mutations:
        print(f"{name:{width}}", *(f"{next(caught) or '-':>16}" for _ in kinds), flush=True)


def catch(cell: Cell) -> int | None:
    """After how many schedules a broken rule is caught in this process's lab; None if it is not."""
    lab = Laboratory.lab
    mutation = MUTATIONS[cell.mutation]
    before = lab.made
    try:
        with mutation.broken(lab), contextlib.redirect_stdout(io.StringIO()):
            schedules.run(lab, cell.kind, cell.most, mutation.seed)
    except AssertionError:
        return lab.made - before - 1  # Hypothesis runs the one that failed once more.
    return None


if __name__ == "__main__":
    sys.exit(main())
