"""What every contender is put through: scenarios for its totals, and cases for its cost and speed."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

from benchmarks.contenders import BATCHING, NAMES, Contender
from benchmarks.interceptor import Crash, RequestInterceptor
from benchmarks.records import OrdersStream, Record, event

# --- Correctness: what happens to three orders of a product --------------------------------------

QUANTITIES = (5, 7, 11)
ALL = sum(QUANTITIES)
INVOCATION_SECONDS = 0.15
DELIVERIES_MAX = 4

Batches = list[list[Record]]


class Scenario(NamedTuple):
    """A story with its right end."""

    title: str
    batches: Callable[[OrdersStream, str], Batches]
    """Makes the batches that Lambda delivers, for orders of the given product."""
    truth: int = ALL
    """The product's total at the end."""
    minutes_later: int = 0
    """How long after the first batch the others are delivered."""


class Outcome(NamedTuple):
    """The total that a contender has at the end of a scenario."""

    total: int
    stuck: bool  # Whether a batch fails on every delivery and blocks its shard.


def place(stream: OrdersStream, product: str) -> list[Record]:
    """Place three orders."""
    return [stream.put(f"{product}-{number}", product, quantity) for number, quantity in enumerate(QUANTITIES)]


def cut_differently(stream: OrdersStream, product: str) -> Batches:
    """Deliver a batch, then its records again in two batches."""
    records = place(stream, product)
    return [records, records[:2], records[2:]]


def amended(stream: OrdersStream, product: str) -> Batches:
    """Increase the quantity of one order."""
    return [place(stream, product), [stream.put(f"{product}-0", product, QUANTITIES[0] + 3)]]


def moved(stream: OrdersStream, product: str) -> Batches:
    """Change one order to another product."""
    return [place(stream, product), [stream.put(f"{product}-0", f"other than {product}", QUANTITIES[0])]]


def cancelled(stream: OrdersStream, product: str) -> Batches:
    """Cancel one order."""
    return [place(stream, product), [stream.remove(f"{product}-2")]]


def invalid(stream: OrdersStream, product: str) -> Batches:
    """Place an order without a quantity among the three."""
    first, *others = place(stream, product)
    return [[first, stream.put(f"{product}-x", product, None), *others]]


NEW_ORDERS = Scenario("new orders", lambda stream, product: [place(stream, product)])
SCENARIOS = (
    NEW_ORDERS,
    Scenario("delivered twice", lambda stream, product: [place(stream, product)] * 2),
    Scenario("twice, 11 minutes apart", lambda stream, product: [place(stream, product)] * 2, minutes_later=11),
    Scenario("again, cut differently", cut_differently),
    Scenario("one amended", amended, ALL + 3),
    Scenario("one moved to another product", moved, ALL - QUANTITIES[0]),
    Scenario("one cancelled", cancelled, ALL - QUANTITIES[2]),
    Scenario("one without a quantity", invalid),
)
LOST_RESPONSE = "a response lost"
CRASH = "a crash during the batch"
TOKEN_MINUTES = 10  # DynamoDB remembers a ClientRequestToken for so long (API reference, TransactWriteItems).


def run_all(
    contenders: list[Contender], interceptor: RequestInterceptor
) -> Iterator[tuple[str, Contender, int, Outcome]]:
    """Run every scenario with every contender; yield its title, the contender, the true total and the outcome."""
    for scenario in SCENARIOS:
        for contender in contenders:
            yield scenario.title, contender, scenario.truth, run(contender, interceptor, scenario)
    for title, fault in ((LOST_RESPONSE, interceptor.lose_response), (CRASH, interceptor.crash_after)):
        for contender in contenders:
            yield title, contender, ALL, worst_outcome(contender, interceptor, fault)


def run(contender: Contender, interceptor: RequestInterceptor, scenario: Scenario, fault: Any = None) -> Outcome:
    """Deliver a scenario's batches, inside a fault's context manager if given; return the outcome."""
    product = f"product-{time.monotonic_ns()}"
    first, *later = scenario.batches(OrdersStream(), product)
    with fault or nullcontext():
        done = deliver_until_done(contender, first)
        with interceptor.forgetting_tokens() if scenario.minutes_later > TOKEN_MINUTES else nullcontext():
            done = done and all(deliver_until_done(contender, batch) for batch in later)
    return Outcome(contender.read_total(product), stuck=not done)


