"""Clients for `make load`: they place, amend and cancel orders on the deployed app, and record what was accepted.

Each client has its own orders and sends one request at a time, half of them to the API, half directly to OrdersTable.
If no response arrives, the client cannot know whether the request was carried out. So it does not change that order
again, and looks it up at the end.
"""

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.stack import Stack

Json = dict[str, Any]
PRODUCTS = 20
HOT_SHARE = 0.3  # This share of orders is for one hot product, whose counters all clients change.
QUANTITY_MAX = 9
DAYS = 3  # Orders written to the table have random times within the last three days.
TIMEOUT_SECONDS = 60
LOOK_UP_TRIES = 10
PROBE_EVERY_SECONDS = 0.25
POLL_SECONDS = 0.02
BATCH_GET_MAX = 100  # Source: API reference, BatchGetItem.


class Order(NamedTuple):
    """An order's content."""

    product: str
    quantity: int
    placed_at: str
    """UTC, ISO 8601. The API sets its own when an order is placed."""


class UnknownOutcomeError(Exception):
    """No response shows whether the request was carried out: a timeout, a broken connection or a 5xx status."""


class UnexpectedResponseError(Exception):
    """A response that the app must not return here. The message contains it."""


# --- The two channels: API and table -------------------------------------------------------------


class Api:
    """Change orders with the API. Methods raise UnknownOutcomeError and UnexpectedResponseError."""

    label = "over the API"

    def __init__(self, stack: Stack) -> None:
        parts = urlsplit(stack.api_url)
        self._host, self._prefix = parts.netloc, parts.path

    def place(self, order_id: str, order: Order) -> Order:
        """Place an order. Return it with the time that the API set."""
        body = {"orderId": order_id, "product": order.product, "quantity": order.quantity}
        return _order(self._request("POST", "/orders", body, 201)[1])

    def amend(self, order_id: str, order: Order) -> Order:
        """Amend an order and return it."""
        body = {"product": order.product, "quantity": order.quantity}
        return _order(self._request("PUT", f"/orders/{order_id}", body, 200)[1])

    def cancel(self, order_id: str) -> None:
        """Cancel an order."""
        self._request("DELETE", f"/orders/{order_id}", None, 204)

    def look_up(self, order_id: str) -> Order | None:
        """Return the order, or None if it does not exist."""
        status, body = self._request("GET", f"/orders/{order_id}", None, 200, 404)
        return _order(body) if status == 200 else None

    def _request(self, method: str, path: str, body: Json | None, *accepted: int) -> tuple[int, Json]:
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, self._prefix + path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnknownOutcomeError(repr(error)) from None
        finally:
            connection.close()
        if response.status in accepted:
            return response.status, json.loads(content or b"{}")
        kind = UnknownOutcomeError if response.status >= 500 else UnexpectedResponseError
        raise kind(f"{method} {path}: {response.status} {content.decode(errors='replace')}")


def _order(body: Json) -> Order:
    return Order(body["product"], body["quantity"], body["placedAt"])


class Table:
    """Change orders directly in OrdersTable. Methods raise UnknownOutcomeError."""

    label = "in the table"

    def __init__(self, stack: Stack) -> None:
        self._dynamodb = stack.emulator.client("dynamodb")
        self._table = stack.tables["OrdersTable"]

    def place(self, order_id: str, order: Order) -> Order:
        """Write an order and return it."""
        attributes = {"Product": {"S": order.product}, "Quantity": {"N": str(order.quantity)}}
        item = {"OrderID": {"S": order_id}, **attributes, "PlacedAt": {"S": order.placed_at}}
        with _errors_as_unknown_outcome():
            self._dynamodb.put_item(TableName=self._table, Item=item)
        return order

    amend = place

    def cancel(self, order_id: str) -> None:
        """Delete an order."""
        with _errors_as_unknown_outcome():
            self._dynamodb.delete_item(TableName=self._table, Key={"OrderID": {"S": order_id}})


