"""Tests for new versions of the app that add, change, remove or restore views (docs/adapt.md)."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import model, tables, views
from chalicelib.jobs import audit, backfill
from chalicelib.orders import Order
from chalicelib.views import Row, View
from tests.doubles import NAMES, run
from tests.orders_and_stream import OrdersAndStream
from tests.streams import item

TREND = views.VIEWS[tables.TREND]


def ordered(number: int, product: str = "Notebook", quantity: int = 5) -> dict[str, Any]:
    return item(f"o{number}", product, quantity, PlacedAt={"S": f"2026-11-0{number}T10:00:00Z"})


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> OrdersAndStream:
    """Return a system with three orders, counted by a version of the app without the trend."""
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    created = OrdersAndStream()
    created.put(ordered(1), ordered(2), ordered(3, "Pen", 2))
    created.deliver()
    return created


@pytest.fixture
def add_trend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(view: View = TREND) -> None:
        monkeypatch.setitem(views.VIEWS, tables.TREND, view)

    return add


def backfilled(system: OrdersAndStream) -> int:
    work = backfill.request({})
    run(work, system.dynamo)
    return work.changed


def audited(system: OrdersAndStream, repair: bool = False) -> dict[str, Any]:
    work = audit.request({"repair": repair})
    run(work, system.dynamo)
    return work.to_json(0)


def trend(system: OrdersAndStream) -> dict[tuple[str, str], int]:
    items = system.dynamo.tables[tables.TREND].items()
    return {(product, day): int(each["total"]["N"]) for (product, day), each in items if each["total"]["N"] != "0"}


def test_a_backfill_fills_a_new_view_and_an_audit_confirms_it(system, add_trend):
    assert trend(system) == {}
    add_trend()
    assert audited(system)["orders"]["differing"] == 3
    assert backfilled(system) == 3
    assert trend(system) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert audited(system)["verdict"] == "clean"
    assert backfilled(system) == 0


def test_the_stream_fills_a_new_view_for_orders_that_change_before_the_backfill(system, add_trend):
    add_trend()
    system.put(ordered(1, "Notebook", 7))
    system.remove("o2")
    system.deliver()
    assert trend(system) == {("Notebook", "2026-11-01"): 7}
    assert backfilled(system) == 1
    assert audited(system)["verdict"] == "clean"


def test_a_new_view_does_not_count_orders_that_were_archived_before(system, add_trend):
    system.remove("o1", expired=True)
    system.deliver()
    add_trend()
    backfilled(system)
    assert trend(system) == {("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert audited(system)["verdict"] == "clean"


def test_renaming_a_views_function_changes_nothing(system, add_trend):
    add_trend()
    backfilled(system)

    def another_name(order: Order) -> Row | None:
        return model.trend(order)

    add_trend(TREND._replace(function=another_name))
    before = system.state()
    assert backfilled(system) == 0
    assert audited(system)["verdict"] == "clean"
    assert system.state() == before


def test_a_backfill_updates_a_view_whose_function_has_changed(system, add_trend):
    add_trend()
    backfilled(system)

    def notebooks_only(order: Order) -> Row | None:
        return model.trend(order) if order.product == "Notebook" else None

    add_trend(TREND._replace(function=notebooks_only))
    assert audited(system)["orders"]["differing"] == 1
    assert backfilled(system) == 1
    assert trend(system) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5}
    assert audited(system)["verdict"] == "clean"


def remove_trend_and_change_orders(
    system: OrdersAndStream, add_trend: Any, monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[str, str], int]:
    """Fill the trend and remove it from the app, then change orders. Return the trend as it was when removed."""
    add_trend()
    backfilled(system)
    before = trend(system)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    system.put(ordered(1, "Pen", 9), ordered(4))
    system.remove("o2")
    system.deliver()
    return before


def test_a_removed_view_stays_unchanged_and_the_others_keep_counting(system, add_trend, monkeypatch):
    before = remove_trend_and_change_orders(system, add_trend, monkeypatch)
    assert trend(system) == before
    assert backfilled(system) == 0
    result = audited(system)
    assert result["verdict"] == "clean"
    assert {product: total for product, total in system.dynamo.totals().items() if total[0]} == {
        "Notebook": (5, 1),
        "Pen": (11, 2),
    }


@pytest.mark.parametrize("emptied", [False, True], ids=["with its old table", "with an empty table"])
def test_a_view_that_returns_is_exact_after_a_backfill_and_an_audit_with_repair(
    system, add_trend, monkeypatch, emptied
):
    remove_trend_and_change_orders(system, add_trend, monkeypatch)
    if emptied:
        system.dynamo.tables[tables.TREND].clear()
    add_trend()
    backfilled(system)
    result = audited(system, repair=True)
    assert result["verdict"] == "clean"
    assert result["orders"]["orphaned"] == 1, "the order that was cancelled while the view was removed"
    assert trend(system) == {("Pen", "2026-11-01"): 9, ("Pen", "2026-11-03"): 2, ("Notebook", "2026-11-04"): 5}
    assert system.dynamo.counters() == system.truth()
    assert audited(system)["verdict"] == "clean"


def test_a_view_that_gets_another_table_is_a_new_view_and_the_old_table_stays_unchanged(system, add_trend, monkeypatch):
    """The ledger keeps the contributions to the old table, and a backfill fills the new one."""
    add_trend()
    backfilled(system)
    before = trend(system)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    monkeypatch.setitem(views.VIEWS, "DayTable", TREND._replace(table="DayTable"))
    monkeypatch.setitem(tables.KEYS, "DayTable", TREND.key)
    monkeypatch.setitem(NAMES, "DayTable", "DayTable")
    system.dynamo.tables["DayTable"] = {}
    assert backfilled(system) == 3
    assert trend(system) == before
    assert {key: each["total"]["N"] for key, each in system.dynamo.tables["DayTable"].items()} == {
        key: str(total) for key, total in before.items()
    }
    result = audited(system)
    assert result["verdict"] == "clean"
