"""Clients that place, amend and cancel orders on the deployed app, and keep books on what they know was accepted.

Each has orders of its own and makes one request after another, half of them over the API and half in the table. An
answer that does not come leaves it open whether the request was carried out: such an order is in doubt, nobody
touches it again, and it is looked up when all requests have come to their end.
"""

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.stack import Stack

Json = dict[str, Any]
PRODUCTS = 20
HOT_SHARE = 0.3  # Of all orders, the share of one product: a counter that everything meets at.
QUANTITY_MAX = 9
DAYS = 3  # Orders that are written to the table were placed on one of the last days.
TIMEOUT_SECONDS = 60
LOOK_UP_TRIES = 10
PROBE_EVERY_SECONDS = 0.25
POLL_SECONDS = 0.02
BATCH_GET_MAX = 100  # API reference, BatchGetItem.


class Order(NamedTuple):
    """An order's content."""

    product: str
    quantity: int
    placed_at: str
    """UTC, ISO 8601; "" where the answer that tells it is lost."""


class Lost(Exception):
    """There was no answer that says whether the request was carried out."""


class Wrong(Exception):
    """An answer that there should never be; the message is the answer."""


# --- The two ways in -----------------------------------------------------------------------------


class Api:
    """Orders over HTTP. Raises Lost and Wrong."""

    def __init__(self, stack: Stack) -> None:
        parts = urlsplit(stack.api_url)
        self._host, self._prefix = parts.netloc, parts.path

    def place(self, order_id: str, order: Order) -> Order:
        """Places an order; returns it with the time that it was placed at."""
        body = {"orderId": order_id, "product": order.product, "quantity": order.quantity}
        return _order(self._ask("POST", "/orders", body, 201)[1])

    def amend(self, order_id: str, order: Order) -> Order:
        """Amends an order; returns it."""
        body = {"product": order.product, "quantity": order.quantity}
        return _order(self._ask("PUT", f"/orders/{order_id}", body, 200)[1])

    def cancel(self, order_id: str) -> None:
        """Cancels an order."""
        self._ask("DELETE", f"/orders/{order_id}", None, 204)

    def look_up(self, order_id: str) -> Order | None:
        """The order, or None if there is none."""
        status, answer = self._ask("GET", f"/orders/{order_id}", None, 200, 404)
        return _order(answer) if status == 200 else None

    def _ask(self, method: str, path: str, body: Json | None, *good: int) -> tuple[int, Json]:
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, self._prefix + path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Lost(repr(error)) from None
        finally:
            connection.close()
        if answer.status in good:
            return answer.status, json.loads(content or b"{}")
        kind = Lost if answer.status >= 500 else Wrong
        raise kind(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")


def _order(answer: Json) -> Order:
    return Order(answer["product"], answer["quantity"], answer["placedAt"])


class Table:
    """Orders written to OrdersTable directly. Raises Lost."""

    def __init__(self, stack: Stack) -> None:
        self._dynamodb = stack.emulator.client("dynamodb")
        self._table = stack.tables["OrdersTable"]

    def place(self, order_id: str, order: Order) -> Order:
        """Writes an order; returns it."""
        attributes = {"Product": {"S": order.product}, "Quantity": {"N": str(order.quantity)}}
        item = {"OrderID": {"S": order_id}, **attributes, "PlacedAt": {"S": order.placed_at}}
        try:
            self._dynamodb.put_item(TableName=self._table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise Lost(str(error)) from None
        return order

    amend = place

    def cancel(self, order_id: str) -> None:
        """Deletes an order."""
        try:
            self._dynamodb.delete_item(TableName=self._table, Key={"OrderID": {"S": order_id}})
        except (ClientError, BotoCoreError) as error:
            raise Lost(str(error)) from None


# --- Who uses them -------------------------------------------------------------------------------


class Client(threading.Thread):
    """One client. What it does next is chosen at random, by its number: the choices are the same in every run."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name=name, daemon=True)
        self.orders: dict[str, Order] = {}
        """What is there for certain."""
        self.doubtful: dict[str, list[Order | None]] = {}
        """By order: what may be there, with None for no order."""
        self.accepted: Counter[str] = Counter()
        """How many changes, by kind and by way."""
        self.placed = 0
        """Of how many orders, each counted once, it is known that they were placed."""
        self.happened = 0
        """Of how many doubtful orders it has turned out that the request was carried out."""
        self.wrong: list[str] = []
        """What should not have been answered, or not have been found."""
        self._api, self._table = Api(stack), Table(stack)
        self._random = random.Random(name)
        self._over = threading.Event()
        self._cancelled: list[str] = []
        self._number = 0

    def stop(self) -> None:
        """Has it come to its end after the request that it is at."""
        self._over.set()

    def run(self) -> None:
        """Changes orders until it is stopped."""
        while not self._over.is_set():
            self.change()

    def change(self) -> None:
        """Makes one request."""
        kind = self._random.choices(("place", "amend", "cancel", "again"), (60, 25, 10, 5))[0]
        if kind == "again" and self._cancelled:
            again = self._cancelled.pop(self._random.randrange(len(self._cancelled)))
            self.place(again, self._any_order(), is_new=False)
        elif kind == "amend" and self.orders:
            self._amend(self._random.choice(list(self.orders)))
        elif kind == "cancel" and self.orders:
            self._cancel(self._random.choice(list(self.orders)))
        else:
            self._number += 1
            self.place(f"{self.name}-{self._number}", self._any_order())

    def place(self, order_id: str, order: Order, is_new: bool = True) -> bool:
        """Places an order, a new one or a cancelled one again; returns whether it is known to have been accepted."""
        way = self._any_way()
        try:
            self.orders[order_id] = way.place(order_id, order)
        except Lost:
            # Who writes the table states the time; who asks the API learns it from the answer.
            self._doubt(order_id, None, order if way is self._table else order._replace(placed_at=""))
            return False
        except Wrong as error:
            self._wrong(error)
            return False
        self._accept("placed", way)
        self.placed += is_new
        return True

    def look_up_doubtful(self) -> None:
        """Finds out what has become of the orders in doubt, when no request is under way any more. Raises Lost."""
        for order_id, possible in self.doubtful.items():
            there = self._look_up(order_id)
            if _as_known(there) not in [_as_known(order) for order in possible]:
                self.wrong.append(f"{order_id} is {there}, and should be one of {possible}")
            self.happened += _as_known(there) == _as_known(possible[-1])
            if there:
                self.orders[order_id] = there

    def _look_up(self, order_id: str) -> Order | None:
        for _ in range(LOOK_UP_TRIES - 1):
            with contextlib.suppress(Lost):  # A reader may simply ask again.
                return self._api.look_up(order_id)
            time.sleep(POLL_SECONDS)
        return self._api.look_up(order_id)

    def _amend(self, order_id: str) -> None:
        there, way = self.orders[order_id], self._any_way()
        product = self._any_product() if self._random.random() < 0.5 else there.product
        wanted = there._replace(product=product, quantity=self._any_quantity())
        try:
            self.orders[order_id] = way.amend(order_id, wanted)
        except Lost:
            self._doubt(order_id, there, wanted)
        except Wrong as error:
            self._wrong(error)
        else:
            self._accept("amended", way)

    def _cancel(self, order_id: str) -> None:
        way = self._any_way()
        try:
            way.cancel(order_id)
        except Lost:
            self._doubt(order_id, self.orders[order_id], None)
        except Wrong as error:
            self._wrong(error)
        else:
            del self.orders[order_id]
            self._cancelled.append(order_id)
            self._accept("cancelled", way)

    def _doubt(self, order_id: str, before: Order | None, after: Order | None) -> None:
        self.orders.pop(order_id, None)
        self.doubtful[order_id] = [before, after]

    def _accept(self, kind: str, way: Api | Table) -> None:
        self.accepted[kind] += 1
        self.accepted["over the API" if way is self._api else "in the table"] += 1

    def _wrong(self, error: Exception) -> None:
        self.wrong.append(str(error))
        self._over.set()

    def _any_way(self) -> Api | Table:
        return self._random.choice((self._api, self._table))

    def _any_order(self) -> Order:
        ago = timedelta(seconds=self._random.randrange(DAYS * 24 * 60 * 60))
        placed_at = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
        return Order(self._any_product(), self._any_quantity(), placed_at)

    def _any_product(self) -> str:
        return f"Product {0 if self._random.random() < HOT_SHARE else self._random.randrange(PRODUCTS)}"

    def _any_quantity(self) -> int:
        return self._random.randint(1, QUANTITY_MAX)


def _as_known(order: Order | None) -> tuple[str, int] | None:
    return order and (order.product, order.quantity)


class Prober(Client):
    """One that places an order of a product of its own now and then, and looks how long its total takes to come."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name, stack)
        self.milliseconds: list[float] = []
        """From sending an order until a read of the total includes it, to the next POLL_SECONDS."""
        self._dynamodb, self._totals = stack.emulator.client("dynamodb"), stack.tables["AggregateTable"]
        self._waiting: dict[str, float] = {}

    def run(self) -> None:
        """Probes until it is stopped."""
        due = time.perf_counter()
        while not self._over.is_set():
            if (now := time.perf_counter()) >= due:
                self._probe()
                due = max(due + PROBE_EVERY_SECONDS, now)
            self._look()
            time.sleep(POLL_SECONDS)

    def look_for_the_rest(self, seconds: float) -> None:
        """Waits for the totals of what it has placed."""
        end = time.perf_counter() + seconds
        while self._waiting and time.perf_counter() < end:
            self._look()
            time.sleep(POLL_SECONDS)

    def _probe(self) -> None:
        self._number += 1
        product, started = f"Probe {self._number}", time.perf_counter()
        if self.place(f"{self.name}-{self._number}", self._any_order()._replace(product=product)):
            self._waiting[product] = started

    def _look(self) -> None:
        keys = [{"product": {"S": product}} for product in list(self._waiting)[:BATCH_GET_MAX]]
        if not keys:
            return
        found = self._dynamodb.batch_get_item(RequestItems={self._totals: {"Keys": keys}})["Responses"][self._totals]
        now = time.perf_counter()
        for item in found:
            self.milliseconds.append((now - self._waiting.pop(item["product"]["S"])) * 1000)


# --- What follows from their books ---------------------------------------------------------------

Counters = dict[tuple[str, ...], int]
"""By table, key and attribute: what it should hold. Zeros are left out."""


def expected(orders: Iterable[Order]) -> Counters:
    """What all counters should hold, if these orders are all there are.

    Reckoned from the orders by themselves, with nothing of the app: what it does wrong must not be right here too.
    """
    counters: Counter[tuple[str, ...]] = Counter()
    for order in orders:
        day, hour = order.placed_at[:10], order.placed_at[11:13]
        counters["AggregateTable", order.product, "totalQuantity"] += order.quantity
        counters["AggregateTable", order.product, "orderCount"] += 1
        counters["TrendTable", order.product, day, "total"] += order.quantity
        counters["TrendTable", order.product, day, f"h{hour}"] += order.quantity
    return dict(counters)


def stored(stack: Stack) -> Counters:
    """What all counters hold."""
    counters: Counters = {}
    for table, key in {"AggregateTable": ("product",), "TrendTable": ("product", "day")}.items():
        pages = stack.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=stack.tables[table])
        for item in (item for page in pages for item in page["Items"]):
            names = tuple(item[name]["S"] for name in key)
            if names[0].strip():  # What is kept under a blank is no product's.
                counters |= {
                    (table, *names, name): int(value["N"])
                    for name, value in item.items()
                    if name in ("totalQuantity", "orderCount", "total") or name[1:].isdigit()
                }
    return {counter: amount for counter, amount in counters.items() if amount}