@contextlib.contextmanager
def _errors_as_unknown_outcome() -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise UnknownOutcomeError(str(error)) from None


# --- Clients -------------------------------------------------------------------------------------


class Client(threading.Thread):
    """A client that changes its own orders at random. Its name is the seed for the random choices."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name=name, daemon=True)
        self.orders: dict[str, Order] = {}
        """The orders that certainly exist, by id."""
        self.uncertain: dict[str, tuple[Order | None, Order | None]] = {}
        """Orders with a request of unknown outcome, by id: the order before and after it, None for no order."""
        self.carried_out = 0
        """How many requests of unknown outcome were carried out after all."""
        self.accepted: Counter[str] = Counter()
        """Accepted changes, by kind and by channel."""
        self.placed = 0
        """How many different orders were certainly placed."""
        self.errors: list[str] = []
        """Unexpected responses, and orders that were not found as expected."""
        self._api, self._table = Api(stack), Table(stack)
        self._random = random.Random(name)
        self._stopped = threading.Event()
        self._cancelled: list[str] = []
        self._number = 0

    def stop(self) -> None:
        """Stop after the current request."""
        self._stopped.set()

    def run(self) -> None:
        """Change orders until stopped."""
        while not self._stopped.is_set():
            self.change()

    def change(self) -> None:
        """Place, amend or cancel one order, or place a cancelled one again."""
        kind = self._random.choices(("place", "amend", "cancel", "again"), (60, 25, 10, 5))[0]
        if kind == "again" and self._cancelled:
            cancelled = self._cancelled.pop(self._random.randrange(len(self._cancelled)))
            self.place(cancelled, self._random_order(), is_new=False)
        elif kind == "amend" and self.orders:
            self._amend(self._random.choice(list(self.orders)))
        elif kind == "cancel" and self.orders:
            self._cancel(self._random.choice(list(self.orders)))
        else:
            self._number += 1
            self.place(f"{self.name}-{self._number}", self._random_order())

    def place(self, order_id: str, order: Order, is_new: bool = True) -> bool:
        """Place an order, perhaps with a cancelled order's id. Return whether it certainly succeeded."""
        accepted = self._send("placed", order_id, order, lambda channel: channel.place(order_id, order))
        self.placed += accepted and is_new
        return accepted

    def look_up_uncertain(self) -> None:
        """After the last request, look up orders whose requests had unknown outcomes. Raise UnknownOutcomeError."""
        for order_id, (before, after) in self.uncertain.items():
            found = self._look_up(order_id)
            if _content(found) not in (_content(before), _content(after)):
                self.errors.append(f"{order_id} is {found}, expected {before} or {after}")
            self.carried_out += _content(found) == _content(after)
            if found:
                self.orders[order_id] = found

    def _look_up(self, order_id: str) -> Order | None:
        for _ in range(LOOK_UP_TRIES - 1):
            with contextlib.suppress(UnknownOutcomeError):
                return self._api.look_up(order_id)
            time.sleep(POLL_SECONDS)
        return self._api.look_up(order_id)

    def _amend(self, order_id: str) -> None:
        order = self.orders[order_id]
        product = self._random_product() if self._random.random() < 0.5 else order.product
        amended = order._replace(product=product, quantity=self._random_quantity())
        self._send("amended", order_id, amended, lambda channel: channel.amend(order_id, amended))

    def _cancel(self, order_id: str) -> None:
        if self._send("cancelled", order_id, None, lambda channel: channel.cancel(order_id)):
            self._cancelled.append(order_id)

    def _send(
        self, kind: str, order_id: str, after: Order | None, request: Callable[[Api | Table], Order | None]
    ) -> bool:
        """Send a request to the API or the table, at random. Return whether it was certainly accepted."""
        channel = self._random.choice((self._api, self._table))
        try:
            order = request(channel)
        except UnknownOutcomeError:
            self.uncertain[order_id] = (self.orders.pop(order_id, None), after)
            return False
        except UnexpectedResponseError as error:
            self.errors.append(str(error))
            self.stop()
            return False
        self.orders.pop(order_id, None)
        if order:
            self.orders[order_id] = order
        self.accepted[kind] += 1
        self.accepted[channel.label] += 1
        return True

    def _random_order(self) -> Order:
        age = timedelta(seconds=self._random.randrange(DAYS * 24 * 60 * 60))
        placed_at = (datetime.now(UTC) - age).isoformat(timespec="seconds")
        return Order(self._random_product(), self._random_quantity(), placed_at)

    def _random_product(self) -> str:
        return f"Product {0 if self._random.random() < HOT_SHARE else self._random.randrange(PRODUCTS)}"

    def _random_quantity(self) -> int:
        return self._random.randint(1, QUANTITY_MAX)


