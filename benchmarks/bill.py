"""`make cost`: calculate a month's bill on AWS for Order Totals and for what people use instead.

Everything is calculated, from the prices below, from the requests and units of `WAYS` (a test compares them with those
that the benchmark counts), and from the app's own packing of a batch (tools/capacity.py).
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.report import table
from tools.capacity import BATCH_ORDERS, FULL_CPU_MB, VIEWS, Timings, pack, simulate


class Price(NamedTuple):
    """A price in us-east-1 and its source."""

    dollars: float
    per: str
    source: str


DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
API_GATEWAY = "https://aws.amazon.com/api-gateway/pricing/"
LAMBDA = "https://aws.amazon.com/lambda/pricing/"
PRICES = {
    "write": Price(0.625, "million write units", DYNAMODB),
    "read": Price(0.125, "million read units", DYNAMODB),
    "stream": Price(0.0, "read of a stream by Lambda", DYNAMODB),
    "storage": Price(0.25, "GB-month", DYNAMODB),
    "recovery": Price(0.20, "GB-month of point-in-time recovery", DYNAMODB),
    "invocation": Price(0.20, "million requests", LAMBDA),
    "arm64": Price(13.3334, "million GB-seconds", LAMBDA),
    "x86_64": Price(16.6667, "million GB-seconds", LAMBDA),
    "api": Price(3.50, "million requests of a REST API, as Chalice makes it", API_GATEWAY),
}
PRICES_AS_OF = "2025, without free tiers and volume discounts"
NOT_INCLUDED = "CloudWatch (logs, metrics, alarms), data transfer, deleted and amended orders"

MONTH_SECONDS = 30 * 24 * 60 * 60
SHARDS_MIN = 4  # Of a new on-demand table (Developer Guide, "Best practices for partition keys").
SHARD_RECORDS_PER_SECOND = 1_000  # A partition takes 1,000 writes a second and has one shard at a time.
ITEM_BYTES = 100  # What DynamoDB adds to each item for storage (Developer Guide, "Item sizes").
API_REQUEST_SECONDS = 0.020
VIEWER_REQUESTS = 211_200  # An open dashboard, 8 hours on 22 days (docs/scale.md, "The largest totals").
VIEWER_READ_UNITS = 4
LIST_DOLLARS = 0.79  # Refreshing the list that all viewers share, at these hours (docs/scale.md).
AUDITS = 30
AUDIT_READ_UNITS = 1.21  # Per order in the table, with 100,000 orders (docs/jobs.md) ...
AUDIT_SECONDS = 0.000_54  # ... and Lambda's time on AWS (docs/jobs.md, "100 million orders").


class Workload(NamedTuple):
    """What is asked of the app, and its settings."""

    orders_per_second: float
    products: int
    views: int = VIEWS
    viewers: int = 0
    api: bool = False
    """Whether orders arrive over the API, not by writing into the table."""
    window_seconds: float = 1.0
    """BatchingWindowSeconds."""
    architecture: str = "arm64"
    memory_mb: int = 512
    kept_days: int = 30
    """How long orders stay in their table."""
    shards: int = 0
    """Of the stream; 0 for as many as the rate needs."""

    @property
    def shard_rate(self) -> float:
        """Orders per second of one shard."""
        shards = self.shards or max(SHARDS_MIN, math.ceil(self.orders_per_second / SHARD_RECORDS_PER_SECOND))
        return self.orders_per_second / shards


class Way(NamedTuple):
    """A way to keep totals that sends the same requests for each record."""

    title: str
    requests: Callable[[int], int]
    """Requests per order, by the number of views."""
    units: Callable[[int], int]
    """Write units per order, by the number of views."""
    stored_bytes: float
    """What is stored for each order besides the order."""
    stored_days: float
    """How long; inf for as long as the order."""


OURS = "Order Totals"
WAYS = {
    "add": Way("ADD per record", lambda views: views, lambda views: views, 0, 0),
    "marker": Way("Marker per record", lambda views: 1, lambda views: 2 + 2 * views, ITEM_BYTES + 40, math.inf),
    "powertools": Way("Powertools idempotency", lambda views: 2 + views, lambda views: 2 + views, ITEM_BYTES + 150, 1),
}
ORDER_BYTES = ITEM_BYTES + 150
ENTRY_BYTES = ITEM_BYTES + 300


class Line(NamedTuple):
    """A line of the bill."""

    dollars: float
    arithmetic: str


class Bill(NamedTuple):
    """A month's bill."""

    lines: Mapping[str, Line]
    units: float
    """Write units of counting an order."""
    shard_busy: float
    """The share of the time in which a shard's handler runs. Above 1, totals fall ever further behind."""

    @property
    def total(self) -> float:
        """The sum of the lines."""
        return sum(line.dollars for line in self.lines.values())


