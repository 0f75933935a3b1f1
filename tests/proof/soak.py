"""`make soak`: thousands of fault schedules with a progress bar, then races, then which schedules catch a broken rule.

make soak                                     10,000 schedules, of every kind alike; then the rest
make soak SCHEDULES=500 KIND=backfill         some of one kind
make soak SCHEDULES=20 KIND=faults SEED=7     those of one seed again: as a failed run says it
"""

import argparse
import contextlib
import io
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from localcloud.emulator import Emulator
from tests.proof import schedules
from tests.proof.lab import Lab, open_lab
from tests.proof.mutations import MUTATIONS, Mutation
from tests.proof.races import PROCESSES, Race, Racers, racers

SCHEDULES = 10_000
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
    with open_lab() as lab:
        if not soak(lab, asked.schedules, asked.kind, asked.seed):
            return 1
        if asked.seed is not None or asked.kind:
            return 0
        with Emulator() as emulator, racers(emulator) as running:
            if not race(running, asked.race_orders):
                return 1
        print_matrix(lab, asked.mutation_schedules)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="make soak", description="Runs fault schedules by the thousand.")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--kind", choices=list(schedules.KINDS), help="of all kinds, if left out")
    parser.add_argument("--seed", type=int, help="only the schedules of this seed, made small if one fails")
    parser.add_argument("--race-orders", type=int, default=RACE_ORDERS, help="in each race")
    parser.add_argument("--mutation-schedules", type=int, default=MUTATION_SCHEDULES, help="for each broken rule")
    return parser.parse_args(arguments)


def fake_access() -> None:
    """No real account is within reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull})
    os.environ.update({"AWS_SHARED_CREDENTIALS_FILE": os.devnull})


def soak(lab: Lab, number: int, kind: str | None, seed: int | None, of_a_seed: int = OF_A_SEED) -> bool:
    """Runs the schedules; returns whether all were good. Says of a bad one how to see it again."""
    kinds = [kind] if kind else list(schedules.KINDS)
    done: Counter[str] = Counter()
    started = time.monotonic()
    while done.total() < number:
        chosen = kinds[len(done) % len(kinds)] if len(done) < len(kinds) else min(kinds, key=lambda name: done[name])
        size = number if seed is not None else min(of_a_seed, number - done.total())
        of_seed = schedules.fresh_seed() if seed is None else seed
        if not quietly(lab, chosen, size, of_seed, shrink=seed is not None):
            print(f"\nA schedule of kind {chosen!r} failed.")
            return False
        done[chosen] += size
        show_progress(done.total(), number, time.monotonic() - started, sys.stdout)
    seconds = time.monotonic() - started
    print(f"\n{done.total()} schedules in {seconds:.0f} s, all good: {dict(done)}")
    print(f"They made {lab.wire.requests} requests of the app; {dict(lab.wire.faults)}", flush=True)
    return True


def quietly(lab: Lab, kind: str, number: int, seed: int, shrink: bool) -> bool:
    """Runs schedules of a seed; returns whether they were good, and prints what is to be said if they were not."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            schedules.run(lab, kind, number, seed, shrink)
    except Exception as error:
        print(f"\n{said.getvalue()}")
        traceback.print_exc(limit=-5)
        print("\n".join(getattr(error, "__notes__", [])), flush=True)
        return False
    return True


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


def race(running: Racers, orders: int) -> bool:
    """Runs the races; returns whether all ended with the right totals."""
    print(
        f"\n{PROCESSES} processes at once, each with all records of the same {orders} orders of one product, each order"
    )
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
    numbers = f"{attempts.requests:>10,} {attempts.refused:>10,} {attempts.raised:>10,} {ended.seconds:>9.0f}"
    return f"{numbers}  {'right' if ended.right else wrong}"


def print_matrix(
    lab: Lab, most: int, mutations: Mapping[str, Mutation] = MUTATIONS, kinds: Iterable[str] = schedules.KINDS
) -> None:
    """After how many schedules of each kind each broken rule was caught."""
    width = max(map(len, mutations))
    print(f"\nBroken rules, and after how many schedules of a kind they were caught (-: not within {most}):\n")
    print(" " * width, *(f"{kind:>16}" for kind in kinds))
    for name, mutation in mutations.items():
        cells: list[Any] = []
        for kind in kinds:
            before = lab.made
            with mutation.broken(lab):
                caught = not silently(lab, kind, most, mutation.seed)
            cells.append(lab.made - before if caught else "-")
        print(f"{name:{width}}", *(f"{cell:>16}" for cell in cells), flush=True)


def silently(lab: Lab, kind: str, number: int, seed: int) -> bool:
    """Runs schedules; returns whether they were good."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            schedules.run(lab, kind, number, seed)
    except AssertionError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
