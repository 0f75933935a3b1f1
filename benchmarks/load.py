"""`make load`: put the deployed app under load, then check that every total is right.

The app is deployed to an emulator of its own, with IAM enforced. Clients place, amend and cancel orders, half over the
API and half directly in OrdersTable. Each has its own orders and sends one request at a time. If no response arrives,
the client cannot know whether the request was carried out; it leaves such an order alone and looks it up at the end.
With KILL=yes, the processes that run the functions are killed at random moments. At the end, each counter of each view
is compared with the orders that the clients know were accepted. The exit status is 1 if one differs.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks import show_progress
from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy

PRODUCTS = 20
HOT_SHARE = 0.3  # The share of orders for one hot product, so that all clients change its counters.
QUANTITY_MAX = 9
DAYS = 3  # The orders that are written to the table were placed at random times in this many days.
TIMEOUT_SECONDS = 60
GRACE_PERIOD_SECONDS = 120.0
PROBE_EVERY_SECONDS = 0.25
PROBE_POLL_SECONDS = 0.01
POLL_SECONDS = 0.2
PROGRESS_EVERY_SECONDS = 5.0
KILL_EVERY_SECONDS = (0.5, 5.0)  # A random time in this range, so that kills hit any point of an invocation.
KILLED_FUNCTIONS = ("APIHandler", "Aggregate")
DIFFERENCES_SHOWN = 20


class Order(NamedTuple):
    """An order's content."""

    product: str
    quantity: int
    placed_at: str
    """UTC, ISO 8601. The API sets its own when an order is placed."""


class UnknownOutcomeError(Exception):
    """No response shows whether the request was carried out: a timeout, a broken connection or a 5xx status."""


class UnexpectedResponseError(Exception):
    """A response that the app must never return here; the message contains it."""


# --- The two channels ----------------------------------------------------------------------------


def over_the_api(stack: Stack, order_id: str, before: Order | None, after: Order | None) -> Order | None:
    """Place, amend or cancel an order; return it as stored. Raise UnknownOutcomeError or UnexpectedResponseError."""
    if after is None:
        request(stack, "DELETE", f"/orders/{order_id}", None, 204)
        return None
    body = {"product": after.product, "quantity": after.quantity}
    if before is None:
        return to_order(request(stack, "POST", "/orders", {"orderId": order_id, **body}, 201))
    return to_order(request(stack, "PUT", f"/orders/{order_id}", body, 200))


def in_the_table(stack: Stack, order_id: str, _before: Order | None, after: Order | None) -> Order | None:
    """Write or delete an order's item; return the order. Raise UnknownOutcomeError."""
    dynamodb, table, key = stack.emulator.client("dynamodb"), stack.tables["OrdersTable"], {"OrderID": {"S": order_id}}
    try:
        if after is None:
            dynamodb.delete_item(TableName=table, Key=key)
            return None
        values = {"Product": {"S": after.product}, "Quantity": {"N": f"{after.quantity}"}}
        dynamodb.put_item(TableName=table, Item={**key, **values, "PlacedAt": {"S": after.placed_at}})
        return after
    except (ClientError, BotoCoreError) as error:
        raise UnknownOutcomeError(str(error)) from None


CHANNELS = {"over the API": over_the_api, "in the table": in_the_table}


def look_up(stack: Stack, order_id: str) -> Order | None:
    """Return an order, or None if it does not exist. Raise UnknownOutcomeError if there is no response for long."""
    end = time.monotonic() + GRACE_PERIOD_SECONDS
    while True:
        try:
            return to_order(request(stack, "GET", f"/orders/{order_id}", None, 200, 404))
        except UnknownOutcomeError:
            if time.monotonic() > end:
                raise
            time.sleep(POLL_SECONDS)