def bill(load: Workload, way: Way | None = None) -> Bill:
    """Return a month's bill for Order Totals, or for another way to keep totals."""
    timings = Timings(load.memory_mb)
    if way is None:
        shard = simulate(load.shard_rate, load.products, timings, window=load.window_seconds, views=load.views)
        units, batch_orders, seconds, stored_bytes = shard.units, shard.batch_orders, shard.seconds, float(ENTRY_BYTES)
    else:
        units = way.units(load.views)
        batch_orders = min(BATCH_ORDERS, max(1.0, load.shard_rate * load.window_seconds))
        request_seconds = timings.request_seconds + timings.cpu_seconds(timings.request_cpu_seconds)
        seconds = way.requests(load.views) * request_seconds
        stored_bytes = way.stored_bytes * min(1.0, way.stored_days / load.kept_days)
    million = load.orders_per_second * MONTH_SECONDS / 1e6
    kept = load.orders_per_second * load.kept_days * 24 * 60 * 60 / 1e6
    write, read, api = (PRICES[name].dollars for name in ("write", "read", "api"))
    stored = PRICES["storage"].dollars + PRICES["recovery"].dollars
    batches, calls = million / batch_orders, million * load.api
    ours = way is None
    views = load.viewers * VIEWER_REQUESTS / 1e6 * ours
    per_view = api + _lambda(load, 1, API_REQUEST_SECONDS) + VIEWER_READ_UNITS * read
    gigabytes = kept * 1e6 * (ORDER_BYTES + stored_bytes) / 1e9
    handled = f"{batches:,.2f}M batches, {seconds * 1000:.2f} ms an order, {load.memory_mb} MB, {load.architecture}"
    lines = {
        "order writes": (million * write, f"{million:,.1f}M orders × 1 unit × ${write}/M"),
        "counting": (
            million * units * write,
            f"{million:,.1f}M orders × {units:.2f} units × ${write}/M; batches of {batch_orders:,.0f}",
        ),
        "Lambda": (
            _lambda(load, batches, million * seconds) + _lambda(load, calls, calls * API_REQUEST_SECONDS),
            handled + f"; {calls:,.1f}M API requests of 20 ms" * load.api,
        ),
        "API Gateway": (calls * api, f"{calls:,.1f}M requests × ${api:.2f}/M"),
        "stream reads": (0.0, "free for Lambda"),
        "dashboards": (
            views * per_view + LIST_DOLLARS * (views > 0),
            f"{views:,.1f}M requests × ${per_view:.2f}/M + ${LIST_DOLLARS} for the list that they share",
        ),
        "storage": (gigabytes * stored, f"{gigabytes:,.1f} GB × ${stored:.2f} with point-in-time recovery"),
        "audits": (
            AUDITS
            * kept
            * ours
            * (AUDIT_READ_UNITS * read + _lambda(load._replace(memory_mb=FULL_CPU_MB), 0, AUDIT_SECONDS)),
            f"{AUDITS} × {kept:,.1f}M orders × {AUDIT_READ_UNITS} read units × ${read}/M, and Lambda",
        ),
    }
    return Bill({name: Line(*line) for name, line in lines.items()}, units, load.shard_rate * seconds)


def _lambda(load: Workload, million_requests: float, million_seconds: float) -> float:
    gb_second = PRICES[load.architecture].dollars
    return million_requests * PRICES["invocation"].dollars + million_seconds * load.memory_mb / 1024 * gb_second


