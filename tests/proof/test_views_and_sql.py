"""Compare every row of random views, after random events, with the result of SQL over the final orders.

Hypothesis draws the fields of orders, the views, the orders and the events. Everything runs in memory, so hundreds of
runs are fast.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chalicelib import tables, timestamps, views
from chalicelib.counting.ledger import Status
from chalicelib.jobs import audit, backfill
from chalicelib.views import Keep, Row, join
from tests.doubles import NOW, Crash, deliver, run
from tests.extra_views import changeable_views, declare
from tests.orders_and_stream import OrdersAndStream
from tests.proof import drawn_models
from tests.proof.drawn_models import DrawnField
from tests.proof.mutations import VIEW_MUTATIONS

DAY = 24 * 60 * 60
Rows = dict[tuple[str, ...], dict[str, Any]]


class SqlOrder(NamedTuple):
    """An order as a row for SQL."""

    day: str  # The day on which the order was placed.
    values: Mapping[str, str | None]  # The values by field name.


class Definition(NamedTuple):
    """A view in two forms: as a function of an order, and as SQL. It leaves out orders that lack a value."""

    name: DrawnField | None  # The field in the partition key; None for the text "all".
    joined: DrawnField | None  # A second field in the partition key.
    per_word: bool  # One row for each word of the text; equal words have equal keys.
    day: str | None  # The field of the sort key; "" means `placed_at`, None means no sort key.
    amount: DrawnField | None  # The field to sum; None adds 1 for each order.
    places: int  # Decimal places of `price`, which is amount * factor * 10**-places.
    factor: int
    only: tuple[DrawnField, str] | None  # The view counts only orders with this value, or with a larger number.
    keep: int | None

    def rows(self, order: Any) -> list[Row] | Row | None:
        name, joined = drawn_models.text(self.name, order), drawn_models.text(self.joined, order)
        if name is not None and "bad" in name:
            raise LookupError(name)
        moment = order.placed_at if self.day == "" else getattr(order, self.day) if self.day else "2026-01-01"
        if name is None or joined is None or moment is None or not self._has(order):
            return None
        units = drawn_models.units(self.amount, order) * self.factor
        price = Decimal(f"{units}E-{self.places}") if self.places else units
        day = (moment[:10],) * (self.day is not None)
        rows = [
            Row((join(each, joined) if self.joined else each, *day), {"price": price, "orders": 1})
            for each in (name.split() if self.per_word else [name])
        ]
        return rows if self.per_word else rows[0]

    def _has(self, order: Any) -> bool:
        if self.only is None:
            return True
        field, wanted = self.only
        value = getattr(order, field.name)
        if value is None or field.kind in ("choice", "boolean"):
            return drawn_models.text(field, order) == wanted
        return drawn_models.units(field, order) > int(wanted)

    def declare(self, number: int) -> None:
        function = lambda order: self.rows(order)  # noqa: E731
        function.__name__ = f"view{number}"
        keep = Keep(self.keep, "day") if self.keep else None
        key = ("name",) if self.day is None else ("name", "day")
        declare(function, f"Table{number}", key, {"price": self.places, "orders": 0}, keep=keep)

    def query(self, database: sqlite3.Connection, order_ids: Iterable[str]) -> Rows:
        """Return the rows for these orders according to SQL."""
        name = "word" if self.per_word else _column(self.name)
        wanted = [
            "id IN (SELECT value FROM json_each(?))",
            f"{name} IS NOT NULL",
            f"instr({_column(self.name)}, 'bad') = 0",
        ]
        if self.joined:
            name = f"{_escaped(name)} || '|' || {_escaped(_column(self.joined))}"
            wanted.append(f"{_column(self.joined)} IS NOT NULL")
        day = "day" if self.day == "" else f"date({self.day})"
        if self.day is not None:
            wanted.append(f"{day} IS NOT NULL")
        values = [json.dumps([*order_ids])]
        if self.only:
            field, value = self.only
            is_text = field.kind in ("choice", "boolean")
            wanted.append(f"{field.name} = ?" if is_text else f"is_larger({field.name}, ?)")
            values.append(value)
        columns = name if self.day is None else f"{name}, {day}"
        words = f"JOIN words USING (id) WHERE field = '{_column(self.name)}' AND" if self.per_word else "WHERE"
        amount = f"coalesce({self.amount.name}, '0')" if self.amount else "'1'"
        found = database.execute(
            f"SELECT exact_sum({amount}, ?), count(*), {columns} FROM orders {words}"
            f" {' AND '.join(wanted)} GROUP BY {columns}",
            (str(self.factor), *values),
        )
        rows = ((key, Decimal(f"{units}E-{self.places}"), count) for units, count, *key in found)
        return {tuple(key): {"price": price, "orders": count} for key, price, count in rows}

    def frozen(self, key: tuple[str, ...], now: int) -> bool:
        """Return whether a row has stopped changing. Compute this without the app's code."""
        if self.keep is None:
            return False
        (end,) = (
            sqlite3.connect(":memory:").execute("SELECT unixepoch(?, ?)", (key[1], f"+{self.keep + 1} days")).fetchone()
        )
        return bool(end <= now)


