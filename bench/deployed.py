"""From order to total on the deployed stack: how long it takes, and how many orders a second it keeps up with.

Everything shares this machine's cores: who places the orders, the emulator that stores them and their totals, and
the handler, in a process of its own. So these are figures of the whole stack, here.
"""

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from statistics import quantiles
from typing import Any, NamedTuple

from localcloud.emulator import Emulator
from localcloud.stack import Stack

Client = Any
PRODUCTS = 10
SECONDS_BETWEEN_ORDERS = 0.05
POLL_SECONDS = 0.002
GRACE_PERIOD_SECONDS = 60.0
BATCH_WRITE_MAX = 25  # API reference, BatchWriteItem.
# At the end of a step so much of a second's orders may be on their way: more is a backlog.
ON_THE_WAY_SECONDS = 1.0


class Latency(NamedTuple):
    """Milliseconds from sending POST /orders until the total includes the order."""

    orders: int
    p50: float
    p99: float


class Step(NamedTuple):
    """A rate that orders were placed at for a while."""

    placed_per_second: float
    behind_orders: int
    """Placed, but not counted yet at the end."""
    kept_up: bool


def latency(stack: Stack, emulator: Emulator, orders: int) -> Latency:
    """Places orders one after another, each of a product of its own, and looks for the total."""
    client = emulator.client("dynamodb")
    milliseconds = []
    for number in range(orders + 1):
        product = f"Latency {uuid.uuid4()}"
        started = time.perf_counter()
        post_order(stack, product)
        wait_until(partial(counted, client, stack, product))
        if number:  # The first one finds everything cold.
            milliseconds.append((time.perf_counter() - started) * 1000)
        time.sleep(SECONDS_BETWEEN_ORDERS)
    cuts = quantiles(milliseconds, n=100)
    return Latency(orders, cuts[49], cuts[98])


def post_order(stack: Stack, product: str) -> None:
    """Places an order as people do."""
    request = urllib.request.Request(
        f"{stack.api_url}/orders",
        data=json.dumps({"product": product, "quantity": 1}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def counted(client: Client, stack: Stack, product: str) -> bool:
    """Whether a product has a total."""
    return "Item" in client.get_item(TableName=stack.tables["AggregateTable"], Key={"product": {"S": product}})


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for it. Raises TimeoutError."""
    end = time.monotonic() + GRACE_PERIOD_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The totals do not come.")
        time.sleep(POLL_SECONDS)


def throughput(stack: Stack, emulator: Emulator, rates: list[int], step_seconds: float) -> Iterator[Step]:
    """Places orders at one rate after another, until the handler falls behind."""
    client = emulator.client("dynamodb")
    for rate in rates:
        run = uuid.uuid4().hex
        placed, seconds = place_at(rate, client, stack.tables["OrdersTable"], run, step_seconds)
        behind = placed - orders_counted(client, stack, run)
        step = Step(placed / seconds, behind, kept_up=behind <= rate * ON_THE_WAY_SECONDS)
        yield step
        if not step.kept_up or placed < 0.9 * rate * step_seconds:
            return
        wait_until(partial(are_counted, client, stack, run, placed))


def place_at(rate: int, client: Client, table: str, run: str, for_seconds: float) -> tuple[int, float]:
    """Writes orders for a while; returns how many they were, and how many seconds it took."""
    started = time.perf_counter()
    placed = 0
    while (now := time.perf_counter() - started) < for_seconds:
        if placed > now * rate:
            time.sleep(POLL_SECONDS)
            continue
        puts = [{"PutRequest": {"Item": order(run, placed + number)}} for number in range(BATCH_WRITE_MAX)]
        left = client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"]
        if left:
            raise RuntimeError("The emulator has not taken all orders.")
        placed += len(puts)
    return placed, time.perf_counter() - started


def order(run: str, number: int) -> dict[str, Any]:
    """An order's item."""
    product = f"{run} {number % PRODUCTS}"
    return {"OrderID": {"S": f"{run}-{number}"}, "Product": {"S": product}, "Quantity": {"N": "1"}}


def are_counted(client: Client, stack: Stack, run: str, orders: int) -> bool:
    """Whether all of a run's orders are in the totals."""
    return orders_counted(client, stack, run) == orders


def orders_counted(client: Client, stack: Stack, run: str) -> int:
    """How many orders of a run are in the totals."""
    keys = [{"product": {"S": f"{run} {number}"}} for number in range(PRODUCTS)]
    table = stack.tables["AggregateTable"]
    totals = client.batch_get_item(RequestItems={table: {"Keys": keys}})["Responses"][table]
    return sum(int(total["orderCount"]["N"]) for total in totals)