def alternatives(load: Workload) -> dict[str, Workload]:
    """Return what a change of one setting makes of the workload."""
    other = "x86_64" if load.architecture == "arm64" else "arm64"
    changes = {
        "BatchingWindowSeconds=0": load._replace(window_seconds=0),
        "BatchingWindowSeconds=5": load._replace(window_seconds=5),
        f"lambda_architecture={other}": load._replace(architecture=other),
        "one view more": load._replace(views=load.views + 1),
        "one view fewer": load._replace(views=max(1, load.views - 1)),
        "orders written into the table, not over the API": load._replace(api=False),
        f"orders deleted after {load.kept_days // 2} days": load._replace(kept_days=max(1, load.kept_days // 2)),
    }
    return {change: changed for change, changed in changes.items() if changed != load}


# --- How the price grows -------------------------------------------------------------------------

BUSY_RATE = 100.0


def growth(results: Mapping[str, Any]) -> dict[str, dict[float, float]]:
    """Return the dollars of counting a million orders, by what they grow with. Ledger sizes come from the benchmark."""

    write = PRICES["write"].dollars

    def packed(orders: int, products: int, views: int = VIEWS) -> float:
        return pack(orders, products, views).units(orders) * write

    new = [row for row in results["growth"] if row["kind"] == "new"]
    load = Workload(BUSY_RATE, 10)
    return {
        "orders in a batch": {orders: packed(orders, min(10, orders)) for orders in (1, 10, 100, 1_000)},
        "products, of 1,000 orders": {products: packed(1_000, products) for products in (1, 10, 100, 1_000)},
        "views": {views: packed(1_000, 10, views) for views in (1, 2, 4, 8)},
        "entries in the ledger": {row["entries"]: row["write_units"] * write for row in new},
        "shards, 100 orders/s": {shards: bill(load._replace(shards=shards)).units * write for shards in (1, 4, 16, 64)},
        "viewers, 100 orders/s": {
            viewers: bill(load._replace(viewers=viewers)).units * write for viewers in (1, 10, 100)
        },
    }


# --- The command ---------------------------------------------------------------------------------


def text(load: Workload) -> str:
    """Return the bills as text."""
    bills = {OURS: bill(load), **{way.title: bill(load, way) for way in WAYS.values()}}
    ours = bills[OURS]
    rows = [[name, *[f"${each.lines[name].dollars:,.2f}" for each in bills.values()]] for name in ours.lines]
    rows.append(["a month", *[f"${each.total:,.2f}" for each in bills.values()]])
    rows.append(["a shard is busy", *[f"{each.shard_busy:.0%}" for each in bills.values()]])
    changes = {change: bill(changed).total - ours.total for change, changed in alternatives(load).items()}
    most = sorted(ours.lines, key=lambda name: -ours.lines[name].dollars)[:2]
    parts = [
        f"{load.orders_per_second:g} orders/s of {load.products:,} products, {load.views} views, {load.viewers} viewers"
        f", orders {'over the API' if load.api else 'written into the table'} and kept for {load.kept_days} days",
        table(["", *bills], rows),
        "Order Totals and the marker are exact. ADD and Powertools count twice after lost responses and crashes"
        " (docs/bench.md). Only Order Totals has audits and dashboards. Above 100%, a shard falls behind.",
        table([OURS, ""], [[name, line.arithmetic] for name, line in ours.lines.items()]),
        f"Most of it: {most[0]}, then {most[1]}. What a change would make of ${ours.total:,.2f}:",
        table(["", "a month"], [[change, f"{more:+,.2f}"] for change, more in changes.items()]),
        table(["price", "per", "source"], [[f"${each.dollars:g}", each.per, each.source] for each in PRICES.values()]),
        f"Prices of us-east-1 as of {PRICES_AS_OF}. Not included: {NOT_INCLUDED}.",
    ]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="make cost", description="Calculate a month's bill.")
    parser.add_argument("--orders-per-second", type=float, default=10.0)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--viewers", type=int, default=1, help="dashboards open 8 hours on 22 days")
    parser.add_argument("--api", action="store_true", help="orders arrive over the API")
    options = parser.parse_args(arguments)
    if min(options.orders_per_second, options.products, options.views) <= 0 or options.viewers < 0:
        parser.error("ORDERS_PER_SECOND, PRODUCTS and VIEWS must be above 0, and VIEWERS 0 or more.")
    print(text(Workload(**vars(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
