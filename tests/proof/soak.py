"""`make soak`: run thousands of fault schedules, then the races, then show which schedules catch each broken rule.

make soak                                     10,000 schedules of all kinds, then races and broken rules
make soak SCHEDULES=500 KIND=backfill         500 schedules of one kind
make soak SCHEDULES=20 KIND=faults SEED=7     the schedules of one seed, as printed by a failed run
make soak JOBS=8                              eight processes, each with its own emulator
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
from tests.proof.harness import Harness, open_harness
from tests.proof.mutations import MUTATIONS
from tests.proof.races import PROCESSES, Race, Racers, racers

SCHEDULES = 10_000
JOBS = 2
# Few enough that a failed schedule is reproduced within seconds.
SCHEDULES_PER_SEED = 50
MUTATION_SCHEDULES = 50
RACE_ORDERS = 2000
CONFLICT_RATES = (0, 0.1, 0.5, 0.9)
BAR_WIDTH = 40


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Return its exit status."""
    options = parse(arguments)
    fake_access()
    with workers(options.jobs) as pool:
        if not soak(pool, tasks(options.schedules, options.kind, options.seed)):
            return 1
        if options.seed is not None or options.kind:
            return 0
        with Emulator() as emulator, racers(emulator) as running:
            if not race(running, options.race_orders):
                return 1
        print_matrix(pool, options.mutation_schedules)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command's arguments."""
    parser = argparse.ArgumentParser(prog="make soak", description="Run thousands of fault schedules.")
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="how many to run")
    parser.add_argument("--kind", choices=list(schedules.KINDS), help="run only this kind; default: all kinds")
    parser.add_argument("--seed", type=int, help="run only the schedules of this seed, and shrink one that fails")
    parser.add_argument("--jobs", type=int, default=JOBS, help="number of processes")
    parser.add_argument("--race-orders", type=int, default=RACE_ORDERS, help="orders in each race")
    parser.add_argument(
        "--mutation-schedules", type=int, default=MUTATION_SCHEDULES, help="most schedules to try for each broken rule"
    )
    return parser.parse_args(arguments)


