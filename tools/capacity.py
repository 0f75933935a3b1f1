"""`make capacity`: what a shard and a product can bear: the app's own packing, and a shard simulated.

docs/scale.md has these tables. How many transactions a batch takes is asked of the code that packs them. How long
things take is in `Pace`: what could be measured here was (`make bench`), the rest is assumed and says so. Nothing is
sent anywhere.
"""

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chalicelib.counting import ledger, transactions

BATCH_ORDERS = 1_000  # app.py's batch size.
SHARD_RECORDS_PER_SECOND = 1_000  # A partition takes 1,000 write units a second, and its shard gets what it takes.
PARTITION_UNITS_PER_SECOND = 1_000
UNITS_PER_ACTION = 2  # Of a transaction, for items of at most 1 KB (Developer Guide, "Managing complex workflows").
POLLS_PER_SECOND = (
    4  # Lambda's, of a shard that has nothing (Lambda Developer Guide, "Using AWS Lambda with DynamoDB").
)
FULL_CPU_MB = 1_769  # Memory at which a function has one CPU (Lambda quotas).


class Pace(NamedTuple):
    """How long things take."""

    memory_mb: int = 512
    request_seconds: float = 0.010  # Until DynamoDB has answered, in the same region. Assumed ...
    action_seconds: float = 0.000_4  # ... so that a transaction of 100 actions takes 50 ms.
    invocation_seconds: float = 0.010  # Of Lambda, around the handler. Assumed.
    request_cpu_seconds: float = 0.000_9  # Measured by make bench, on one core of this kind of machine ...
    action_cpu_seconds: float = 0.000_045  # ... and taken for what a CPU of Lambda's does.

    def batch_seconds(self, orders: int, products: int) -> float:
        """How long a batch of new orders takes."""
        requests, actions = pack(orders, products)
        cpu = requests * self.request_cpu_seconds + actions * self.action_cpu_seconds
        waiting = requests * self.request_seconds + actions * self.action_seconds
        return self.invocation_seconds + cpu / min(1.0, self.memory_mb / FULL_CPU_MB) + waiting


class Packed(NamedTuple):
    """What a batch of new orders comes to."""

    transactions: int
    actions: int

    def units(self, orders: int) -> float:
        """Write units for each order."""
        return self.actions * UNITS_PER_ACTION / orders


@cache
def pack(orders: int, products: int) -> Packed:
    """Has the app pack new orders, of so many products in turn, placed within an hour."""
    packed = transactions.pack(new_orders(orders, products))
    return Packed(len(packed), sum(len(each.changes) + len(each.increments) for each in packed))


def new_orders(count: int, products: int) -> Iterator[ledger.Change]:
    """Their changes of the ledger."""
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


class Load(NamedTuple):
    """How a shard does under a steady load."""

    batch_orders: float
    """In a batch, on average."""
    behind_seconds: float
    """How old the oldest order of a batch is when it is counted, on average; infinite if that grows for ever."""
    transactions: float
    """A second, on the counter of the one product; of several, all together."""


def simulate(rate: float, products: int, pace: Pace, seconds: float = 120.0) -> Load:
    """Orders come evenly, of all products in turn; one batch after another, each of what has come meanwhile."""
    now = counted = behind = touched = 0.0
    batches = 0
    while now < seconds:
        waiting = int(rate * now - counted)
        if not waiting:
            now += 1 / POLLS_PER_SECOND
            continue
        orders = min(waiting, BATCH_ORDERS)
        took = pace.batch_seconds(orders, min(products, orders))
        oldest = (counted + 1) / rate
        now += took
        counted += orders
        behind += now - oldest
        batches += 1
        touched += pack(orders, min(products, orders)).transactions
    keeps_up = rate * now - counted <= 2 * BATCH_ORDERS + rate
    return Load(counted / batches, behind / batches if keeps_up else float("inf"), touched / now)


# --- What is printed -----------------------------------------------------------------------------

PRODUCTS = (1, 10, 100, 1_000)
RATES = (1, 10, 100, 300, 500, 700, 1_000)
MEMORY_MB = (512, 1_769)


def packing() -> str:
    """A batch's requests and units."""
    rows = []
    for orders in (1, 10, 100, 1_000):
        for products in [each for each in PRODUCTS if each <= orders]:
            packed = pack(orders, products)
            each = f"{orders / packed.transactions:.0f}"
            rows.append([f"{orders:,}", f"{products:,}", f"{packed.transactions}", each, f"{packed.units(orders):.2f}"])
    return table(["orders in the batch", "products", "transactions", "orders in each", "write units per order"], rows)


def shard() -> str:
    """The most that a shard's handler can do, if it always has a full batch."""
    rows = []
    for products in PRODUCTS:
        speeds = [BATCH_ORDERS / Pace(memory).batch_seconds(BATCH_ORDERS, products) for memory in MEMORY_MB]
        rows.append([f"{products:,}", *[f"{speed:,.0f}" for speed in speeds]])
    return table(["products", *[f"orders/s with {memory:,} MB" for memory in MEMORY_MB]], rows)


def loads() -> str:
    """A shard under rising load."""
    rows = []
    for products in (1, 1_000):
        for rate in RATES:
            load = simulate(rate, products, Pace())
            behind = f"{load.behind_seconds:.1f} s" if load.behind_seconds < 1e6 else "grows"
            rows.append([f"{rate:,}", f"{products:,}", f"{load.batch_orders:,.0f}", f"{load.transactions:.0f}", behind])
    return table(["orders/s", "products", "orders in a batch", "transactions/s", "totals behind"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}", *[f"| {' | '.join(row)} |" for row in rows]]
    return "\n".join(lines)


TABLES = {"packing": packing, "shard": shard, "load": loads}


def main() -> int:
    """Prints all of it."""
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
