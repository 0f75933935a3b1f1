"""Changes of views between versions of the app: added, changed, removed and added again (docs/views.md)."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import tables, views
from chalicelib.jobs import audit, backfill
from chalicelib.orders import Order
from chalicelib.views import Increments, View
from tests.doubles import NAMES, run
from tests.shop import Shop
from tests.streams import item

TREND = views.VIEWS[tables.TREND]


def ordered(number: int, product: str = "Notebook", quantity: int = 5) -> dict[str, Any]:
    return item(f"o{number}", product, quantity, PlacedAt={"S": f"2026-11-0{number}T10:00:00Z"})


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a shop with three orders, counted by a version of the app without the trend view."""
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    result = Shop()
    result.put(ordered(1), ordered(2), ordered(3, "Pen", 2))
    result.deliver()
    return result


@pytest.fixture
def add_trend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(view: View = TREND) -> None:
        monkeypatch.setitem(views.VIEWS, tables.TREND, view)

    return add


def run_backfill(shop: Shop) -> int:
    """Run a backfill and return how many entries it changed."""
    work = backfill.request({})
    run(work, shop.dynamo)
    return work.changed


def run_audit(shop: Shop, repair: bool = False) -> dict[str, Any]:
    """Run an audit and return its result."""
    work = audit.request({"repair": repair})
    run(work, shop.dynamo)
    return work.to_json(0)


def trend(shop: Shop) -> dict[tuple[str, str], int]:
    """Return the quantities in TrendTable by product and day, without zeros."""
    items = shop.dynamo.tables[tables.TREND].items()
    return {(product, day): int(each["total"]["N"]) for (product, day), each in items if each["total"]["N"] != "0"}


def test_backfill_fills_a_new_view(shop, add_trend):
    assert trend(shop) == {}
    add_trend()
    assert run_audit(shop)["orders"]["differing"] == 3
    assert run_backfill(shop) == 3
    assert trend(shop) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert run_audit(shop)["verdict"] == "clean"
    assert run_backfill(shop) == 0


def test_stream_fills_a_new_view_for_orders_that_change_before_the_backfill(shop, add_trend):
    add_trend()
    shop.put(ordered(1, "Notebook", 7))
    shop.remove("o2")
    shop.deliver()
    assert trend(shop) == {("Notebook", "2026-11-01"): 7}
    assert run_backfill(shop) == 1
    assert run_audit(shop)["verdict"] == "clean"


def test_new_view_does_not_include_orders_archived_before_it(shop, add_trend):
    shop.remove("o1", expired=True)
    shop.deliver()
    add_trend()
    run_backfill(shop)
    assert trend(shop) == {("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert run_audit(shop)["verdict"] == "clean"


def test_renaming_a_view_function_changes_nothing(shop, add_trend):
    add_trend()
    run_backfill(shop)

    def another_name(order: Order) -> tuple[tuple[str, ...], Increments] | None:
        return TREND.function(order)

    add_trend(TREND._replace(function=another_name))
    before = shop.state()
    assert run_backfill(shop) == 0
    assert run_audit(shop)["verdict"] == "clean"
    assert shop.state() == before


def test_backfill_updates_a_view_whose_function_changed(shop, add_trend):
    add_trend()
    run_backfill(shop)

    def notebooks_only(order: Order) -> tuple[tuple[str, ...], Increments] | None:
        return TREND.function(order) if order.product == "Notebook" else None

    add_trend(TREND._replace(function=notebooks_only))
    assert run_audit(shop)["orders"]["differing"] == 1
    assert run_backfill(shop) == 1
    assert trend(shop) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5}
    assert run_audit(shop)["verdict"] == "clean"


def remove_trend_and_change_orders(
    shop: Shop, add_trend: Any, monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[str, str], int]:
    """Fill the trend view, remove it, then amend, place and cancel orders. Return the trend before the removal."""
    add_trend()
    run_backfill(shop)
    before = trend(shop)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    shop.put(ordered(1, "Pen", 9), ordered(4))
    shop.remove("o2")
    shop.deliver()
    return before


def test_removed_view_keeps_its_counters_and_other_views_are_exact(shop, add_trend, monkeypatch):
    before = remove_trend_and_change_orders(shop, add_trend, monkeypatch)
    assert trend(shop) == before
    assert run_backfill(shop) == 0
    result = run_audit(shop)
    assert (result["verdict"], result["counters"]["retired"]) == ("clean", 3)
    assert {product: total for product, total in shop.dynamo.totals().items() if total[0]} == {
        "Notebook": (5, 1),
        "Pen": (11, 2),
    }


@pytest.mark.parametrize("emptied", [False, True], ids=["table kept", "table emptied"])
def test_view_added_again_is_exact_after_backfill_and_repair(shop, add_trend, monkeypatch, emptied):
    remove_trend_and_change_orders(shop, add_trend, monkeypatch)
    if emptied:
        shop.dynamo.tables[tables.TREND].clear()
    add_trend()
    run_backfill(shop)
    result = run_audit(shop, repair=True)
    assert result["verdict"] == "clean"
    assert result["orders"]["orphaned"] == 1, "the order that was cancelled while the view was removed"
    assert trend(shop) == {("Pen", "2026-11-01"): 9, ("Pen", "2026-11-03"): 2, ("Notebook", "2026-11-04"): 5}
    assert shop.dynamo.counters() == shop.truth()
    assert run_audit(shop)["verdict"] == "clean"


def test_view_with_another_table_is_a_new_view_and_the_old_table_is_kept(shop, add_trend, monkeypatch):
    """The ledger keeps the contributions to the old table. A backfill fills the new one."""
    add_trend()
    run_backfill(shop)
    before = trend(shop)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    monkeypatch.setitem(views.VIEWS, "DayTable", TREND._replace(table="DayTable"))
    monkeypatch.setitem(tables.KEYS, "DayTable", TREND.key)
    monkeypatch.setitem(NAMES, "DayTable", "DayTable")
    shop.dynamo.tables["DayTable"] = {}
    assert run_backfill(shop) == 3
    assert trend(shop) == before
    assert {key: each["total"]["N"] for key, each in shop.dynamo.tables["DayTable"].items()} == {
        key: str(total) for key, total in before.items()
    }
    result = run_audit(shop)
    assert (result["verdict"], result["counters"]["retired"]) == ("clean", 3)