def _column(field: DrawnField | None) -> str:
    """Return the SQL expression for a field as a view's key has it."""
    if field is None:
        return "'all'"
    return f"date({field.name})" if field.kind == "timestamp" else field.name


def _escaped(column: str) -> str:
    return f"replace(replace({column}, '%', '%25'), '|', '%7C')"


class ExactSum:
    """An SQL function that returns the sum of quantity * factor, exact at any size, as text."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, quantity: Any, factor: Any) -> None:
        self.total += int(quantity) * int(factor)

    def finalize(self) -> str:
        return str(self.total)


@st.composite
def definitions(draw: Any, fields: tuple[DrawnField, ...]) -> Definition:
    in_keys = [fields[0], None, *(field for field in fields if field.kind != "decimal")]
    numbers = [field for field in fields if field.kind in ("whole", "decimal")]
    name = draw(st.sampled_from(in_keys))
    amount = draw(st.sampled_from([None, *numbers * 3]))
    times = ["", "", *(field.name for field in fields if field.kind == "timestamp")]
    day = draw(st.none() | st.sampled_from(times))
    places = amount.places if amount and amount.kind == "decimal" else draw(st.sampled_from([0, 2, 18]))
    is_large = amount is not None and max(amount.limits) > 10**18
    filters: list[tuple[DrawnField, str] | None] = [None, None, *((field, "1") for field in numbers)]
    filters += [(field, field.choices[0]) for field in fields if field.kind == "choice"]
    filters += [(field, "true") for field in fields if field.kind == "boolean"]
    return Definition(
        name,
        draw(st.sampled_from(in_keys)),
        name is not None and name.kind == "text" and draw(st.sampled_from([True, True, False])),
        day,
        amount,
        places,
        draw(st.sampled_from([1, -3, 0] if is_large else [1, -3, 10**9 + 7, 0])),
        draw(st.sampled_from(filters)),
        draw(st.sampled_from([None, 1, 40])) if day is not None else None,
    )


PLACED = st.sampled_from([None, 0, 1, 30, 50])  # How many days ago the order was placed.
ORDER_IDS = st.sampled_from(["a", "b", "c"])
ACTIONS = ["put"] * 5 + ["deliver"] * 4 + ["redeliver"] * 2 + [
    "cancel", "archive", "backfill", "audit", "days pass", "change a view", "add a view", "remove a view",
]  # fmt: skip


class Course:
    """A system under random events, and its orders as SQL rows."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.fields: tuple[DrawnField, ...] = self.draw(drawn_models.fields())
        self.open = ExitStack()  # Context managers that stay open until the end of the course.
        self.open.enter_context(changeable_views())
        self.open.enter_context(drawn_models.declared(self.fields))
        views.VIEWS.clear()
        self.definitions = dict(enumerate(self.draw(st.lists(definitions(self.fields), min_size=1, max_size=3))))
        self.removed: dict[int, Definition] = {}
        for number, definition in self.definitions.items():
            definition.declare(number)
        self.system = OrdersAndStream()
        self.dynamo = self.system.dynamo
        self.delivered = self.oldest_kept = 0
        self.stale = self.repair = self.inside = False
        self.frozen: dict[int, Rows] = {}
        self.unchecked: set[int] = set()  # Views that were removed while days passed.
        self.orders: dict[str, SqlOrder] = {}  # The valid orders in OrdersTable.
        self.archived: dict[str, tuple[SqlOrder, dict[int, Definition]]] = {}  # With the views at that time.
        self.inserted: dict[str, int] = {}
        self.dynamo.before_transaction = self.meanwhile

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    # --- Events ------------------------------------------------------------------------------

    def act(self, action: str) -> None:
        order_id = self.draw(ORDER_IDS)
        if action == "put":
            self.put(order_id)
        elif action == "cancel":
            self.system.remove(order_id)
            self.orders.pop(order_id, None)
        elif action == "archive":
            # Once archived, an order that is not yet updated in a changed view would never be updated.
            if self.stale:
                self.settle()
            if (existing := sorted(self.system.stream.items)) and not self.removed:
                order_id = self.draw(st.sampled_from(existing))
                self.system.remove(order_id, expired=True)
                if gone := self.orders.pop(order_id, None):
                    self.archived[order_id] = gone, dict(self.definitions)
        elif action in ("deliver", "redeliver"):
            self.deliver(again=action == "redeliver")
        elif action in ("backfill", "audit"):
            self.work(action)
        elif action == "days pass":
            self.let_days_pass(self.draw(st.sampled_from([1, 3, 45])))
        else:
            if self.archived and self.delivered < len(self.system.stream.records):
                self.settle()  # An archived order must be counted before a view changes.
            self.change_views(action)

    def put(self, order_id: str) -> None:
        values = self.draw(drawn_models.values(self.fields))
        days = self.draw(PLACED)
        stream = self.system.stream
        placed_at = None if days is None else timestamps.from_epoch(NOW - days * DAY)
        new = drawn_models.place(order_id, values, self.draw(st.booleans()), placed_at)
        if order_id not in stream.items:
            self.archived.pop(order_id, None)  # An order with the same id is the same order again.
            self.inserted[order_id] = stream.started + len(stream.records)
        self.system.put(new)
        self.orders.pop(order_id, None)
        if drawn_models.is_order(values):
            day = (placed_at or timestamps.from_epoch(self.inserted[order_id]))[:10]
            in_sql = {field.name: value.sql if value else None for field, value in values.items()}
            self.orders[order_id] = SqlOrder(day, in_sql)

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
            drawn = self.draw(definitions(self.fields))
            key = {"day": drawn.day or "" if old.day is not None else None, "keep": old.keep}
            new = drawn._replace(**key, amount=old.amount, places=old.places, factor=2)
            del views.VIEWS[f"Table{number}"]
            self.definitions[number] = new
            new.declare(number)
        elif action == "remove a view" and len(self.definitions) > 1:
            del views.VIEWS[f"Table{number}"]
            self.removed[number] = self.definitions.pop(number)
        elif action == "add a view" and len(self.definitions) < 4:
            number = min(self.removed, default=len(self.definitions) + len(self.removed))
            definition = self.removed.pop(number, None) or self.draw(definitions(self.fields))
            self.definitions[number] = definition
            definition.declare(number)
            self.dynamo.tables.setdefault(f"Table{number}", {})
            self.repair = True  # Orders may have been cancelled without the view, which only repair finds.
        self.stale = True

    def let_days_pass(self, days: int) -> None:
        self.settle()
        self.unchecked |= {*self.removed}
        now, database = self.dynamo.now + days * DAY, self.database()
        for number, definition in self.definitions.items():
            kept = self.frozen.setdefault(number, {})
            for key, row in self.expected_to_change(number, database).items():
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
        database = self.database()
        for number, definition in self.definitions.items():
            if number in self.unchecked:
                continue
            table = f"Table{number}"
            expected = {**self.expected_to_change(number, database), **self.frozen.get(number, {})}
            actual = {key: row for (name, key), row in counters.items() if name == table}
            assert actual == expected, definition
            for key, row in self.dynamo.tables[table].items():
                ttl = int(row.get("expiresAt", {"N": 0})["N"])
                assert ttl == (0 if definition.keep is None else ttl)
                assert not definition.keep or (
                    definition.frozen(key, ttl - DAY) and not definition.frozen(key, ttl - DAY - 1)
                )
        for order_id, order in self.orders.items():
            entry = self.dynamo.entry(order_id)
            if entry.status is Status.COUNTED:
                failing = {
                    f"view{number}"
                    for number, each in self.definitions.items()
                    if each.name and "bad" in (order.values[each.name.name] or "")
                }
                assert {name for name in entry.problems if name in {f"view{n}" for n in self.definitions}} == failing

    def database(self) -> sqlite3.Connection:
        """Return a database with all orders. Numbers are whole and stored as text, so that none is rounded."""
        database = sqlite3.connect(":memory:")
        database.create_aggregate("exact_sum", 2, ExactSum)  # type: ignore[arg-type]
        database.create_function("is_larger", 2, lambda number, other: number is not None and int(number) > int(other))
        names = [field.name for field in self.fields]
        database.execute(f"CREATE TABLE orders (id, day, {' TEXT, '.join(names)} TEXT)")
        database.execute("CREATE TABLE words (id, field, word)")
        for order_id, order in [*self.orders.items(), *((id, order) for id, (order, _) in self.archived.items())]:
            row = (order_id, order.day, *(order.values[name] for name in names))
            database.execute(f"INSERT INTO orders VALUES ({', '.join('?' * len(row))})", row)
            words = [(order_id, name, word) for name in names for word in (order.values[name] or "").split()]
            database.executemany("INSERT INTO words VALUES (?, ?, ?)", words)
        return database

    def expected_to_change(self, number: int, database: sqlite3.Connection) -> Rows:
        """Return the rows that are not frozen, for existing orders and for archived orders as they counted then."""
        definition = self.definitions[number]
        counted = {definition: {*self.orders}}
        for order_id, (_, by_number) in self.archived.items():
            if number in by_number:
                counted.setdefault(by_number[number], set()).add(order_id)
        sums: Rows = {}
        for each, order_ids in counted.items():
            for key, row in each.query(database, order_ids).items():
                before = sums.get(key, {})
                sums[key] = {name: before.get(name, 0) + amount for name, amount in row.items()}
        rows = {key: {name: amount for name, amount in row.items() if amount} for key, row in sums.items()}
        return {key: row for key, row in rows.items() if row and not definition.frozen(key, self.dynamo.now)}


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
        course = Course(data)
        with course.open:
            actions = st.lists(st.sampled_from(ACTIONS), min_size=4, max_size=20)
            for action in data.draw(st.sampled_from([[], ["put", "put", "archive"]])) + data.draw(actions):
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
