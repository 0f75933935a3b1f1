"""`make capacity`: calculate what a shard, a product and a list can handle, for the tables in docs/scale.md.

The app's own code packs batches into transactions, and a simulation runs them. `Timings` has the durations: some were
measured with `make bench`, and the others are marked as assumed. Nothing is sent over the network.
"""

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chalicelib.api import top_list
from chalicelib.counting import ledger, transactions

BATCH_ORDERS = 1_000  # The batch size in app.py.
SHARD_RECORDS_PER_SECOND = 1_000  # The writes per second of a partition, and so the records per second of its shard.
PARTITION_UNITS_PER_SECOND = 1_000
UNITS_PER_ACTION = 2  # In a transaction, for items up to 1 KB (Developer Guide, "Managing complex workflows").
# How often Lambda polls a shard without records (Lambda Developer Guide, "Using AWS Lambda with DynamoDB").
POLLS_PER_SECOND = 4
FULL_CPU_MB = 1_769  # Memory at which a function has one CPU (Lambda quotas).


class Timings(NamedTuple):
    """How long each step takes."""

    memory_mb: int = 512
    request_seconds: float = 0.010  # Assumed: one DynamoDB request in the same region.
    action_seconds: float = 0.000_4  # Assumed: a transaction of 100 actions takes 50 ms.
    invocation_seconds: float = 0.010  # Assumed: Lambda's overhead for each invocation.
    request_cpu_seconds: float = 0.000_9  # Measured by `make bench` on one core.
    action_cpu_seconds: float = 0.000_045  # Measured in the same way. One core of Lambda is assumed to be as fast.

    def batch_seconds(self, orders: int, products: int) -> float:
        """Return how long a batch of new orders takes."""
        requests, actions = pack(orders, products)
        cpu = requests * self.request_cpu_seconds + actions * self.action_cpu_seconds
        waiting = requests * self.request_seconds + actions * self.action_seconds
        return self.invocation_seconds + cpu / min(1.0, self.memory_mb / FULL_CPU_MB) + waiting


class Packed(NamedTuple):
    """The size of a packed batch of new orders."""

    transactions: int
    actions: int

    def units(self, orders: int) -> float:
        """Return the write units per order."""
        return self.actions * UNITS_PER_ACTION / orders


@cache
def pack(orders: int, products: int) -> Packed:
    """Pack new orders with the app's code. They cycle through the products and are placed within one hour."""
    packed = transactions.pack(new_orders(orders, products))
    return Packed(len(packed), sum(len(each.changes) + len(each.increments) for each in packed))


def new_orders(count: int, products: int) -> Iterator[ledger.Change]:
    """Yield the ledger changes for new orders."""
    for number in range(count):
        order_id = f"order-{number}"
        item = {
            "OrderID": {"S": order_id},
            "Product": {"S": f"Product {number % products}"},
            "Quantity": {"N": "1"},
        }
        before = ledger.absent(order_id)
        record = ledger.ChangeRecord(order_id, f"{number:040}", 1_795_003_200, item, is_insert=True)
        yield ledger.Change(before, ledger.apply(before, record))


class ShardLoad(NamedTuple):
    """How a shard performs under a steady load."""

    batch_orders: float
    """Orders per batch, on average."""
    lag_seconds: float
    """Age of a batch's oldest order when it is counted, on average; infinite if it grows without bound."""
    transactions: float
    """Transactions per second, for all products together."""


def simulate(rate: float, products: int, timings: Timings, seconds: float = 120.0) -> ShardLoad:
    """Simulate a shard that receives `rate` orders per second, evenly spaced and cycling through the products.

    Batches run one after another. Each takes the orders that arrived during the previous one.
    """
    now = counted = lag_sum = transaction_count = 0.0
    batches = 0
    while now < seconds:
        waiting = int(rate * now - counted)
        if not waiting:
            now += 1 / POLLS_PER_SECOND
            continue
        orders = min(waiting, BATCH_ORDERS)
        duration = timings.batch_seconds(orders, min(products, orders))
        oldest = (counted + 1) / rate
        now += duration
        counted += orders
        lag_sum += now - oldest
        batches += 1
        transaction_count += pack(orders, min(products, orders)).transactions
    keeps_up = rate * now - counted <= 2 * BATCH_ORDERS + rate
    return ShardLoad(counted / batches, lag_sum / batches if keeps_up else float("inf"), transaction_count / now)


# --- The tables ----------------------------------------------------------------------------------

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


TABLES = {"packing": packing, "shard": shard, "load": loads, "lists": lists}


def main() -> int:
    """Print all tables."""
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
