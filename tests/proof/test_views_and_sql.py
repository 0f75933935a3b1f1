"""Compare every row of random views, after random events, with the result of SQL over the final orders.

Hypothesis draws the views, the orders and the events. Everything runs in memory, so hundreds of runs are fast.
"""

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chalicelib import tables, timestamps, views
from chalicelib.counting.ledger import Status
from chalicelib.jobs import audit, backfill
from chalicelib.orders import Order
from chalicelib.views import Keep, Row, join
from tests.doubles import NOW, Crash, deliver, run
from tests.extra_views import changeable_views, declare
from tests.orders_and_stream import OrdersAndStream
from tests.proof.mutations import VIEW_MUTATIONS
from tests.streams import item

DAY = 24 * 60 * 60
Rows = dict[tuple[str, ...], dict[str, Any]]


class Definition(NamedTuple):
    """A view in two forms: as a function of an order, and as SQL."""

    by_day: bool
    per_word: bool  # One row for each word of the product; equal words have equal keys.
    joined: bool
    places: int  # Decimal places of `price`, which is quantity * factor * 10**-places.
    factor: int
    above: int  # The view counts only orders with a larger quantity.
    keep: int | None

    def rows(self, order: Order) -> list[Row] | Row | None:
        if "bad" in order.product:
            raise LookupError(order.product)
        if order.quantity <= self.above:
            return None
        units = order.quantity * self.factor
        price = Decimal(f"{units}E-{self.places}") if self.places else units
        day = (order.placed_at[:10],) * self.by_day
        names = order.product.split() if self.per_word else [order.product]
        rows = [
            Row((join(name, str(order.quantity % 2)) if self.joined else name, *day), {"price": price, "orders": 1})
            for name in names
        ]
        return rows if self.per_word else rows[0]

    def declare(self, number: int) -> None:
        function = lambda order: self.rows(order)  # noqa: E731
        function.__name__ = f"view{number}"
        keep = Keep(self.keep, "day") if self.keep else None
        key = ("name", "day") if self.by_day else ("name",)
        declare(function, f"Table{number}", key, {"price": self.places, "orders": 0}, keep=keep)

    def query(self, database: sqlite3.Connection) -> Rows:
        """Return the view's nonzero rows according to SQL."""
        name = "word" if self.per_word else "product"
        name += " || '|' || (quantity % 2)" if self.joined else ""
        columns = f"{name}, day" if self.by_day else name
        source = "orders JOIN words USING (id)" if self.per_word else "orders"
        found = database.execute(
            f"SELECT exact_sum(quantity, ?), count(*), {columns} FROM {source}"
            f" WHERE instr(product, 'bad') = 0 AND quantity > ? GROUP BY {columns}",
            (str(self.factor), self.above),
        )
        rows = {}
        for units, count, *key in found:
            amounts = {"price": Decimal(f"{units}E-{self.places}"), "orders": count}
            rows[tuple(key)] = {attribute: amount for attribute, amount in amounts.items() if amount}
        return rows

    def frozen(self, key: tuple[str, ...], now: int) -> bool:
        """Return whether a row has stopped changing. Compute this without the app's code."""
        if self.keep is None:
            return False
        (end,) = (
            sqlite3.connect(":memory:").execute("SELECT unixepoch(?, ?)", (key[1], f"+{self.keep + 1} days")).fetchone()
        )
        return bool(end <= now)


