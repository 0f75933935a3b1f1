"""`make capacity`: calculate what a shard, a product and a list can handle, for the tables in docs/scale.md.

The app's own code packs batches into transactions, and a simulation runs them. `Timings` has the durations: some were
measured with `make bench`, and the others are marked as assumed. Nothing is sent over the network.
"""

import math
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.api import top_list
from chalicelib.counting import committer, ledger
from chalicelib.effects import Committed
from chalicelib.views import CounterKey

BATCH_ORDERS = 1_000  # The batch size in app.py.
UNITS_PER_ACTION = 2  # In a transaction, for items up to 1 KB (Developer Guide, "Managing complex workflows").
# How often Lambda polls a shard without records (Lambda Developer Guide, "Using AWS Lambda with DynamoDB").
POLLS_PER_SECOND = 4
FULL_CPU_MB = 1_769  # Memory at which a function has one CPU (Lambda quotas).
VIEWS = 2  # As shipped.


class Packed(NamedTuple):
    """The requests for a batch of new orders."""

    rounds: tuple[tuple[int, ...], ...]
    """The number of actions of each transaction. Those of a round are sent at the same time."""

    @property
    def transactions(self) -> int:
        """The number of transactions."""
        return sum(map(len, self.rounds))

    @property
    def actions(self) -> int:
        """The number of actions of all transactions."""
        return sum(map(sum, self.rounds))

    def units(self, orders: int) -> float:
        """Return the write units per order."""
        return self.actions * UNITS_PER_ACTION / orders


@cache
def pack(orders: int, products: int, views: int = VIEWS) -> Packed:
    """Run the app's committer for new orders that cycle through the products. Each view has a counter per product."""

    def count(entry: ledger.Entry) -> ledger.Entry:
        product = str(int(entry.order_id) % products)
        contributions = {CounterKey(f"View{number}", (product,)): {"total": 1} for number in range(views)}
        return entry._replace(revision=1, status=ledger.Status.COUNTED, contributions=contributions)

    steps = committer.Committer(count, assumed_new=[str(number) for number in range(orders)]).steps()
    rounds: list[tuple[int, ...]] = []
    result: Any = None
    while True:
        try:
            effect: Any = steps.send(result)
        except StopIteration:
            return Packed(tuple(rounds))
        several = getattr(effect, "effects", None)
        transactions = [each.transaction for each in several or [effect]]
        rounds.append(tuple(len(each.changes) + len(each.increments) for each in transactions))
        result = [Committed() for _ in several] if several else Committed()


class Timings(NamedTuple):
    """How long each step takes."""

    memory_mb: int = 512
    request_seconds: float = 0.010  # Assumed: one DynamoDB request in the same region.
    action_seconds: float = 0.000_4  # Assumed: a transaction of 100 actions takes 50 ms.
    invocation_seconds: float = 0.010  # Assumed: Lambda's overhead for each invocation.
    request_cpu_seconds: float = 0.000_9  # Measured by `make bench` on one core.
    action_cpu_seconds: float = 0.000_045  # Measured in the same way. One core of Lambda is assumed to be as fast.

    def batch_seconds(self, orders: int, products: int, views: int = VIEWS) -> float:
        """Return how long a batch of new orders takes."""
        packed = pack(orders, products, views)
        cpu = packed.transactions * self.request_cpu_seconds + packed.actions * self.action_cpu_seconds
        waiting = sum(self.request_seconds + max(each) * self.action_seconds for each in packed.rounds)
        return self.invocation_seconds + self.cpu_seconds(cpu) + waiting

    def cpu_seconds(self, cpu: float) -> float:
        """Return how long this much work of a full CPU takes."""
        return cpu / min(1.0, self.memory_mb / FULL_CPU_MB)


class ShardLoad(NamedTuple):
    """How a shard performs under a steady load."""

    batch_orders: float
    """Orders per batch, on average."""
    lag_seconds: float
    """Age of a batch's oldest order when it is counted, on average; infinite if it grows without bound."""
    transactions: float
    """Transactions per second, for all products together."""
    units: float
    """Write units per order."""
    seconds: float
    """The handler's time per order."""


def simulate(
    rate: float, products: int, timings: Timings, seconds: float = 120.0, window: float = 0.0, views: int = VIEWS
) -> ShardLoad:
    """Simulate a shard that receives `rate` orders per second, evenly spaced and cycling through the products.

    Batches run one after another. Each takes the orders that have arrived, and waits for more during the batching
    window after its first one. The simulation takes at least 100 orders.
    """
    now = counted = lag_sum = transactions = actions = busy = 0.0
    batches = 0
    while now < max(seconds, 100 / rate):
        oldest = (counted + 1) / rate
        if now < oldest:
            now += math.ceil((oldest - now) * POLLS_PER_SECOND) / POLLS_PER_SECOND
        now = max(now, min(oldest + window, (counted + BATCH_ORDERS) / rate))
        orders = max(1, min(int(rate * now - counted), BATCH_ORDERS))
        packed = pack(orders, min(products, orders), views)
        duration = timings.batch_seconds(orders, min(products, orders), views)
        now += duration
        busy += duration
        counted += orders
        lag_sum += now - oldest
        batches += 1
        transactions += packed.transactions
        actions += packed.actions
    keeps_up = rate * now - counted <= 2 * BATCH_ORDERS + rate
    lag = lag_sum / batches if keeps_up else math.inf
    return ShardLoad(counted / batches, lag, transactions / now, UNITS_PER_ACTION * actions / counted, busy / counted)


