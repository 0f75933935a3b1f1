"""Tests for rows with a limited lifetime: they freeze, TTL deletes them, and the audit does not call that drift."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import tables, timestamps, views
from chalicelib.counting.ledger import TOMBSTONE_SECONDS, Status
from chalicelib.jobs import audit, backfill
from chalicelib.orders import Order
from chalicelib.views import Keep, Row
from infrastructure.tables import all_tables
from tests.doubles import NOW, run
from tests.extra_views import changeable_views, declare
from tests.orders_and_stream import OrdersAndStream
from tests.streams import item

DAY = 24 * 60 * 60
TODAY = NOW // DAY * DAY
KEPT_DAYS = 40
END = TODAY + (KEPT_DAYS + 1) * DAY  # Today's rows freeze at this time.


def per_day(order: Order) -> Row:
    return Row((order.product, order.placed_at[:10]), {"count": 1, "sum": order.quantity})


@pytest.fixture(autouse=True)
def _views() -> Iterator[None]:
    """Replace all views with one whose rows expire."""
    with changeable_views():
        views.VIEWS.clear()
        declare(per_day, "DayTable", ("name", "day"), ("count", "sum"), keep=Keep(KEPT_DAYS, "day"))
        yield


def placed(order_id: str, product: str = "Pen", quantity: int = 5, days_ago: int = 0) -> dict[str, Any]:
    return item(order_id, product, quantity, PlacedAt={"S": timestamps.from_epoch(NOW - days_ago * DAY)})


class System(OrdersAndStream):
    """Orders, a clock, and DynamoDB's TTL."""

    def at(self, seconds: int) -> None:
        """Move the clock to a time."""
        self.dynamo.now = seconds
        self.stream.started = seconds - len(self.stream.records)

    def expire(self) -> None:
        """Delete all expired items, as TTL would."""
        for table in tables.expiring():
            items = self.dynamo.tables[table]
            for key in [
                key
                for key, each in items.items()
                if int(each.get("expiresAt", {}).get("N", END * 9)) <= self.dynamo.now
            ]:
                del items[key]

    @property
    def rows(self) -> dict[tuple[str, ...], int]:
        return {key: int(row["sum"]["N"]) for key, row in self.dynamo.tables["DayTable"].items()}

    def backfill(self) -> int:
        work = backfill.request({})
        run(work, self.dynamo)
        return work.changed

    def audit(self) -> dict[str, Any]:
        work = audit.request({})
        run(work, self.dynamo)
        return work.to_json(0)

    def expect_agreement(self) -> None:
        """Expect a clean audit, and a backfill that writes nothing."""
        before = self.state()
        assert (self.audit()["verdict"], self.backfill()) == ("clean", 0)
        assert self.state() == before


@pytest.fixture
def system() -> System:
    created = System()
    created.put(placed("a"), placed("b", quantity=2))
    created.deliver()
    return created


PEN_TODAY = ("Pen", timestamps.from_epoch(NOW)[:10])


def test_row_and_entries_have_the_time_at_which_ttl_deletes_them(system: System):
    assert system.dynamo.tables["DayTable"][PEN_TODAY]["expiresAt"] == {"N": str(END + DAY)}
    assert system.dynamo.entry("a").expires_at == END + DAY
    assert {table.logical_name for table in all_tables("local") if table.ttl} == {"LedgerTable", "DayTable"}


@pytest.mark.parametrize("change", ["amend", "cancel", "move", "place"])
def test_change_counts_until_the_row_freezes_and_never_after_it(system: System, change: str):
    def make(quantity: int) -> None:
        if change == "amend":
            system.put(placed("a", quantity=quantity))
        elif change == "cancel":
            system.remove("a" if quantity == 6 else "b")
        elif change == "move":
            system.put(placed("a", "Ink" if quantity == 6 else "Cap"))
        else:
            system.put(placed(f"new{quantity}", quantity=quantity))
        system.deliver()

    system.at(END - 1)
    make(6)
    before = {"amend": {"Pen": 8}, "cancel": {"Pen": 2}, "move": {"Pen": 2, "Ink": 5}, "place": {"Pen": 13}}[change]
    assert {name: total for (name, _), total in system.rows.items()} == before
    system.at(END)
    make(9)
    assert {name: total for (name, _), total in system.rows.items()} == before
    system.expect_agreement()


def test_frozen_row_that_ttl_has_deleted_does_not_return(system: System):
    system.at(END + DAY)
    system.expire()
    assert system.rows == {}
    assert system.dynamo.tables[tables.LEDGER] == {}
    system.expect_agreement()
    system.put(placed("a", quantity=9))
    system.remove("b")
    system.deliver()
    assert system.rows == {}
    assert {order_id: system.dynamo.entry(order_id).status for order_id in "ab"} == {
        "a": Status.COUNTED,
        "b": Status.CANCELLED,
    }
    system.expect_agreement()


