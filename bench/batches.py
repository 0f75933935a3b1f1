"""What a batch costs, each way: requests, units, CPU and time for each order in it."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from bench.delivery import Way
from bench.records import Feed, Record, event
from bench.wire import Traffic, Wire

Kind = Literal["new", "amended", "redelivered"]
KINDS: tuple[Kind, ...] = ("new", "amended", "redelivered")

HEADLINE_PRODUCTS = 10
COMPARING_ROUNDS = 4


class Case(NamedTuple):
    """A batch of so many records, each of another order, over so many products."""

    kind: Kind
    records: int
    products: int


class Figures(NamedTuple):
    """For each order of a batch."""

    requests: float
    write_units: float
    read_units: float
    cpu_us: float
    """Microseconds of CPU in the handler's process; the emulator is another one."""
    wall_us: float
    """Microseconds until the handler returns."""


class Sizes(NamedTuple):
    """How large the batches are that are measured."""

    ours: tuple[int, ...]
    others: tuple[int, ...]
    """The other ways make the same requests for each record, however many there are: fewer show them as well."""
    headline: int
    """The size of the batches of new orders by which all are compared; ours by it in all kinds."""
    sample: int
    """The size by which the others are compared in the other kinds."""
    products: tuple[int, ...]

    def compared(self, way: str, kind: Kind) -> Case:
        """The case by which a way is compared with the others."""
        return Case(kind, self.headline if way == "ours" or kind == "new" else self.sample, HEADLINE_PRODUCTS)


FULL = Sizes(ours=(1, 10, 100, 1_000, 10_000), others=(1, 10, 100), headline=1_000, sample=100, products=(1, 10, 1_000))
QUICK = Sizes(ours=(1, 10, 100), others=(1, 10), headline=10, sample=10, products=(1, 10))


def cases(way: Way, sizes: Sizes) -> list[Case]:
    """What is measured of a way."""
    if way.name == "ours":
        return [
            Case(kind, records, products)
            for kind in KINDS
            for records in sizes.ours
            for products in sizes.products
            if products <= records
        ]
    return [Case(kind, records, min(records, HEADLINE_PRODUCTS)) for kind in KINDS for records in sizes.others]


def measure(ways: list[Way], wire: Wire, sizes: Sizes) -> Iterator[tuple[Way, Case, Figures]]:
    """Measures all cases of all ways."""
    for way in ways:
        figures([way], [Case("new", HEADLINE_PRODUCTS, HEADLINE_PRODUCTS)], wire, rounds=1)  # Warms up.
    for kind in KINDS:
        compared = [sizes.compared(way.name, kind) for way in ways]
        yield from zip(ways, compared, figures(ways, compared, wire, COMPARING_ROUNDS), strict=True)
    for way in ways:
        for case in cases(way, sizes):
            if case != sizes.compared(way.name, case.kind):
                yield way, case, figures([way], [case], wire, rounds(case))[0]


def figures(ways: Sequence[Way], cases: Sequence[Case], wire: Wire, rounds: int) -> list[Figures]:
    """Measures one case of each way: counts in one delivery, and takes the best time of some others.

    The ways take turns, so that all have their share of whatever else this machine does meanwhile.
    """
    each = list(zip(ways, cases, strict=True))
    counts = [count(way, case, wire) for way, case in each]
    turns = [[timed(way, prepare(way, case)) for way, case in each] for _ in range(rounds)]
    measured = []
    for (_, case), traffic, times in zip(each, counts, zip(*turns, strict=True), strict=True):
        cpu_seconds, wall_seconds = (min(seconds) for seconds in zip(*times, strict=True))
        totals = (*traffic, cpu_seconds * 1e6, wall_seconds * 1e6)
        measured.append(Figures(*[total / case.records for total in totals]))
    return measured


def rounds(case: Case) -> int:
    """How often to take the time of a case that is not compared with others."""
    if case.records <= 100:
        return 10 if case.records <= 10 else 3
    return 3 if case.records <= 1_000 else 1


def count(way: Way, case: Case, wire: Wire) -> Traffic:
    """What goes over the wire for a batch."""
    batch = prepare(way, case)
    with wire.counting():
        way.deliver(batch)
    return wire.traffic


def prepare(way: Way, case: Case) -> Any:
    """A batch of fresh orders; of amendments and redeliveries, the orders are counted by now."""
    feed = Feed()
    batch = orders(feed, case, quantity=5)
    if case.kind != "new":
        way.deliver(event(batch))
    if case.kind == "amended":
        batch = [feed.put(*again(record), 8) for record in batch]
    return event(batch)


def timed(way: Way, batch: Any) -> tuple[float, float]:
    """Has a batch counted; returns the seconds of CPU and of time that it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    way.deliver(batch)
    return time.process_time() - cpu, time.perf_counter() - wall


def orders(feed: Feed, case: Case, quantity: int) -> list[Record]:
    """The records of new orders, of products in turn."""
    run = uuid.uuid4().hex
    return [
        feed.put(f"{run}-{number:05}", f"Product {number % case.products}", quantity) for number in range(case.records)
    ]


def again(record: Record) -> tuple[str, str]:
    """The id and the product of a record's order."""
    order = record["dynamodb"]["NewImage"]
    return order["OrderID"]["S"], order["Product"]["S"]