def request(stack: Stack, method: str, path: str, body: Any, *accepted: int) -> Any:
    """Send an API request; return the content of a response with an accepted status."""
    parts = urlsplit(stack.api_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, parts.path + path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnknownOutcomeError(repr(error)) from None
    finally:
        connection.close()
    if response.status in accepted:
        return json.loads(content or b"{}")
    kind = UnknownOutcomeError if response.status >= 500 else UnexpectedResponseError
    raise kind(f"{method} {path}: {response.status} {content.decode(errors='replace')}")


def to_order(body: Any) -> Order | None:
    """Return the order in a response; None for a 404."""
    return Order(body["product"], body["quantity"], body["placedAt"]) if "placedAt" in body else None


# --- Clients -------------------------------------------------------------------------------------


class Stoppable(threading.Thread):
    """A thread that runs until its event `stopped` is set."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name=name, daemon=True)
        self.stopped = threading.Event()
        self._stack = stack


class Client(Stoppable):
    """A client that changes its orders at random. Its name is the seed of its random choices."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name, stack)
        self.orders: dict[str, Order] = {}
        """The orders that certainly exist, by id."""
        self.uncertain: dict[str, tuple[Order | None, Order | None]] = {}
        """Orders with a request of unknown outcome, by id: the order before and after it, None for no order."""
        self.carried_out = 0  # How many requests of unknown outcome were carried out after all.
        self.accepted: Counter[str] = Counter()  # Accepted changes, by kind and by channel.
        self.placed: set[str] = set()  # The ids of all orders that were certainly placed.
        self.errors: list[str] = []
        self._random = random.Random(name)
        self._cancelled: list[str] = []

    def run(self) -> None:
        """Place, amend and cancel orders, and place cancelled ones again, until stopped."""
        number = 0
        while not self.stopped.is_set():
            kind = self._random.choices(("place", "amend", "cancel", "again"), (60, 25, 10, 5))[0]
            if kind == "again" and self._cancelled:
                self.change(self._cancelled.pop(), self.random_order())
            elif kind in ("amend", "cancel") and self.orders:
                order_id = self._random.choice(list(self.orders))
                self.change(order_id, self._amended(self.orders[order_id]) if kind == "amend" else None)
            else:
                number += 1
                self.change(f"{self.name}-{number}", self.random_order())

    def change(self, order_id: str, after: Order | None) -> bool:
        """Send a request over a random channel and record its outcome; return whether it was certainly accepted."""
        before = self.orders.pop(order_id, None)
        label, send = self._random.choice(list(CHANNELS.items()))
        try:
            stored = send(self._stack, order_id, before, after)
        except UnknownOutcomeError:
            self.uncertain[order_id] = (before, after)
            return False
        except UnexpectedResponseError as error:
            self.errors.append(str(error))
            self.stopped.set()
            return False
        if stored:
            self.orders[order_id] = stored
            self.placed.add(order_id)
        else:
            self._cancelled.append(order_id)
        self.accepted["cancelled" if not stored else "amended" if before else "placed"] += 1
        self.accepted[label] += 1
        return True

    def look_up_uncertain(self) -> None:
        """Look up the orders with a request of unknown outcome, after the last request. Raise UnknownOutcomeError."""
        for order_id, expected in self.uncertain.items():
            found = look_up(self._stack, order_id)
            before, after = (order and order[:2] for order in expected)  # Without the time that the API sets.
            if (found and found[:2]) not in (before, after):
                self.errors.append(f"{order_id} is {found}, expected {before} or {after}")
            self.carried_out += (found and found[:2]) == after
            if found:
                self.orders[order_id] = found

    def random_order(self) -> Order:
        """Return an order of a random product, quantity and time."""
        age = timedelta(seconds=self._random.randrange(DAYS * 24 * 60 * 60))
        placed_at = (datetime.now(UTC) - age).isoformat(timespec="seconds")
        return Order(self._random_product(), self._random.randint(1, QUANTITY_MAX), placed_at)

    def _amended(self, order: Order) -> Order:
        product = self._random_product() if self._random.random() < 0.5 else order.product
        return order._replace(product=product, quantity=self._random.randint(1, QUANTITY_MAX))

    def _random_product(self) -> str:
        return f"Product {0 if self._random.random() < HOT_SHARE else self._random.randrange(PRODUCTS)}"


class Prober(Client):
    """A client that places orders for new products, one after another, and measures how long their totals take."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__(name, stack)
        self.milliseconds: list[float] = []

    def run(self) -> None:
        """Place probe orders until stopped."""
        number = 0
        while not self.stopped.wait(PROBE_EVERY_SECONDS):
            number += 1
            product, started = f"Probe {number}", time.perf_counter()
            if self.change(f"{self.name}-{number}", self.random_order()._replace(product=product)):
                while not self._has_total(product) and time.perf_counter() < started + GRACE_PERIOD_SECONDS:
                    time.sleep(PROBE_POLL_SECONDS)
                self.milliseconds.append((time.perf_counter() - started) * 1000)

    def _has_total(self, product: str) -> bool:
        table = self._stack.tables["AggregateTable"]
        key = {"product": {"S": product}}
        return "Item" in self._stack.emulator.client("dynamodb").get_item(TableName=table, Key=key)


class Killer(Stoppable):
    """Kill the processes of the API or of the stream handler at random moments."""

    killed = 0

    def run(self) -> None:
        """Kill processes until stopped."""
        while not self.stopped.wait(random.uniform(*KILL_EVERY_SECONDS)):
            for pid in self._stack.emulator.worker_pids(self._stack.functions[random.choice(KILLED_FUNCTIONS)]):
                # Never kill a process that is starting. In ministack 1.5.33, all other processes of its function would
                # end too, and so would new ones, so that no request succeeds for minutes.
                if has_connections(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self.killed += 1


def has_connections(pid: int) -> bool:
    """Return whether a process has open sockets, which shows that it has sent a request to DynamoDB."""
    try:
        return any(os.readlink(file).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # The process has ended or has closed a file.
        return False


# --- Counters ------------------------------------------------------------------------------------

Counters = dict[tuple[str, ...], int]
"""Counter values by table, key and attribute, without zeros."""


def expected_counters(orders: Iterable[Order]) -> Counters:
    """Return the counters that these orders add up to.

    This uses none of the app's code, so that an error there cannot hide here.
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
    """Return the counters that the app has stored."""
    counters: Counters = {}
    for table, key in {"AggregateTable": ("product",), "TrendTable": ("product", "day")}.items():
        pages = stack.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=stack.tables[table])
        for item in (item for page in pages for item in page["Items"]):
            counters |= {
                (table, *(item[part]["S"] for part in key), name): int(value["N"])
                for name, value in item.items()
                if name in ("totalQuantity", "orderCount", "total") or name[1:].isdigit()
            }
    return {counter: amount for counter, amount in counters.items() if amount}