# --- The tables ----------------------------------------------------------------------------------

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
DOLLARS_PER_WRITE_UNIT = 0.625e-6  # On demand, us-east-1.
PRODUCTS = (1, 10, 100, 1_000)
RATES = (1, 100, 300, 500, 1_000)
MEMORY_MB = (512, 1_769)
TOTAL_BYTES = 100  # An item of AggregateTable whose product has 15 letters.
SCHEDULE_SECONDS = 300  # The interval of `refresh_top_lists` in app.py.


def packing() -> str:
    """Return a table of transactions and write units by batch size."""
    rows = []
    for orders in (1, 10, 100, 1_000):
        for products in [each for each in PRODUCTS if each <= orders]:
            packed = pack(orders, products)
            each = f"{orders / packed.transactions:.0f}"
            rows.append([f"{orders:,}", f"{products:,}", f"{packed.transactions}", each, f"{packed.units(orders):.2f}"])
    return table(["orders in the batch", "products", "transactions", "orders in each", "write units per order"], rows)


def windows() -> str:
    """Return a table of what the batching window saves, at 100 orders a second of one product."""
    rows = []
    for window, stages in ((0, " (`local`, `dev`)"), (1, " (all others)"), (5, "")):
        load = simulate(100, 1, Timings(), window=window)
        dollars = load.units * 100 * 24 * 60 * 60 * DOLLARS_PER_WRITE_UNIT
        rows.append([f"{window}{stages}", f"{load.batch_orders:,.0f}", f"{load.units:.2f}", f"${dollars:.2f}"])
    return table(["`BatchingWindowSeconds`", "orders in a batch", "write units per order", "a day"], rows)


def shard() -> str:
    """Return a table of a shard's maximum throughput, with full batches."""
    rows = []
    for products in PRODUCTS:
        speeds = [BATCH_ORDERS / Timings(memory).batch_seconds(BATCH_ORDERS, products) for memory in MEMORY_MB]
        rows.append([f"{products:,}", *[f"{speed:,.0f}" for speed in speeds]])
    return table(["products", *[f"orders/s with {memory:,} MB" for memory in MEMORY_MB]], rows)


def loads() -> str:
    """Return a table of a shard's lag as its load rises."""
    rows = []
    for products in (1, 1_000):
        for rate in RATES:
            load = simulate(rate, products, Timings())
            lag = f"{load.lag_seconds:.1f} s" if load.lag_seconds < 1e6 else "grows"
            rows.append([f"{rate:,}", f"{products:,}", f"{load.batch_orders:,.0f}", f"{load.transactions:.0f}", lag])
    return table(["orders/s", "products", "orders in a batch", "transactions/s", "totals behind"], rows)


def lists() -> str:
    """Return a table of the greatest age of a top list while somebody constantly reads it."""
    rows = []
    for products in (10, 100, 1_000, 10_000, 40_000, 1_000_000):
        read_units = max(0.5, products * TOTAL_BYTES / 8192)
        # A compressed list of 25 typical totals takes 0.7 KB, and one of 100 takes 2.2 KB.
        write_units = 2 if products <= 25 else 4
        units = read_units + top_list.READ_UNITS_PER_WRITE_UNIT * write_units
        pages = products * TOTAL_BYTES / 1_000_000
        seconds = top_list.TopList([], 0, units, 0, True).interval_seconds
        age = f"{seconds:.1f} s" if pages <= top_list.PAGES_MAX else f"{(seconds + SCHEDULE_SECONDS) / 60:.0f} min"
        rows.append([f"{products:,}", f"{read_units:,.1f}", f"{write_units}", age])
    return table(["products", "read units", "write units", "at most this old"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}", *[f"| {' | '.join(row)} |" for row in rows]]
    return "\n".join(lines)


TABLES = {"packing": packing, "windows": windows, "shard": shard, "load": loads, "lists": lists}


def in_document(document: str) -> str:
    """Return docs/scale.md with its calculated tables replaced. Each follows a comment with its name."""
    for name, make in TABLES.items():
        place = re.compile(rf"(<!-- make capacity: {name} -->\n)(?:\|.*\n)*")
        document, found = place.subn(rf"\1{make()}\n", document)
        if found != 1:
            raise ValueError(f"docs/scale.md must have the comment of the table {name!r} once.")
    return document


def main() -> int:
    """Write all tables into docs/scale.md."""
    DOCUMENT.write_text(in_document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print("Written: the tables in docs/scale.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
