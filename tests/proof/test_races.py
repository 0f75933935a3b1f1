"""Real concurrency: eight processes deliver overlapping batches of one hot product's orders, at once.

The emulator carries out one transaction after another and never answers with a conflict, as DynamoDB does where
two meet at an item. So these are put in: a share of all transactions is refused, at random.
"""

import multiprocessing
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from chalicelib import tables
from localcloud.emulator import Emulator
from tests.proof.faults import CANCELLATIONS, Fault, Request, Wire
from tests.proof.lab import Engine, Lab, load_app, point_to
from tests.streams import Stream, item

PROCESSES = 8
BATCH = 250
PRODUCT = "Notebook"
SEED = 20261123


class Attempts(NamedTuple):
    """What a process has done."""

    requests: int
    refused: int
    raised: int  # Invocations that gave up, and were made again, as Lambda does it.


class Context:
    """Lambda's, with so little time that an invocation may well run out of it."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 20_000


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def real_time_lab(emulator: Emulator) -> Lab:
    return Lab(emulator)


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        yield pool


# With 2,000 orders the last takes a minute, most of it in pauses: 90 % of refusals are eight tries for a success.
@pytest.mark.parametrize(("conflict_rate", "orders"), [(0, 2000), (0.1, 2000), (0.5, 1000), (0.9, 250)])
def test_each_order_is_counted_once(
    emulator: Emulator, real_time_lab: Lab, processes: Any, conflict_rate: float, orders: int
):
    lab = real_time_lab
    names = lab.make_tables("NEW_AND_OLD_IMAGES")
    work = [(emulator.endpoint_url, names, number, orders, conflict_rate) for number in range(PROCESSES)]
    done = processes.starmap(deliver_all, work, chunksize=1)
    print(f"{conflict_rate:.0%} refused: {sum(each.requests for each in done)} requests in all, {done}")
    (total,) = lab.engine("Scan", TableName=names[tables.TOTALS])["Items"]
    expected = sum(quantity_of(number) for number in range(orders))
    assert (total["totalQuantity"]["N"], total["orderCount"]["N"]) == (str(expected), str(orders))
    assert len(counted(lab.engine, names)) == orders
    assert any(each.refused for each in done) == bool(conflict_rate)
    lab.delete_tables(names)


def quantity_of(number: int) -> int:
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


def counted(engine: Engine, names: dict[str, str]) -> set[str]:
    """The orders that the ledger holds for counted."""
    request: dict[str, Any] = {"TableName": names[tables.LEDGER]}
    found = set()
    while request:
        page = engine("Scan", **request)
        found |= {entry["OrderID"]["S"] for entry in page["Items"] if entry["status"]["S"] == "counted"}
        last = page.get("LastEvaluatedKey")
        request = {**request, "ExclusiveStartKey": last} if last else {}
    return found
