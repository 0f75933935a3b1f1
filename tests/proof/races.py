"""Races: eight processes deliver overlapping batches of one product's orders at the same time.

The emulator runs transactions one after another and never reports a conflict, as DynamoDB does for two transactions on
one item. So the fault injector cancels a random share of the transactions.
"""

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from chalicelib import tables
from chalicelib.counting import committer
from localcloud.emulator import Emulator
from tests.proof.faults import CANCELLATIONS, Fault, FaultInjector, Request
from tests.proof.harness import EmulatorClient, Harness, load_app, use_tables
from tests.streams import Stream, item

PROCESSES = 8
BATCH = 250
PRODUCT = "Notebook"
SEED = 20261123


class Attempts(NamedTuple):
    """The requests of one process or of all processes together."""

    requests: int
    cancelled: int  # Transactions that the fault injector cancelled.
    timed_out: int  # Invocations that ran out of time and were retried, as Lambda does.


class Race(NamedTuple):
    """The outcome of a race."""

    attempts: Attempts
    seconds: float
    total: tuple[int, int]  # The stored totalQuantity and orderCount.
    expected: tuple[int, int]  # The expected totalQuantity and orderCount.
    counted: int  # Orders with status `counted` in the ledger.

    @property
    def exact(self) -> bool:
        """Return whether no order was lost or counted twice."""
        return self.total == self.expected and self.counted == self.expected[1]


class Context:
    """A Lambda context with so little time left that an invocation may run out of time."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return 20,000 milliseconds."""
        return 20_000


class Racers:
    """A pool of processes for all races."""

    def __init__(self, emulator: Emulator, pool: Any) -> None:
        self._emulator = emulator
        self._pool = pool
        self._harness = Harness(emulator)

    def race(self, orders: int, conflict_rate: float) -> Race:
        """Make each process deliver the whole stream of `orders` orders to new tables."""
        names = self._harness.make_tables("NEW_AND_OLD_IMAGES")
        started = time.monotonic()
        work = [(self._emulator.endpoint_url, names, number, orders, conflict_rate) for number in range(PROCESSES)]
        done = self._pool.starmap(deliver_all, work, chunksize=1)
        seconds = time.monotonic() - started
        (total,) = self._harness.dynamodb("Scan", TableName=names[tables.TOTALS])["Items"]
        counted = counted_orders(self._harness.dynamodb, names)
        self._harness.delete_tables(names)
        return Race(
            attempts=Attempts(*(sum(each) for each in zip(*done, strict=True))),
            seconds=seconds,
            total=(int(total["totalQuantity"]["N"]), int(total["orderCount"]["N"])),
            expected=(sum(quantity_of(number) for number in range(orders)), orders),
            counted=len(counted),
        )


@contextmanager
def racers(emulator: Emulator) -> Iterator[Racers]:
    """Start the processes. Stop them at the end."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        yield Racers(emulator, pool)


def quantity_of(number: int) -> int:
    """Return the final quantity of order number `number`."""
    return number % 7 + 2


def records(orders: int) -> Sequence[dict[str, Any]]:
    """Return stream records that place all orders and then amend each one."""
    stream = Stream()
    for number in range(orders):
        stream.put(item(f"o{number}", PRODUCT, 1))
    for number in range(orders):
        stream.put(item(f"o{number}", PRODUCT, quantity_of(number)))
    return stream.records


def deliver_all(endpoint_url: str, names: dict[str, str], process: int, orders: int, conflict_rate: float) -> Attempts:
    """Deliver the whole stream in one process, in randomly cut batches. Retry each batch until it succeeds."""
    committer._LONGEST_PAUSE_SECONDS = 0.5  # In this process only, so that a race does not take minutes.
    shell = load_app(endpoint_url)
    use_tables(shell, names)
    chance = random.Random(f"{SEED} {process} {conflict_rate}")
    injector = FaultInjector(shell.dynamodb)
    cancellations = list(CANCELLATIONS)

    def choose(request: Request) -> Fault:
        if request.operation == "TransactWriteItems" and chance.random() < conflict_rate:
            return chance.choice(cancellations)
        return Fault.NONE

    injector.choose = choose
    to_deliver = records(orders)
    timed_out = 0
    start = 0
    while start < len(to_deliver):
        end = start + chance.randint(BATCH // 2, BATCH * 3 // 2)
        try:
            shell.aggregate({"Records": to_deliver[start:end]}, Context())
            start = end
        except shell.OutOfTime:
            timed_out += 1
    return Attempts(injector.requests, injector.faults.total(), timed_out)


def counted_orders(dynamodb: EmulatorClient, names: dict[str, str]) -> set[str]:
    """Return the ids of all orders with status `counted` in the ledger."""
    request: dict[str, Any] = {"TableName": names[tables.LEDGER]}
    found = set()
    while request:
        page = dynamodb("Scan", **request)
        found |= {entry["OrderID"]["S"] for entry in page["Items"] if entry["status"]["S"] == "counted"}
        last = page.get("LastEvaluatedKey")
        request = {**request, "ExclusiveStartKey": last} if last else {}
    return found