def test_late_order_for_a_frozen_day_creates_no_row(system: System):
    system.put(placed("late", "Cap", days_ago=KEPT_DAYS + 1), placed("prompt", "Cap", days_ago=KEPT_DAYS))
    system.deliver()
    assert [key for key in system.rows if key[0] == "Cap"] == [
        ("Cap", timestamps.from_epoch(NOW - KEPT_DAYS * DAY)[:10])
    ]
    system.expect_agreement()


def test_audit_ignores_rows_that_freeze_within_two_days_and_checks_the_others(system: System):
    system.dynamo.tables["DayTable"][PEN_TODAY]["sum"] = {"N": "99"}
    system.at(END - 2 * DAY - 60)  # One minute before the limit, because an audit takes a few seconds.
    assert system.audit()["counters"]["drifted"] == 1
    system.at(END - 2 * DAY)
    result = system.audit()
    assert (result["verdict"], result["counters"]["checked"]) == ("clean", 0)


def test_repair_of_a_row_keeps_its_time_of_deletion(system: System):
    del system.dynamo.tables["DayTable"][PEN_TODAY]
    work = audit.request({"repair": True})
    run(work, system.dynamo)
    row = system.dynamo.tables["DayTable"][PEN_TODAY]
    assert (row["sum"], row["expiresAt"]) == ({"N": "7"}, {"N": str(END + DAY)})


def test_entry_never_expires_before_a_tombstone_would():
    system = System()
    system.put(placed("late", days_ago=KEPT_DAYS))
    system.deliver()
    assert system.dynamo.entry("late").expires_at == NOW + TOMBSTONE_SECONDS


def test_entry_of_an_order_without_rows_is_kept_as_long_as_any_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(views.VIEWS, "DayTable", views.VIEWS["DayTable"]._replace(function=lambda order: None))
    system = System()
    system.put(placed("a"))
    system.deliver()
    assert system.dynamo.entry("a").expires_at == NOW + KEPT_DAYS * DAY


@pytest.mark.parametrize(
    "placed_at", [{}, {"PlacedAt": {"S": "soon"}}, {"PlacedAt": {"N": "5"}}, {"PlacedAt": {"S": ""}}]
)
def test_entry_of_an_order_without_placed_at_never_expires(placed_at: dict[str, Any]):
    """If the entry expired, a backfill would count the order again, on the day of the backfill."""
    system = System()
    system.put(item("a", "Pen", **placed_at))
    system.deliver()
    assert system.dynamo.entry("a").expires_at is None
    system.at(END + DAY)
    system.expire()
    system.expect_agreement()
    assert system.rows == {}


def test_entry_never_expires_if_one_view_keeps_its_rows_forever():
    def for_ever(order: Order) -> Row:
        return Row((order.product,), {"count": 1})

    declare(for_ever)
    system = System()
    system.put(placed("a"))
    system.deliver()
    assert system.dynamo.entry("a").expires_at is None


def test_entry_stays_until_the_last_of_several_rows_is_deleted():
    def per_hour(order: Order) -> Row:
        return Row((order.placed_at[:13],), {"count": 1})

    declare(per_hour, key=("hour",), keep=Keep(KEPT_DAYS + 20, "hour"))
    system = System()
    system.put(placed("a"))
    system.deliver()
    assert system.dynamo.entry("a").expires_at == END + 21 * DAY


def test_archived_order_expires_with_its_rows_and_stays_counted_until_then(system: System):
    system.remove("a", expired=True)
    system.deliver()
    assert (system.dynamo.entry("a").status, system.dynamo.entry("a").expires_at) == (Status.ARCHIVED, END + DAY)
    assert system.rows == {PEN_TODAY: 7}
    system.expect_agreement()


def test_backfill_counts_orders_whose_rows_still_change_and_writes_nothing_for_the_others():
    system = System()
    system.put(placed("old", days_ago=KEPT_DAYS + 1), placed("new", "Cap", days_ago=KEPT_DAYS))
    system.lose()
    assert system.backfill() == 1
    assert [key[0] for key in system.rows] == ["Cap"]
    assert system.dynamo.entry("old").status is Status.ABSENT
    system.expect_agreement()


def test_rows_of_a_view_that_no_longer_expires_are_not_drift(system: System, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(views.VIEWS, "DayTable", views.VIEWS["DayTable"]._replace(keep=None))
    assert system.audit()["verdict"] == "clean"


def test_orders_of_a_model_without_views_are_counted_without_rows():
    views.VIEWS.clear()
    system = System()
    system.put(placed("a"))
    system.deliver()
    assert (system.dynamo.entry("a").status, system.dynamo.entry("a").expires_at) == (Status.COUNTED, None)
    system.expect_agreement()
