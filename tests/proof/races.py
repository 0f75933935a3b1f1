"""Real concurrency: eight processes deliver overlapping batches of one hot product's orders, at once.

The emulator carries out one transaction after another and never answers with a conflict, as DynamoDB does where
two meet at an item. So these are put in: a share of all transactions is refused, at random.
"""

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from chalicelib import tables
from localcloud.emulator import Emulator
from tests.proof.faults import CANCELLATIONS, Fault, Request, Wire
from tests.proof.lab import Engine, Harness, load_app, point_to
from tests.streams import Stream, item

PROCESSES = 8
BATCH = 250
PRODUCT = "Notebook"
SEED = 20261123


class Attempts(NamedTuple):
    """What a process has done, or all of them together."""

    requests: int
    refused: int
    raised: int  # Invocations that gave up, and were made again, as Lambda does it.


class Race(NamedTuple):
    """How a race ended, and the counters that must have come of it."""

    attempts: Attempts
    seconds: float
    total: tuple[int, int]  # totalQuantity and orderCount, as stored ...
    expected: tuple[int, int]  # ... and as the orders say.
    counted: int  # Orders that the ledger holds for counted.

    @property
    def right(self) -> bool:
        """Whether nothing is lost, and nothing doubled."""
        return self.total == self.expected and self.counted == self.expected[1]


class Context:
    """Lambda's, with so little time that an invocation may well run out of it."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Twenty seconds."""
        return 20_000


class Racers:
    """The processes, which are started once for all races."""

    def __init__(self, emulator: Emulator, pool: Any) -> None:
        self._emulator = emulator
        self._pool = pool
        self._lab = Harness(emulator)

    def race(self, orders: int, conflict_rate: float) -> Race:
        """Each process delivers the whole stream of so many orders, on fresh tables."""
        names = self._lab.make_tables("NEW_AND_OLD_IMAGES")
        started = time.monotonic()
        work = [(self._emulator.endpoint_url, names, number, orders, conflict_rate) for number in range(PROCESSES)]
        done = self._pool.starmap(deliver_all, work, chunksize=1)
        seconds = time.monotonic() - started
        (total,) = self._lab.engine("Scan", TableName=names[tables.TOTALS])["Items"]
        counted = orders_counted(self._lab.engine, names)
        self._lab.delete_tables(names)
        return Race(
            attempts=Attempts(*(sum(each) for each in zip(*done, strict=True))),
            seconds=seconds,
            total=(int(total["totalQuantity"]["N"]), int(total["orderCount"]["N"])),
            expected=(sum(quantity_of(number) for number in range(orders)), orders),
            counted=len(counted),
        )


@contextmanager
def racers(emulator: Emulator) -> Iterator[Racers]:
    """Starts the processes, and stops them."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        yield Racers(emulator, pool)


def quantity_of(number: int) -> int:
    """What the order with this number comes to."""
    return number % 7 + 2


def records(orders: int) -> Sequence[dict[str, Any]]:
    """Each order is placed, and amended later."""
    stream = Stream()
    for number in range(orders):
        stream.put(item(f"o{number}", PRODUCT, 1))
    for number in range(orders):
        stream.put(item(f"o{number}", PRODUCT, quantity_of(number)))
    return stream.records


def deliver_all(endpoint_url: str, names: dict[str, str], process: int, orders: int, conflict_rate: float) -> Attempts:
    """One process: the whole stream in batches of its own cut, each until it comes to a good end."""
    shell = load_app(endpoint_url)
    point_to(shell, names)
    chance = random.Random(f"{SEED} {process} {conflict_rate}")
    wire = Wire(shell.dynamodb)
    codes = list(CANCELLATIONS)

    def choose(request: Request) -> Fault:
        if request.operation == "TransactWriteItems" and chance.random() < conflict_rate:
            return chance.choice(codes)
        return Fault.NONE

    wire.choose = choose
    told = records(orders)
    raised = 0
    start = 0
    while start < len(told):
        end = start + chance.randint(BATCH // 2, BATCH * 3 // 2)
        try:
            shell.aggregate({"Records": told[start:end]}, Context())
            start = end
        except shell.OutOfTime:
            raised += 1
    return Attempts(wire.requests, wire.faults.total(), raised)


def orders_counted(engine: Engine, names: dict[str, str]) -> set[str]:
    """The orders that the ledger holds for counted."""
    request: dict[str, Any] = {"TableName": names[tables.LEDGER]}
    found = set()
    while request:
        page = engine("Scan", **request)
        found |= {entry["OrderID"]["S"] for entry in page["Items"] if entry["status"]["S"] == "counted"}
        last = page.get("LastEvaluatedKey")
        request = {**request, "ExclusiveStartKey": last} if last else {}
    return found
