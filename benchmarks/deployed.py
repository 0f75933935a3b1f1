"""Measure the deployed app: the time from an order to its total, and the highest rate of orders that it can count.

The client, the emulator and the handler's process share this machine's cores, so the figures include all three.
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
BATCH_WRITE_MAX = 25  # Source: API reference, BatchWriteItem.
BACKLOG_MAX_SECONDS = 1.0  # The app keeps up with a rate if at most one second's orders are not counted yet.


class Latency(NamedTuple):
    """The milliseconds from sending POST /orders until the total includes the order."""

    orders: int
    p50: float
    p99: float


class Step(NamedTuple):
    """The result of placing orders at one rate."""

    placed_per_second: float
    behind_orders: int
    """Orders placed but not yet counted at the end."""
    kept_up: bool


def latency(stack: Stack, emulator: Emulator, orders: int) -> Latency:
    """Place orders one after another, each for a new product, and poll for each total."""
    client = emulator.client("dynamodb")
    milliseconds = []
    for number in range(orders + 1):
        product = f"Latency {uuid.uuid4()}"
        started = time.perf_counter()
        post_order(stack, product)
        wait_until(partial(has_total, client, stack, product))
        if number:  # The first order includes cold starts.
            milliseconds.append((time.perf_counter() - started) * 1000)
        time.sleep(SECONDS_BETWEEN_ORDERS)
    cuts = quantiles(milliseconds, n=100)
    return Latency(orders, cuts[49], cuts[98])


def post_order(stack: Stack, product: str) -> None:
    """Place an order over the API."""
    request = urllib.request.Request(
        f"{stack.api_url}/orders",
        data=json.dumps({"product": product, "quantity": 1}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()


def has_total(client: Client, stack: Stack, product: str) -> bool:
    """Return whether a product has a total."""
    return "Item" in client.get_item(TableName=stack.tables["AggregateTable"], Key={"product": {"S": product}})


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true. Raise TimeoutError after GRACE_PERIOD_SECONDS."""
    end = time.monotonic() + GRACE_PERIOD_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"Orders are not counted after {GRACE_PERIOD_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)


def throughput(stack: Stack, emulator: Emulator, rates: list[int], step_seconds: float) -> Iterator[Step]:
    """Place orders at increasing rates until the app falls behind or the client cannot reach the rate."""
    client = emulator.client("dynamodb")
    for rate in rates:
        run = uuid.uuid4().hex
        placed, seconds = place_at(rate, client, stack.tables["OrdersTable"], run, step_seconds)
        behind = placed - orders_counted(client, stack, run)
        step = Step(placed / seconds, behind, kept_up=behind <= rate * BACKLOG_MAX_SECONDS)
        yield step
        if not step.kept_up or placed < 0.9 * rate * step_seconds:
            return
        wait_until(partial(all_counted, client, stack, run, placed))


def place_at(rate: int, client: Client, table: str, run: str, for_seconds: float) -> tuple[int, float]:
    """Write orders to the table at a rate. Return their number and the seconds that it took."""
    started = time.perf_counter()
    placed = 0
    while (now := time.perf_counter() - started) < for_seconds:
        if placed > now * rate:
            time.sleep(POLL_SECONDS)
            continue
        puts = [{"PutRequest": {"Item": order(run, placed + number)}} for number in range(BATCH_WRITE_MAX)]
        if client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"]:
            raise RuntimeError("The emulator returned UnprocessedItems; it should accept every order.")
        placed += len(puts)
    return placed, time.perf_counter() - started


def order(run: str, number: int) -> dict[str, Any]:
    """Return an order's item."""
    product = f"{run} {number % PRODUCTS}"
    return {"OrderID": {"S": f"{run}-{number}"}, "Product": {"S": product}, "Quantity": {"N": "1"}}


def all_counted(client: Client, stack: Stack, run: str, orders: int) -> bool:
    """Return whether all orders of a run are in the totals."""
    return orders_counted(client, stack, run) == orders


def orders_counted(client: Client, stack: Stack, run: str) -> int:
    """Return how many orders of a run are in the totals."""
    keys = [{"product": {"S": f"{run} {number}"}} for number in range(PRODUCTS)]
    table = stack.tables["AggregateTable"]
    totals = client.batch_get_item(RequestItems={table: {"Keys": keys}})["Responses"][table]
    return sum(int(total["orderCount"]["N"]) for total in totals)