class ExactSum:
    """An SQL function that returns the sum of quantity * factor, exact at any size, as text."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, quantity: Any, factor: Any) -> None:
        self.total += quantity * int(factor)

    def finalize(self) -> str:
        return str(self.total)


@st.composite
def definitions(draw: Any) -> Definition:
    by_day = draw(st.booleans())
    places = draw(st.sampled_from([0, 2, 18]))
    return Definition(
        by_day,
        draw(st.booleans()),
        draw(st.booleans()),
        places,
        draw(st.sampled_from([1, -3, 10**23 + 7, 0] if places < 18 else [1, 10**9 + 7])),
        draw(st.sampled_from([0, 0, 1])),
        draw(st.sampled_from([None, 1, 40])) if by_day else None,
    )


PRODUCTS = st.sampled_from(["ink", "pen", "pen ink", "pen pen", "cap pen ink", "bad pen"])
PLACED = st.sampled_from([None, 0, 1, 30, 50])  # How many days ago the order was placed.
QUANTITIES = st.sampled_from([1, 2, 9_999, 0])  # 0 makes an order invalid.
ORDER_IDS = st.sampled_from(["a", "b", "c"])
ACTIONS = ["put"] * 5 + ["deliver"] * 4 + ["redeliver"] * 2 + [
    "cancel", "archive", "backfill", "audit", "days pass", "change a view", "add a view", "remove a view",
]  # fmt: skip


class Course:
    """A system under random events, and its orders as SQL rows."""

    def __init__(self, data: Any) -> None:
        self.data = data
        views.VIEWS.clear()
        self.definitions = dict(enumerate(self.draw(st.lists(definitions(), min_size=1, max_size=3))))
        self.removed: dict[int, Definition] = {}
        for number, definition in self.definitions.items():
            definition.declare(number)
        self.system = OrdersAndStream()
        self.dynamo = self.system.dynamo
        self.delivered = self.oldest_kept = 0
        self.stale = self.repair = self.inside = False
        self.frozen: dict[int, Rows] = {}
        self.unchecked: set[int] = set()  # Views that were removed while days passed.
        self.orders: dict[str, tuple[str, int, str]] = {}
        self.archived = 0
        self.dynamo.before_transaction = self.meanwhile

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    # --- Events ------------------------------------------------------------------------------

    def act(self, action: str) -> None:
        order_id = self.draw(ORDER_IDS)
        if action == "put":
            self.put(order_id)
        elif action in ("cancel", "archive"):
            if order_id in self.system.stream.items and not (action == "archive" and self.stale):
                self.system.remove(order_id, action == "archive")
                gone = self.orders.pop(order_id, None)
                if action == "archive" and gone:
                    self.archived += 1
                    self.orders[f"{order_id} archived"] = gone
        elif action in ("deliver", "redeliver"):
            self.deliver(again=action == "redeliver")
        elif action in ("backfill", "audit"):
            self.work(action)
        elif action == "days pass":
            self.let_days_pass(self.draw(st.sampled_from([1, 3, 45])))
        elif not self.archived:  # Archived orders keep their contributions to old views.
            self.change_views(action)

    def put(self, order_id: str) -> None:
        product, quantity, days = (
            self.draw(PRODUCTS),
            self.draw(st.sampled_from([1, 2, 10**4 - 1, 0])),
            self.draw(PLACED),
        )
        stream = self.system.stream
        placed_at = None if days is None else timestamps.from_epoch(NOW - days * DAY)
        new = item(order_id, product, quantity, **({"PlacedAt": {"S": placed_at}} if placed_at else {}))
        old = stream.items.get(order_id)
        if old is None:
            self.orders.pop(f"{order_id} archived", None)  # An order with the same id is the same order again.
            self.inserted = {**getattr(self, "inserted", {}), order_id: stream.started + len(stream.records)}
        self.system.put(new)
        self.orders.pop(order_id, None)
        if quantity:
            day = (placed_at or timestamps.from_epoch(self.inserted[order_id]))[:10]
            self.orders[order_id] = product, quantity, day

    def deliver(self, again: bool = False) -> None:
        records = self.system.stream.records
        first = self.oldest_kept if again else max(self.oldest_kept, self.delivered - self.draw(st.integers(0, 2)))
        last = self.delivered if again else len(records)
        if first >= last:
            return
        start = self.draw(st.integers(first, last - 1)) if again else first
        end = self.draw(st.integers(start + 1, last))
        if self.crashes(lambda: deliver(records[start:end], self.dynamo)):
            return
        if start <= self.delivered:
            self.delivered = max(self.delivered, end)

    def work(self, job: str) -> None:
        jobs: dict[str, Callable[[], Any]] = {
            "backfill": lambda: backfill.request({}),
            "audit": lambda: audit.request({"repair": True, "gracePeriodSeconds": 1}),
        }
        if not self.inside:
            self.crashes(lambda: run(jobs[job](), self.dynamo))

    def crashes(self, action: Callable[[], Any]) -> bool:
        """Run `work`, and return whether it crashed before or after one of its transactions."""
        crash = self.draw(st.sampled_from([None, None, "before", "after"]))
        countdown = self.draw(st.integers(0, 2)) if crash else 0
        outer = self.dynamo.before_transaction, self.dynamo.after_transaction

        def count_down() -> None:
            nonlocal countdown
            countdown -= 1
            if countdown < 0:
                raise Crash

        def before() -> None:
            outer[0]()
            if crash == "before":
                count_down()

        self.dynamo.before_transaction = before
        self.dynamo.after_transaction = count_down if crash == "after" else lambda: None
        try:
            action()
        except Crash:
            return True
        finally:
            self.dynamo.before_transaction, self.dynamo.after_transaction = outer
        return False

    def meanwhile(self) -> None:
        """Let another event happen before a transaction."""
        if not self.inside and self.data is not None and self.draw(st.sampled_from([False, False, True])):
            self.inside = True
            try:
                self.act(self.draw(st.sampled_from(["put", "deliver", "redeliver", "cancel"])))
            finally:
                self.inside = False

    def change_views(self, action: str) -> None:
        number = self.draw(st.sampled_from(sorted(self.definitions)))
        if action == "change a view":
            old = self.definitions[number]
            new = self.draw(definitions())._replace(by_day=old.by_day, keep=old.keep, places=old.places, factor=2)
            del views.VIEWS[f"Table{number}"]
            self.definitions[number] = new
            new.declare(number)
        elif action == "remove a view" and len(self.definitions) > 1:
            del views.VIEWS[f"Table{number}"]
            self.removed[number] = self.definitions.pop(number)
        elif action == "add a view" and len(self.definitions) < 4:
            number = min(self.removed, default=len(self.definitions) + len(self.removed))
            definition = self.removed.pop(number, None) or self.draw(definitions())
            self.definitions[number] = definition
            definition.declare(number)
            self.dynamo.tables.setdefault(f"Table{number}", {})
            self.repair = True  # Orders may have been cancelled without the view, which only repair finds.
        self.stale = True

    def let_days_pass(self, days: int) -> None:
        self.settle()
        self.unchecked |= {*self.removed}
        now = self.dynamo.now + days * DAY
        for number, definition in self.definitions.items():
            kept = self.frozen.setdefault(number, {})
            for key, row in self.expected_to_change(number, definition).items():
                if definition.frozen(key, now):
                    kept[key] = row
        self.dynamo.now = now
        self.system.stream.started = now - len(self.system.stream.records)
        self.oldest_kept = self.delivered  # The stream keeps its records for a day.
        for table in tables.expiring():
            stored = self.dynamo.tables[table]
            for key in [key for key, each in stored.items() if int(each.get("expiresAt", {"N": now + 1})["N"]) <= now]:
                del stored[key]
                if table != tables.LEDGER:
                    self.frozen[int(table.removeprefix("Table"))].pop(key, None)

    # --- Checks ----------------------------------------------------------------------

    def settle(self) -> None:
        """Deliver the remaining records, backfill changed views, and compare all rows with SQL."""
        data, self.data = self.data, None
        hook, self.dynamo.before_transaction = self.dynamo.before_transaction, lambda: None
        records = self.system.stream.records
        if self.delivered < len(records):
            deliver(records[self.delivered :], self.dynamo)
            self.delivered = len(records)
        if self.stale:
            run(backfill.request({}), self.dynamo)
        if self.repair:
            run(audit.request({"repair": True}), self.dynamo)
        self.stale = self.repair = False
        self.check()
        work = audit.request({"gracePeriodSeconds": 1})
        run(work, self.dynamo)
        assert work.verdict == "clean", work.to_json(0)
        self.data, self.dynamo.before_transaction = data, hook

    def check(self) -> None:
        counters = self.dynamo.counters()
        for number, definition in self.definitions.items():
            if number in self.unchecked:
                continue
            table = f"Table{number}"
            expected = {**self.expected_to_change(number, definition), **self.frozen.get(number, {})}
            actual = {key: row for (name, key), row in counters.items() if name == table}
            assert actual == expected, definition
            for key, row in self.dynamo.tables[table].items():
                ttl = int(row.get("expiresAt", {"N": 0})["N"])
                assert ttl == (0 if definition.keep is None else ttl)
                assert not definition.keep or (
                    definition.frozen(key, ttl - DAY) and not definition.frozen(key, ttl - DAY - 1)
                )
        for order_id, (product, *_) in self.orders.items():
            entry = self.dynamo.entry(order_id)
            if entry.status is Status.COUNTED:
                failing = {f"view{number}" for number in self.definitions} if "bad" in product else set()
                assert {name for name in entry.problems if name in {f"view{n}" for n in self.definitions}} == failing

    def expected_to_change(self, number: int, definition: Definition) -> Rows:
        database = sqlite3.connect(":memory:")
        database.create_aggregate("exact_sum", 2, ExactSum)  # type: ignore[arg-type]
        database.execute("CREATE TABLE orders (id, product, quantity, day)")
        database.execute("CREATE TABLE words (id, word)")
        for order_id, order in self.orders.items():
            database.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (order_id, *order))
            database.executemany("INSERT INTO words VALUES (?, ?)", [(order_id, word) for word in order[0].split()])
        rows = definition.query(database)
        return {key: row for key, row in rows.items() if not definition.frozen(key, self.dynamo.now)}


def prove(examples: int, shrink: bool = True, derandomize: bool = False) -> None:
    """Run this many random courses of events. Raise AssertionError if a row is wrong after one of them."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=derandomize,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def courses(data: Any) -> None:
        with changeable_views():
            course = Course(data)
            for action in data.draw(st.lists(st.sampled_from(ACTIONS), min_size=4, max_size=20)):
                course.act(action)
            course.settle()
            course.data = None
            before = course.system.state()
            for record in reversed(course.system.stream.records[course.oldest_kept :]):
                deliver([record], course.dynamo)
            assert course.system.state() == before, "redelivered records change nothing"

    courses()


def test_every_row_of_any_view_is_what_sql_returns_over_the_final_orders():
    prove(300)


@pytest.mark.parametrize("name", VIEW_MUTATIONS)
def test_sql_catches_a_broken_rule_of_the_views(name: str):
    with VIEW_MUTATIONS[name](), pytest.raises(AssertionError):
        prove(400, shrink=False, derandomize=True)
