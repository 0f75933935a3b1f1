"""Views that change while the app runs: added, renamed, changed, removed, and added again (docs/views.md)."""

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
    """Three orders, counted by a version of the app without the trend."""
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    there = Shop()
    there.put(ordered(1), ordered(2), ordered(3, "Pen", 2))
    there.deliver()
    return there


@pytest.fixture
def add_trend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(view: View = TREND) -> None:
        monkeypatch.setitem(views.VIEWS, tables.TREND, view)

    return add


def backfilled(shop: Shop) -> int:
    work = backfill.request({})
    run(work, shop.dynamo)
    return work.changed


def audited(shop: Shop, repair: bool = False) -> dict[str, Any]:
    work = audit.request({"repair": repair})
    run(work, shop.dynamo)
    return work.to_json(0)


def trend(shop: Shop) -> dict[tuple[str, str], int]:
    there = shop.dynamo.tables[tables.TREND].items()
    return {(product, day): int(each["total"]["N"]) for (product, day), each in there if each["total"]["N"] != "0"}


def test_a_view_that_is_added_is_filled_by_a_backfill_and_an_audit_says_so(shop, add_trend):
    assert trend(shop) == {}
    add_trend()
    assert audited(shop)["orders"]["differing"] == 3
    assert backfilled(shop) == 3
    assert trend(shop) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert audited(shop)["verdict"] == "clean"
    assert backfilled(shop) == 0


def test_orders_that_change_before_the_backfill_gets_to_them_are_filled_in_by_the_stream(shop, add_trend):
    add_trend()
    shop.put(ordered(1, "Notebook", 7))
    shop.remove("o2")
    shop.deliver()
    assert trend(shop) == {("Notebook", "2026-11-01"): 7}
    assert backfilled(shop) == 1
    assert audited(shop)["verdict"] == "clean"


def test_a_new_view_does_not_know_of_orders_that_were_archived_before_it(shop, add_trend):
    shop.remove("o1", expired=True)
    shop.deliver()
    add_trend()
    backfilled(shop)
    assert trend(shop) == {("Notebook", "2026-11-02"): 5, ("Pen", "2026-11-03"): 2}
    assert audited(shop)["verdict"] == "clean"


def test_a_view_whose_function_is_renamed_stays_what_it_is(shop, add_trend):
    add_trend()
    backfilled(shop)

    def another_name(order: Order) -> tuple[tuple[str, ...], Increments] | None:
        return TREND.adds(order)

    add_trend(TREND._replace(adds=another_name))
    before = shop.state()
    assert backfilled(shop) == 0
    assert audited(shop)["verdict"] == "clean"
    assert shop.state() == before


def test_a_view_that_adds_something_else_than_before_is_brought_to_it_by_a_backfill(shop, add_trend):
    add_trend()
    backfilled(shop)

    def notebooks_only(order: Order) -> tuple[tuple[str, ...], Increments] | None:
        return TREND.adds(order) if order.product == "Notebook" else None

    add_trend(TREND._replace(adds=notebooks_only))
    assert audited(shop)["orders"]["differing"] == 1
    assert backfilled(shop) == 1
    assert trend(shop) == {("Notebook", "2026-11-01"): 5, ("Notebook", "2026-11-02"): 5}
    assert audited(shop)["verdict"] == "clean"


def removed_and_meanwhile(shop: Shop, add_trend: Any, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], int]:
    """The trend is filled, then taken out of the app; orders are amended, cancelled, placed. Returns what it held."""
    add_trend()
    backfilled(shop)
    held = trend(shop)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    shop.put(ordered(1, "Pen", 9), ordered(4))
    shop.remove("o2")
    shop.deliver()
    return held


def test_a_view_that_is_removed_stays_as_it_is_and_everything_else_goes_on(shop, add_trend, monkeypatch):
    held = removed_and_meanwhile(shop, add_trend, monkeypatch)
    assert trend(shop) == held
    assert backfilled(shop) == 0
    answer = audited(shop)
    assert (answer["verdict"], answer["counters"]["retired"]) == ("clean", 3)
    assert {product: total for product, total in shop.dynamo.totals().items() if total[0]} == {
        "Notebook": (5, 1),
        "Pen": (11, 2),
    }


@pytest.mark.parametrize("emptied", [False, True], ids=["with its table as it was", "with an empty table"])
def test_a_view_that_comes_back_is_exact_after_backfill_and_a_mending_audit(shop, add_trend, monkeypatch, emptied):
    removed_and_meanwhile(shop, add_trend, monkeypatch)
    if emptied:
        shop.dynamo.tables[tables.TREND].clear()
    add_trend()
    backfilled(shop)
    answer = audited(shop, repair=True)
    assert answer["verdict"] == "clean"
    assert answer["orders"]["orphaned"] == 1, "the order that was cancelled while the view was away"
    assert trend(shop) == {("Pen", "2026-11-01"): 9, ("Pen", "2026-11-03"): 2, ("Notebook", "2026-11-04"): 5}
    assert shop.dynamo.counters() == shop.truth()
    assert audited(shop)["verdict"] == "clean"


def test_a_view_that_gets_another_table_is_a_new_one_and_the_old_table_is_left_alone(shop, add_trend, monkeypatch):
    """As seen from the ledger: what was added to the old table stays, and a backfill fills the new one."""
    add_trend()
    backfilled(shop)
    held = trend(shop)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    monkeypatch.setitem(views.VIEWS, "DayTable", TREND._replace(table="DayTable"))
    monkeypatch.setitem(tables.KEYS, "DayTable", TREND.key)
    monkeypatch.setitem(NAMES, "DayTable", "DayTable")
    shop.dynamo.tables["DayTable"] = {}
    assert backfilled(shop) == 3
    assert trend(shop) == held
    assert {key: each["total"]["N"] for key, each in shop.dynamo.tables["DayTable"].items()} == {
        key: str(total) for key, total in held.items()
    }
    answer = audited(shop)
    assert (answer["verdict"], answer["counters"]["retired"]) == ("clean", 3)
