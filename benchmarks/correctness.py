"""Compare each contender's total with the true total in eight scenarios, with redeliveries, lost responses and crashes.

A fault scenario runs once for each request, with the fault at that request. The report has the worst total.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

from benchmarks.delivery import Contender
from benchmarks.interceptor import Crash, RequestInterceptor
from benchmarks.records import OrdersStream, Record, event

QUANTITIES = (5, 7, 11)
INVOCATION_SECONDS = 0.15
DELIVERIES_MAX = 4


class Scenario(NamedTuple):
    """A scenario: a sequence of batches about three orders of a product."""

    title: str
    batches: Callable[[OrdersStream, str], list[list[Record]]]
    """Makes the batches that Lambda delivers, for orders of the given product."""
    truth: int
    """The product's total at the end."""


class Outcome(NamedTuple):
    """A contender's total at the end of a scenario."""

    total: int
    stuck: bool  # Whether a batch fails at every delivery, which blocks its shard.


def place_orders(stream: OrdersStream, product: str) -> list[Record]:
    """Place three orders."""
    return [stream.put(f"{product}-{number}", product, quantity) for number, quantity in enumerate(QUANTITIES)]


def new_orders(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Place three orders in one batch."""
    return [place_orders(stream, product)]


def redelivery(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Deliver the batch twice."""
    return [place_orders(stream, product)] * 2


def amendment(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Increase the quantity of one order."""
    return [place_orders(stream, product), [stream.put(f"{product}-0", product, QUANTITIES[0] + 3)]]


def move(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Change one order to another product."""
    return [place_orders(stream, product), [stream.put(f"{product}-0", f"other than {product}", QUANTITIES[0])]]


def cancellation(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Cancel one order."""
    return [place_orders(stream, product), [stream.remove(f"{product}-2")]]


def invalid_order(stream: OrdersStream, product: str) -> list[list[Record]]:
    """Place three orders, one of them without a quantity."""
    first, *others = place_orders(stream, product)
    return [[first, stream.put(f"{product}-x", product, None), *others]]


ALL = sum(QUANTITIES)
SCENARIOS = (
    Scenario("new orders", new_orders, ALL),
    Scenario("batch delivered twice", redelivery, ALL),
    Scenario("one order amended", amendment, ALL + 3),
    Scenario("one order moved to another product", move, ALL - QUANTITIES[0]),
    Scenario("one order cancelled", cancellation, ALL - QUANTITIES[2]),
    Scenario("an order without a quantity among them", invalid_order, ALL),
)
LOST_RESPONSE = "a DynamoDB response lost"
CRASH = "a crash during the batch"


def run_all(
    contenders: list[Contender], interceptor: RequestInterceptor
) -> Iterator[tuple[str, Contender, int, Outcome]]:
    """Run every scenario with every contender. Yield its title, the contender, the true total and the outcome."""
    for scenario in SCENARIOS:
        for contender in contenders:
            yield scenario.title, contender, scenario.truth, run(contender, scenario)
    for title, fault in ((LOST_RESPONSE, interceptor.lose_response), (CRASH, interceptor.crash_after)):
        for contender in contenders:
            yield title, contender, ALL, worst_outcome(contender, interceptor, fault)


def run(contender: Contender, scenario: Scenario, fault: Any = None) -> Outcome:
    """Deliver a scenario's batches, with a fault if given, and return the outcome."""
    product = f"product-{time.monotonic_ns()}"
    stuck = False
    with fault or nullcontext():
        for batch in scenario.batches(OrdersStream(), product):
            stuck = stuck or not deliver_until_done(contender, batch)
    return Outcome(contender.read_total(product), stuck)


def worst_outcome(contender: Contender, interceptor: RequestInterceptor, fault: Callable[[int], Any]) -> Outcome:
    """Run once for each request of a batch, with the fault at that request. Return the worst outcome."""
    scenario = SCENARIOS[0]
    with interceptor.counting():
        run(contender, scenario)
    requests = range(1, interceptor.usage.requests + 1)
    outcomes = [run(contender, scenario, fault(request)) for request in requests]
    return max(outcomes, key=lambda outcome: abs(outcome.total - ALL))


def deliver_until_done(contender: Contender, batch: list[Record]) -> bool:
    """Deliver a batch as Lambda does, again after each error. Return whether a delivery succeeded."""
    for _ in range(DELIVERIES_MAX):
        try:
            contender.deliver(event(batch), INVOCATION_SECONDS)
        except (Exception, Crash):
            # Powertools rejects a retry until the failed invocation's timeout has passed.
            time.sleep(INVOCATION_SECONDS)
        else:
            return True
    return False
