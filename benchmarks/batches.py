"""Measure the cost of a batch for each contender: requests, capacity units, CPU and time per order."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.capacity import Usage
from benchmarks.delivery import Contender
from benchmarks.interceptor import RequestInterceptor
from benchmarks.records import OrdersStream, Record, event

Kind = Literal["new", "amended", "redelivered"]
KINDS: tuple[Kind, ...] = ("new", "amended", "redelivered")

HEADLINE_PRODUCTS = 10
COMPARISON_ROUNDS = 4


class Case(NamedTuple):
    """A kind of batch to measure. It has one record per order, spread over the products."""

    kind: Kind
    records: int
    products: int


class Figures(NamedTuple):
    """The cost of a batch, per order."""

    requests: float
    write_units: float
    read_units: float
    cpu_us: float
    """Microseconds of CPU in the handler's process, without the emulator."""
    wall_us: float
    """Microseconds until the handler returns."""


class Sizes(NamedTuple):
    """The batch sizes to measure, in records."""

    ours: tuple[int, ...]
    others: tuple[int, ...]
    """Small sizes are enough, because the other contenders send the same requests per record at any size."""
    headline: int
    """The size that the report shows for all of Order Totals' batches, and for new orders of other contenders."""
    sample: int
    """The size that the report shows for amendments and redeliveries of other contenders."""
    products: tuple[int, ...]

    def compared(self, contender: str, kind: Kind) -> Case:
        """Return a contender's case that the report compares."""
        is_headline = contender == "ours" or kind == "new"
        return Case(kind, self.headline if is_headline else self.sample, HEADLINE_PRODUCTS)


FULL = Sizes(ours=(1, 10, 100, 1_000, 10_000), others=(1, 10, 100), headline=1_000, sample=100, products=(1, 10, 1_000))
QUICK = Sizes(ours=(1, 10, 100), others=(1, 10), headline=10, sample=10, products=(1, 10))


def cases(contender: Contender, sizes: Sizes) -> list[Case]:
    """Return all cases to measure for a contender."""
    if contender.name == "ours":
        return [
            Case(kind, records, products)
            for kind in KINDS
            for records in sizes.ours
            for products in sizes.products
            if products <= records
        ]
    return [Case(kind, records, min(records, HEADLINE_PRODUCTS)) for kind in KINDS for records in sizes.others]


def measure_all(
    contenders: list[Contender], interceptor: RequestInterceptor, sizes: Sizes
) -> Iterator[tuple[Contender, Case, Figures]]:
    """Measure all cases of all contenders. Start with those that the report compares."""
    warm_up = Case("new", HEADLINE_PRODUCTS, HEADLINE_PRODUCTS)
    for contender in contenders:
        measure([contender], [warm_up], interceptor, rounds=1)
    for kind in KINDS:
        compared = [sizes.compared(contender.name, kind) for contender in contenders]
        figures = measure(contenders, compared, interceptor, COMPARISON_ROUNDS)
        yield from zip(contenders, compared, figures, strict=True)
    for contender in contenders:
        for case in cases(contender, sizes):
            if case != sizes.compared(contender.name, case.kind):
                yield contender, case, measure([contender], [case], interceptor, rounds(case))[0]


def measure(
    contenders: Sequence[Contender], cases: Sequence[Case], interceptor: RequestInterceptor, rounds: int
) -> list[Figures]:
    """Measure one case per contender. Count requests in one delivery, and take the best time of `rounds` more.

    The contenders alternate, so that other load on this machine affects all of them.
    """
    pairs = list(zip(contenders, cases, strict=True))
    usages = [count_usage(contender, case, interceptor) for contender, case in pairs]
    turns = [
        [time_delivery(contender, make_batch(contender, case)) for contender, case in pairs] for _ in range(rounds)
    ]
    measured = []
    for case, usage, times in zip(cases, usages, zip(*turns, strict=True), strict=True):
        cpu_seconds, wall_seconds = (min(seconds) for seconds in zip(*times, strict=True))
        totals = (*usage, cpu_seconds * 1e6, wall_seconds * 1e6)
        measured.append(Figures(*[total / case.records for total in totals]))
    return measured


def rounds(case: Case) -> int:
    """Return how often to time a case that the report does not compare."""
    if case.records <= 100:
        return 10 if case.records <= 10 else 3
    return 3 if case.records <= 1_000 else 1


def count_usage(contender: Contender, case: Case, interceptor: RequestInterceptor) -> Usage:
    """Deliver a batch once, and return the requests and capacity units that it took."""
    batch = make_batch(contender, case)
    with interceptor.counting():
        contender.deliver(batch)
    return interceptor.usage


def make_batch(contender: Contender, case: Case) -> Any:
    """Return a batch for a case. For amendments and redeliveries, deliver the original orders first."""
    stream = OrdersStream()
    batch = new_orders(stream, case, quantity=5)
    if case.kind != "new":
        contender.deliver(event(batch))
    if case.kind == "amended":
        batch = [stream.put(*id_and_product(record), 8) for record in batch]
    return event(batch)


def time_delivery(contender: Contender, batch: Any) -> tuple[float, float]:
    """Deliver a batch. Return the CPU seconds and the elapsed seconds that it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    contender.deliver(batch)
    return time.process_time() - cpu, time.perf_counter() - wall


def new_orders(stream: OrdersStream, case: Case, quantity: int) -> list[Record]:
    """Place new orders, cycling through the products. Return their records."""
    run = uuid.uuid4().hex
    return [
        stream.put(f"{run}-{number:05}", f"Product {number % case.products}", quantity)
        for number in range(case.records)
    ]


def id_and_product(record: Record) -> tuple[str, str]:
    """Return the id and the product of a record's order."""
    order = record["dynamodb"]["NewImage"]
    return order["OrderID"]["S"], order["Product"]["S"]
