"""`make contention`: measure conflicts between shards on the engine, with the latencies below.

Each shard delivers a batch of 1,000 orders, and all shards start at once. The app's own committer plans and packs. A
transaction prepares its items one after another in the first half of its time, and commits them in the second. The
app's CPU time is not part of the model.
"""

import heapq
import json
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib import effects, tables, timestamps
from chalicelib.counting import committer, entry_item, ledger
from chalicelib.counting.ledger import ChangeRecord
from chalicelib.jobs import invocation
from tests.proof.engine.database import Database, Table
from tests.proof.engine.expressions import Item, ServiceError, size_of

READ_SECONDS = 0.005
TRANSACTION_SECONDS = 0.010
BETWEEN_SECONDS = 0.010  # Between two invocations of a shard.
STEPS_AT_ONCE = 10  # A transaction prepares or commits so many items before others go on.
CONFIG = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text())
TIMEOUT_SECONDS = CONFIG["lambda_functions"]["aggregate"]["lambda_timeout"]
INVOCATION_SECONDS = TIMEOUT_SECONDS - invocation.reserve_seconds(TIMEOUT_SECONDS)
NOW = 1_795_003_200
NAMES = {name: name for name in tables.KEYS}
KINDS = {"new": "new orders", "amended": "amendments", "moved": "other product"}
SHARDS = (1, 4, 16, 32)
PRODUCTS = (1, 10, 100, 1_000)


class Cell(NamedTuple):
    """A row of the table: what is measured."""

    kind: str
    shards: int
    products: int
    batches: int = 1  # Of each shard.
    orders: int = 1_000  # In a batch.


class Measured(NamedTuple):
    """The results of a cell."""

    transactions: int
    cancelled: int
    wasted_units: float  # Write units of cancelled transactions, per order.
    slowest_seconds: float  # Of an invocation.
    timed_out: int
    exact: bool


class Shard:
    """A shard whose batches are delivered one after another, again if an invocation times out."""

    def __init__(self, simulation: "Simulation", batches: Sequence[dict[str, list[ChangeRecord]]]) -> None:
        self.simulation = simulation
        self.batches = list(batches)
        self.slowest = 0.0
        self.timed_out = 0
        self.begin()

    def begin(self) -> None:
        """Start the next invocation."""
        if not self.batches:
            return
        self.began = self.simulation.now
        self.steps = committer.for_stream(self.batches[0], NOW).steps()
        self.go_on(None)

    def go_on(self, result: Any) -> None:
        """Let the committer go on with the result of its effect."""
        simulation = self.simulation
        try:
            effect = self.steps.send(result)
        except StopIteration:
            self.end(done=True)
            return
        wait = simulation.random.uniform(0, effect.seconds) if isinstance(effect, effects.Sleep) else 0.0
        if simulation.now + wait > self.began + INVOCATION_SECONDS:
            self.timed_out += 1
            self.end(done=False)
        elif isinstance(effect, effects.Sleep):
            simulation.after(wait, lambda: self.go_on(NOW))
        elif isinstance(effect, effects.Together):
            results: list[Any] = [None] * len(effect.effects)
            missing = set(range(len(results)))

            def arrived(at: int) -> Callable[[Any], None]:
                def keep(result: Any) -> None:
                    results[at] = result
                    missing.discard(at)
                    if not missing:
                        self.go_on(results)

                return keep

            for at, each in enumerate(effect.effects):
                simulation.carry_out(each, arrived(at))
        else:
            simulation.carry_out(effect, self.go_on)

    def end(self, done: bool) -> None:
        """End an invocation."""
        self.slowest = max(self.slowest, self.simulation.now - self.began)
        del self.batches[:done]
        self.simulation.after(BETWEEN_SECONDS, self.begin)