def fake_access() -> None:
    """Remove all AWS settings from the environment, so that no real account can be reached."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull})
    os.environ.update({"AWS_SHARED_CREDENTIALS_FILE": os.devnull})


# --- Workers -------------------------------------------------------------------------------------


class Pool(Protocol):
    """The methods of multiprocessing's pool that are used here."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """Yield the results in the order of the tasks."""

    def imap_unordered(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """Yield the results as they become available."""


class Worker:
    """A worker process's own harness."""

    harness: Harness
    _open = contextlib.ExitStack()

    @classmethod
    def start(cls) -> None:
        """Open the harness for the life of the process. Its emulator ends with the process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # On Ctrl-C the parent process ends its workers.
        cls.harness = cls._open.enter_context(open_harness())


@contextmanager
def workers(jobs: int) -> Iterator[Pool]:
    """Start a pool of processes with a harness each."""
    with multiprocessing.get_context("spawn").Pool(jobs, Worker.start) as pool:
        yield pool


# --- Schedules -----------------------------------------------------------------------------------


class Task(NamedTuple):
    """The `number` schedules of a kind that a seed determines."""

    kind: str
    number: int
    seed: int
    shrink: bool = False


class TaskResult(NamedTuple):
    """The outcome of a task."""

    task: Task
    requests: int
    faults: Counter[str]
    failure: str  # What to print about a schedule that failed; empty if none did.


def tasks(number: int, kind: str | None, seed: int | None, schedules_per_seed: int = SCHEDULES_PER_SEED) -> list[Task]:
    """Split `number` schedules into tasks, evenly over all kinds unless one is given. A given seed makes one task."""
    if seed is not None:
        return [Task(kind or "everything", number, seed, shrink=True)]
    kinds = [kind] if kind else list(schedules.KINDS)
    sizes = [min(schedules_per_seed, number - start) for start in range(0, number, schedules_per_seed)]
    return [Task(kinds[n % len(kinds)], size, schedules.fresh_seed()) for n, size in enumerate(sizes)]


def soak(pool: Pool, planned: list[Task]) -> bool:
    """Run the schedules until one fails. Return whether all passed; print how to reproduce a failure."""
    number = sum(task.number for task in planned)
    done: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    requests = 0
    started = time.monotonic()
    for result in pool.imap_unordered(run, planned):
        if result.failure:
            print(f"\n{result.failure}\nA schedule of kind {result.task.kind!r} failed.", flush=True)
            return False
        done[result.task.kind] += result.task.number
        requests += result.requests
        faults += result.faults
        show_progress(done.total(), number, time.monotonic() - started, sys.stdout)
    print(f"\n{number:,} schedules passed in {time.monotonic() - started:.0f} s: {format_counts(done)}.")
    print(f"The app sent {requests:,} requests. Faults injected: {format_counts(faults) or 'none'}.", flush=True)
    return True


def format_counts(counts: Counter[str]) -> str:
    """Format counts as text: `1,040 response lost, 460 conflict`."""
    return ", ".join(f"{count:,} {name.lower().replace('_', ' ')}" for name, count in counts.items())


def run(task: Task) -> TaskResult:
    """Run a task's schedules on this process's harness."""
    harness = Worker.harness
    harness.injector.requests = 0
    harness.injector.faults.clear()
    output = io.StringIO()
    failure = ""
    try:
        with contextlib.redirect_stdout(output):
            schedules.run(harness, *task)
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", []))
        failure = f"{output.getvalue()}\n{''.join(traceback.format_exception(error, limit=-5))}\n{notes}"
    return TaskResult(task, harness.injector.requests, Counter(harness.injector.faults), failure)


def show_progress(done: int, number: int, seconds: float, to: TextIO) -> None:
    """Redraw a progress bar; on output that is not a terminal, print a line now and then."""
    filled = BAR_WIDTH * done // number
    remaining = seconds / done * (number - done)
    bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"
    line = f"{bar} {done}/{number} schedules, {seconds:.0f} s, {remaining:.0f} s left"
    if to.isatty():
        to.write(f"\r\033[K{line}")
    elif done % (20 * SCHEDULES_PER_SEED) == 0 or done == number:
        to.write(f"{line}\n")
    to.flush()


# --- Races ---------------------------------------------------------------------------------------


def race(running: Racers, orders: int) -> bool:
    """Run the races until one fails. Return whether all end with the right totals."""
    print(
        f"\n{PROCESSES} processes at once deliver the same {orders:,} orders of one product, each placed and amended."
    )
    print("A share of their transactions is cancelled with a conflict or throttling:\n")
    print(f"{'share':>9} {'requests':>10} {'cancelled':>10} {'timed out':>10} {'seconds':>9}  total")
    for rate in CONFLICT_RATES:
        result = running.race(orders, rate)
        print(f"{rate:>9.0%} {format_race(result)}", flush=True)
        if not result.exact:
            return False
    return True


def format_race(result: Race) -> str:
    """Format a race as the rest of a table row, after the conflict rate."""
    attempts = result.attempts
    wrong = f"WRONG: {result.total} with {result.counted} orders counted in the ledger, expected {result.expected}"
    figures = f"{attempts.requests:>10,} {attempts.cancelled:>10,} {attempts.timed_out:>10,} {result.seconds:>9.0f}"
    return f"{figures}  {'right' if result.exact else wrong}"


# --- Broken rules --------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One cell of the matrix: a rule to break, the kind of schedule to catch it, and how many to try at most."""

    mutation: str
    kind: str
    most: int


def print_matrix(
    pool: Pool, most: int, mutations: Iterable[str] = MUTATIONS, kinds: Sequence[str] = list(schedules.KINDS)
) -> None:
    """Print how many schedules of each kind it takes to catch each broken rule."""
    width = max(map(len, mutations))
    print(f"\nBroken rules, and how many schedules of each kind it takes to catch them (-: more than {most}):\n")
    print(" " * width, *(f"{kind:>16}" for kind in kinds))
    caught = pool.imap(catch, [Cell(name, kind, most) for name in mutations for kind in kinds])
    for name in mutations:
        print(f"{name:{width}}", *(f"{next(caught) or '-':>16}" for _ in kinds), flush=True)


def catch(cell: Cell) -> int | None:
    """Return how many schedules it takes to catch a broken rule; None if `cell.most` are not enough."""
    harness = Worker.harness
    mutation = MUTATIONS[cell.mutation]
    before = harness.table_sets
    try:
        with mutation.broken(harness), contextlib.redirect_stdout(io.StringIO()):
            schedules.run(harness, cell.kind, cell.most, mutation.seed)
    except AssertionError:
        return harness.table_sets - before - 1  # Hypothesis runs a failed schedule a second time.
    return None


if __name__ == "__main__":
    sys.exit(main())