def _content(order: Order | None) -> tuple[str, int] | None:
    return order and (order.product, order.quantity)


class Prober(Client):
    """A client that regularly places an order for a new product, and measures the time until its total exists."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name, stack)
        self.milliseconds: list[float] = []
        """The time from sending an order until a read returns its total, at a resolution of POLL_SECONDS."""
        self._dynamodb, self._totals = stack.emulator.client("dynamodb"), stack.tables["AggregateTable"]
        self._pending: dict[str, float] = {}
        """When each order without a total was sent, by product."""

    def run(self) -> None:
        """Place probe orders until stopped."""
        due = time.perf_counter()
        while not self._stopped.is_set():
            if (now := time.perf_counter()) >= due:
                self._probe()
                due = max(due + PROBE_EVERY_SECONDS, now)
            self._read_totals()
            time.sleep(POLL_SECONDS)

    def wait_for_pending(self, seconds: float) -> None:
        """Wait for the totals of all probe orders, at most `seconds` seconds."""
        end = time.perf_counter() + seconds
        while self._pending and time.perf_counter() < end:
            self._read_totals()
            time.sleep(POLL_SECONDS)

    def _probe(self) -> None:
        self._number += 1
        product, started = f"Probe {self._number}", time.perf_counter()
        if self.place(f"{self.name}-{self._number}", self._random_order()._replace(product=product)):
            self._pending[product] = started

    def _read_totals(self) -> None:
        keys = [{"product": {"S": product}} for product in list(self._pending)[:BATCH_GET_MAX]]
        if not keys:
            return
        totals = self._dynamodb.batch_get_item(RequestItems={self._totals: {"Keys": keys}})["Responses"][self._totals]
        now = time.perf_counter()
        for item in totals:
            self.milliseconds.append((now - self._pending.pop(item["product"]["S"])) * 1000)


# --- Counters ------------------------------------------------------------------------------------

Counters = dict[tuple[str, ...], int]
"""Counter values by table, key and attribute, without zeros."""


def expected_counters(orders: Iterable[Order]) -> Counters:
    """Return the correct counters for these orders.

    This uses none of the app's code, so that an error in that code cannot hide itself.
    """
    counters: Counter[tuple[str, ...]] = Counter()
    for order in orders:
        day, hour = order.placed_at[:10], order.placed_at[11:13]
        counters["AggregateTable", order.product, "totalQuantity"] += order.quantity
        counters["AggregateTable", order.product, "orderCount"] += 1
        counters["TrendTable", order.product, day, "total"] += order.quantity
        counters["TrendTable", order.product, day, f"h{hour}"] += order.quantity
    return dict(counters)


def stored_counters(stack: Stack) -> Counters:
    """Return all counters that the app stored in the tables."""
    counters: Counters = {}
    for table, key in {"AggregateTable": ("product",), "TrendTable": ("product", "day")}.items():
        pages = stack.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=stack.tables[table])
        for item in (item for page in pages for item in page["Items"]):
            names = tuple(item[name]["S"] for name in key)
            counters |= {
                (table, *names, name): int(value["N"])
                for name, value in item.items()
                if name in ("totalQuantity", "orderCount", "total") or name[1:].isdigit()
            }
    return {counter: amount for counter, amount in counters.items() if amount}