def differences(expected: Counters, stored: Counters) -> list[str]:
    """Return a line for each counter that differs from the expected one."""
    return [
        f"{' / '.join(counter)} is {stored.get(counter, 0):,}, expected {expected.get(counter, 0):,}"
        for counter in sorted(expected.keys() | stored.keys())
        if expected.get(counter, 0) != stored.get(counter, 0)
    ]


# --- The run -------------------------------------------------------------------------------------


class Result(NamedTuple):
    """The outcome of a run."""

    figures: dict[str, str]
    killed: int
    counters: int
    errors: list[str]
    """Each wrong counter and each unexpected response."""


class Load:
    """One run against a deployed stack that nobody else uses."""

    def __init__(self, stack: Stack, clients: int, kill: bool, show_progress: Callable[[str], None]) -> None:
        self._stack = stack
        self._show_progress = show_progress
        self._prober = Prober("probe", stack)
        self._clients: list[Client] = [self._prober, *(Client(f"client-{n + 1}", stack) for n in range(clients))]
        self._killer = Killer("killer", stack)
        self._kill = kill
        self._largest_backlog = 0

    def run(self, seconds: float) -> Result:
        """Run the clients for this long, wait until all orders are counted, and compare. Raise UnknownOutcomeError."""
        started = time.monotonic()
        killers: list[Stoppable] = [self._killer] if self._kill else []
        for thread in (*killers, *self._clients):
            thread.start()
        self._watch(started, seconds)
        for threads in (killers, self._clients):  # Killers first: then each client's last request gets a response.
            for thread in threads:
                thread.stopped.set()
            for thread in threads:
                thread.join()
        ended = time.monotonic()
        for client in self._clients:
            client.look_up_uncertain()
        orders = [order for client in self._clients for order in client.orders.values()]
        expected = expected_counters(orders)
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while (stored := stored_counters(self._stack)) != expected and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        accepted, took = self._accepted(), ended - started
        figures = {
            "changes accepted": f"{changes(accepted):,} in {took:.0f} s, {changes(accepted) / took:,.0f}/s",
            "of these": ", ".join(f"{count:,} {kind}" for kind, count in sorted(accepted.items())),
            "lost responses": f"{sum(len(client.uncertain) for client in self._clients):,};"
            f" {sum(client.carried_out for client in self._clients):,} of these requests were carried out",
            "workers killed": f"{self._killer.killed:,}",
            "order to total": latency(self._prober.milliseconds),
            "largest backlog": f"{self._largest_backlog:,} orders placed and not yet in the ledger",
            "caught up": f"{time.monotonic() - ended:.1f} s after the last request",
            "counters compared": f"{len(expected):,} of {len(orders):,} orders, in totals and trend",
        }
        errors = [*(text for client in self._clients for text in client.errors), *differences(expected, stored)]
        return Result(figures, self._killer.killed, len(expected), errors)

    def _watch(self, started: float, seconds: float) -> None:
        """Record the largest backlog and show progress until the time is over."""
        shown_at = started
        while (now := time.monotonic()) < started + seconds and any(client.is_alive() for client in self._clients):
            # The ledger keeps an entry of a cancelled order too, so compare with all orders ever placed.
            table = self._stack.emulator.client("dynamodb").describe_table(TableName=self._stack.tables["LedgerTable"])
            backlog = sum(len(client.placed) for client in self._clients) - table["Table"]["ItemCount"]
            self._largest_backlog = max(self._largest_backlog, backlog)
            if now >= shown_at + PROGRESS_EVERY_SECONDS:
                count = changes(self._accepted())
                self._show_progress(
                    f"{now - started:4.0f} s: {count:,} changes, backlog {backlog:,}, {self._killer.killed:,} killed"
                )
                shown_at = now
            time.sleep(POLL_SECONDS)

    def _accepted(self) -> Counter[str]:
        return sum((Counter(client.accepted) for client in self._clients), Counter())


