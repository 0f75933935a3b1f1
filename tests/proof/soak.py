"""`make soak`: run many fault schedules, then the races, then show which schedules catch each broken rule.

make soak                                     500,000 schedules of all kinds, then races and broken rules
make soak SCHEDULES=500 KIND=backfill         500 schedules of one kind
make soak KIND=faults SEED=7                  one schedule, as printed by a failed run; shrinks it if it fails
make soak JOBS=8                              eight processes
"""

import argparse
import contextlib
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
from tests.proof.app_on_engine import AppOnEngine, open_app
from tests.proof.mutations import MUTATIONS
from tests.proof.races import PROCESSES, Race, Racers, racers

SCHEDULES = 500_000
JOBS = 2
SCHEDULES_PER_TASK = 200
MUTATION_SCHEDULES = 200
RACE_ORDERS = 2000
CONFLICT_RATES = (0, 0.1, 0.5, 0.9)
BAR_WIDTH = 40


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Return its exit status."""
    options = parse(arguments)
    fake_access()
    if options.seed is not None:
        return shrink(options.kind or "everything", options.seed)
    with workers(options.jobs) as pool:
        if not soak(pool, tasks(options.schedules, options.kind)):
            return 1
        if options.kind:
            return 0
        with Emulator() as emulator, racers(emulator) as running:
            if not race(running, options.race_orders):
                return 1
        print_matrix(pool, options.mutation_schedules)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command's arguments."""
    parser = argparse.ArgumentParser(prog="make soak", description="Run many fault schedules.")
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="how many to run")
    parser.add_argument("--kind", choices=list(schedules.KINDS), help="run only this kind; default: all kinds")
    parser.add_argument("--seed", type=int, help="run only the schedule of this seed, and shrink it if it fails")
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
    """The methods of multiprocessing's pool that this module uses."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """Yield the results in the order of the tasks."""

    def imap_unordered(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        """Yield the results as they become available."""


class Worker:
    """The app of a worker process."""

    app: AppOnEngine
    _open = contextlib.ExitStack()

    @classmethod
    def start(cls) -> None:
        """Load the app once for the whole process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # On Ctrl-C the parent process ends its workers.
        cls.app = cls._open.enter_context(open_app())


@contextmanager
def workers(jobs: int) -> Iterator[Pool]:
    """Start a pool of processes. Each loads its own app."""
    with multiprocessing.get_context("spawn").Pool(jobs, Worker.start) as pool:
        yield pool


# --- Schedules -----------------------------------------------------------------------------------


class Task(NamedTuple):
    """A task for a worker: `number` schedules of one kind, starting at a seed."""

    kind: str
    number: int
    seed: int


class TaskResult(NamedTuple):
    """The outcome of a task."""

    task: Task
    done: schedules.Done | None
    failure: str = ""  # The message about a failed schedule.


def tasks(number: int, kind: str | None, per_task: int = SCHEDULES_PER_TASK) -> list[Task]:
    """Split `number` schedules into tasks, evenly over all kinds or of one given kind."""
    kinds = [kind] if kind else list(schedules.KINDS)
    sizes = [min(per_task, number - start) for start in range(0, number, per_task)]
    return [Task(kinds[n % len(kinds)], size, schedules.fresh_seed()) for n, size in enumerate(sizes)]


def soak(pool: Pool, planned: list[Task]) -> bool:
    """Run the schedules until one fails. Return whether all passed. Print how to reproduce a failure."""
    number = sum(task.number for task in planned)
    kinds, faults, seen = Counter[str](), Counter[str](), Counter[str]()
    requests = 0
    started = time.monotonic()
    for result in pool.imap_unordered(run, planned):
        if result.done is None:
            print(f"\n{result.failure}", flush=True)
            return False
        kinds[result.task.kind] += result.task.number
        requests += result.done.requests
        faults += result.done.faults
        seen += result.done.seen
        show_progress(kinds.total(), number, time.monotonic() - started, sys.stdout)
    seconds = time.monotonic() - started
    print(f"\n{number:,} schedules passed in {seconds:.0f} s, {number / seconds:.0f} a second: {format_counts(kinds)}.")
    print(f"The app sent {requests:,} requests. Faults: {format_counts(faults) or 'none'}.")
    print(f"What an emulator does not do: {format_counts(seen)}.", flush=True)
    return True


def format_counts(counts: Counter[str]) -> str:
    """Format counts as text: `1,040 response lost, 460 conflict`."""
    return ", ".join(f"{count:,} {name.lower().replace('_', ' ')}" for name, count in counts.items())


def run(task: Task) -> TaskResult:
    """Run a task's schedules with this process's app."""
    try:
        return TaskResult(task, schedules.run(Worker.app, task.kind, task.number, task.seed))
    except Exception as error:
        return TaskResult(task, None, "".join(traceback.format_exception(error, limit=-5)))


def shrink(kind: str, seed: int) -> int:
    """Run the schedule of a seed. If it fails, print a smaller failing schedule. Return the exit status."""
    with open_app() as app:
        through_botocore = seed % schedules.BOTOCORE_EVERY == 0
        first = schedules.failure(app, kind, schedules.choices_of(kind, seed), through_botocore)
        if first is None:
            print("The schedule passes.")
            return 0
        print(f"The schedule fails with {len(first.choices)} choices. Shrinking it ...", flush=True)
        smallest = schedules.shrink(app, kind, first)
    print(*smallest.log, sep="\n")
    print("".join(traceback.format_exception(smallest.error, limit=-5)))
    print(f"The choices of this schedule: {list(smallest.choices)}")
    return 1


def show_progress(done: int, number: int, seconds: float, to: TextIO) -> None:
    """Redraw a progress bar in a terminal. Otherwise print a line now and then."""
    filled = BAR_WIDTH * done // number
    remaining = seconds / done * (number - done)
    bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"
    line = f"{bar} {done}/{number} schedules, {seconds:.0f} s, {remaining:.0f} s left"
    if to.isatty():
        to.write(f"\r\033[K{line}")
    elif done % (50 * SCHEDULES_PER_TASK) == 0 or done == number:
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
    """Format a race as the columns of a table row that follow the conflict rate."""
    attempts = result.attempts
    wrong = f"WRONG: {result.total} with {result.counted} orders counted in the ledger, expected {result.expected}"
    figures = f"{attempts.requests:>10,} {attempts.cancelled:>10,} {attempts.timed_out:>10,} {result.seconds:>9.0f}"
    return f"{figures}  {'right' if result.exact else wrong}"


# --- Broken rules --------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One cell of the matrix: a broken rule, a kind of schedule, and the most schedules to try."""

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
    """Return how many schedules it takes to catch a broken rule. Return None if `cell.most` do not catch it."""
    mutation = MUTATIONS[cell.mutation]
    with mutation.broken(Worker.app):
        for number in range(1, cell.most + 1):
            choices = schedules.choices_of(cell.kind, mutation.seed + number - 1)
            if schedules.failure(Worker.app, cell.kind, choices):
                return number
    return None


if __name__ == "__main__":
    sys.exit(main())