class Simulation:
    """A database, its clock, and what happens next."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.database = Database(lambda: NOW + self.now, self.random.randrange)
        for name, keys in tables.KEYS.items():
            self.database.tables[name] = Table(name, keys)
        self.sent = self.cancelled = 0
        self._numbers = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), action))

    def run(self) -> None:
        """Go on until nothing is left to do."""
        while self._queue:
            self.now, _, action = heapq.heappop(self._queue)
            action()

    def carry_out(self, effect: Any, then: Callable[[Any], None]) -> None:
        """Have the database carry out an effect, and call `then` with the result."""
        if isinstance(effect, effects.BatchGet):
            (request_items,) = effect.requests(NAMES)
            response = self.database.call("BatchGetItem", RequestItems=request_items)
            self.after(READ_SECONDS, lambda: then(effect.items(response)))
            return
        self.sent += 1
        actions = effect.transaction.actions(NAMES, timestamps.from_epoch(NOW))
        running = self.database.start("TransactWriteItems", {"TransactItems": actions})
        pause = TRANSACTION_SECONDS / (2 * len(actions)) * STEPS_AT_ONCE

        def go_on() -> None:
            try:
                for _ in range(STEPS_AT_ONCE):
                    next(running)
            except StopIteration:
                then(effects.Committed())
            except ServiceError as error:
                self.cancelled += 1
                then(effects.Cancelled(error.more["CancellationReasons"]))
            else:
                self.after(pause, go_on)

        self.after(0, go_on)


def measure(cell: Cell, seed: int = 1) -> Measured:
    """Run a cell and check every counter."""
    simulation = Simulation(seed)
    shards = [Shard(simulation, list(batches(cell, number, simulation))) for number in range(cell.shards)]
    simulation.run()
    database, orders = simulation.database, cell.shards * cell.batches * cell.orders
    return Measured(
        simulation.sent,
        simulation.cancelled,
        database.units["wasted"] / orders,
        max(shard.slowest for shard in shards),
        sum(shard.timed_out for shard in shards),
        is_exact(cell, database),
    )


def batches(cell: Cell, shard: int, simulation: Simulation) -> Iterator[dict[str, list[ChangeRecord]]]:
    """Yield the batches of a shard, by order. For amendments, put the orders into the database first."""
    for batch in range(cell.batches):
        records = {}
        for number in range(cell.orders):
            order_id = f"order-{shard}-{batch}-{number}"
            first = record(order_id, 1, number % cell.products, 1)
            if cell.kind == "new":
                records[order_id] = [first]
                continue
            store(simulation.database, ledger.apply(ledger.absent(order_id), first))
            moved = simulation.random.randrange(cell.products) if cell.kind == "moved" else number % cell.products
            records[order_id] = [record(order_id, 2, moved, 2)]
        yield records


def record(order_id: str, position: int, product: int, quantity: int) -> ChangeRecord:
    """Return the record of an order that is placed or amended."""
    item = {
        "OrderID": {"S": order_id},
        "Product": {"S": f"Product {product}"},
        "Quantity": {"N": str(quantity)},
        "PlacedAt": {"S": timestamps.from_epoch(NOW)},
    }
    return ChangeRecord(order_id, f"s/{position:040}", NOW, item, is_insert=position == 1)


def store(database: Database, entry: ledger.Entry) -> None:
    """Put an entry and its contributions into the database."""
    put(database.tables[tables.LEDGER], (entry.order_id,), entry_item.to_item(entry))
    for counter, increments in entry.contributions.items():
        table = database.tables[counter.table]
        item = table.place(counter.key).item or effects.key(counter.table, counter.key)
        present = {name: int(item.get(name, {"N": "0"})["N"]) for name in increments}
        added = {name: {"N": str(present[name] + int(amount))} for name, amount in increments.items()}
        put(table, counter.key, {**item, **added})


def put(table: Table, key: tuple[str, ...], item: Item) -> None:
    """Store an item."""
    place = table.place(key)
    place.item, place.size = item, size_of(item)


def is_exact(cell: Cell, database: Database) -> bool:
    """Return whether all orders are counted, and the totals are the sums of the ledger."""
    sums: Counter[str] = Counter()
    entries = list(database.tables[tables.LEDGER].items())
    for item in entries:
        for counter, increments in entry_item.from_item(item["OrderID"]["S"], item).contributions.items():
            if counter.table == tables.TOTALS:
                sums[counter.key[0]] += int(increments["totalQuantity"])
    totals = {item["product"]["S"]: int(item["totalQuantity"]["N"]) for item in database.tables[tables.TOTALS].items()}
    quantity = 1 if cell.kind == "new" else 2
    return sums.total() == quantity * cell.shards * cell.batches * cell.orders and totals == {
        product: sums[product] for product in totals
    }


def table(measured: Mapping[Cell, Measured]) -> str:
    """Return a Markdown table with a column for each kind of orders."""
    lines = [f"| shards | products | {' | '.join(KINDS.values())} |", f"|{'---:|' * (2 + len(KINDS))}"]
    for shards, products in dict.fromkeys((cell.shards, cell.products) for cell in measured):
        results = [measured[Cell(kind, shards, products)] for kind in KINDS]
        texts = [f"{each.wasted_units:.1f}, {each.slowest_seconds:.1f} s" for each in results]
        lines.append(f"| {shards} | {products:,} | {' | '.join(texts)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure all cells and print the table. Return 1 if a total is wrong or an invocation timed out."""
    cells = [Cell(kind, shards, products) for shards in SHARDS for products in PRODUCTS for kind in KINDS]
    with multiprocessing.Pool(2) as pool:
        measured = dict(zip(cells, pool.map(measure, cells, chunksize=1), strict=True))
    print("Wasted write units per order, and the slowest invocation:\n")
    print(table(measured))
    failed = [cell for cell, each in measured.items() if each.timed_out or not each.exact]
    print(f"\nTimed out or wrong: {failed or 'none'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