def changes(accepted: Counter[str]) -> int:
    """Return the number of accepted changes."""
    return accepted["placed"] + accepted["amended"] + accepted["cancelled"]


def latency(milliseconds: list[float]) -> str:
    """Return the percentiles of the probe orders."""
    if len(milliseconds) < 2:
        return "not measured: the run was too short"
    cuts = quantiles(milliseconds, n=100)
    return f"p50 {cuts[49]:,.0f} ms, p99 {cuts[98]:,.0f} ms, of {len(milliseconds):,} probe orders"


def report(result: Result) -> str:
    """Return the result as text."""
    figures = [f"  {name:<18} {text}" for name, text in result.figures.items()]
    errors = [f"  WRONG: {text}" for text in result.errors[:DIFFERENCES_SHOWN]]
    verdict = f"{len(result.errors):,} WRONG" if result.errors else "Every counter equals the accepted orders."
    return "\n".join([*figures, *errors, verdict])


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make load", description="Put the deployed app under load.")
    parser.add_argument("--clients", type=int, default=8, help="how many clients send requests at the same time")
    parser.add_argument("--seconds", type=float, default=60, help="how many seconds they send requests")
    parser.add_argument("--kill", action="store_true", help="also kill the functions' processes at random moments")
    options = parser.parse_args(arguments)
    with Emulator() as emulator, tempfile.TemporaryDirectory() as folder:
        show_progress("Packaging the app and deploying it to an emulator")
        package("local", Path(folder))
        stack = deploy(emulator, Path(folder))
        show_progress(f"{options.clients} clients, and probe orders one after another")
        result = Load(stack, options.clients, options.kill, show_progress).run(options.seconds)
        print(f"{options.clients} clients on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        print(report(result), flush=True)
    return 1 if result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