def worst_outcome(contender: Contender, interceptor: RequestInterceptor, fault: Callable[[int], Any]) -> Outcome:
    """Inject a fault at each request of a batch of new orders in turn; return the outcome farthest from the truth."""
    with interceptor.counting():
        run(contender, interceptor, NEW_ORDERS)
    requests = range(1, int(interceptor.usage.requests) + 1)
    outcomes = [run(contender, interceptor, NEW_ORDERS, fault(request)) for request in requests]
    return max(outcomes, key=lambda outcome: abs(outcome.total - ALL))


def deliver_until_done(contender: Contender, batch: list[Record]) -> bool:
    """Deliver a batch as Lambda does, again after each error; return whether one delivery succeeded."""
    for _ in range(DELIVERIES_MAX):
        try:
            contender.deliver(event(batch), INVOCATION_SECONDS)
        except (Exception, Crash):
            # Powertools rejects a retry until the failed invocation's time is over.
            time.sleep(INVOCATION_SECONDS)
        else:
            return True
    return False


# --- Cost and speed ------------------------------------------------------------------------------

Kind = Literal["new", "amended", "redelivered"]
KINDS: tuple[Kind, ...] = ("new", "amended", "redelivered")
HEADLINE_PRODUCTS = 10
ACTIONS_MAX = 100  # Of a transaction. The workshop's handler has an action for each product of a batch.


class Case(NamedTuple):
    """A batch to measure: one record per order, spread over the products, with latency added to each request."""

    contender: str
    kind: Kind
    records: int
    products: int
    latency_ms: int = 0


class Sizes(NamedTuple):
    """The sizes to measure. A batch of Order Totals has at most 1,000 records."""

    busy: int = 1_000
    """The records of a busy batch, for contenders that share requests between records."""
    busy_per_record: int = 100
    """The records of a busy batch for the other contenders: they send the same requests for each record."""
    delayed_per_record: int = 30
    """The same, with latency."""
    products: tuple[int, ...] = (1, 10, 100, 1_000)
    latencies_ms: tuple[int, ...] = (5, 10, 20)
    ledgers: tuple[int, ...] = (1_000, 100_000)
    """Numbers of entries in the ledger."""
    memory: int = 10_000
    """The records of the batch whose memory is measured."""
    rounds: int = 5
    """How often short times are measured."""


FULL = Sizes()
SMOKE = Sizes(100, 10, 2, (1, 10), (10,), (1_000,), memory=100, rounds=1)


def busy_case(contender: str, kind: Kind, sizes: Sizes, products: int = HEADLINE_PRODUCTS, latency_ms: int = 0) -> Case:
    """Return the busy batch with which a contender is compared."""
    if contender in BATCHING:
        return Case(contender, kind, sizes.busy, products, latency_ms)
    records = sizes.delayed_per_record if latency_ms else sizes.busy_per_record
    return Case(contender, kind, records, min(records, HEADLINE_PRODUCTS), latency_ms)


def all_cases(sizes: Sizes) -> list[Case]:
    """Return all cases, the contenders taking turns."""
    lone = [Case(name, kind, 1, 1) for kind in KINDS for name in NAMES]
    small = [Case("ours", kind, 100, products) for kind in KINDS for products in (1, 10)]
    busy = [
        busy_case(name, kind, sizes, products, latency_ms)
        for latency_ms in (0, *sizes.latencies_ms)
        for kind in KINDS
        if not latency_ms or kind != "redelivered"
        for products in sizes.products
        for name in NAMES
        if name != "workshop" or products <= ACTIONS_MAX
    ]
    return list(dict.fromkeys([*lone, *small, *busy]))


def make_batch(contender: Contender, case: Case) -> Any:
    """Return a batch of the case's kind. For amendments and redeliveries, deliver the original orders first."""
    stream = OrdersStream()
    batch = new_orders(stream, case.records, case.products)
    if case.kind != "new":
        contender.deliver(event(batch))
    if case.kind == "amended":
        images = [record["dynamodb"]["NewImage"] for record in batch]
        batch = [stream.put(image["OrderID"]["S"], image["Product"]["S"], 8) for image in images]
    return event(batch)


def new_orders(stream: OrdersStream, records: int, products: int) -> list[Record]:
    """Place new orders for each product in turn; return their records."""
    run_id = uuid.uuid4().hex
    return [stream.put(f"{run_id}-{number:05}", f"Product {number % products}", 5) for number in range(records)]
