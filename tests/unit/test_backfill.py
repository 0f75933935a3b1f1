"""Tests for the backfill: what it changes, live traffic during it, and resuming from any cursor."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chalicelib import effects, views
from chalicelib.counting import ledger
from chalicelib.counting.ledger import Entry, Status, absent
from chalicelib.jobs import backfill as backfills
from chalicelib.jobs import invocation
from chalicelib.jobs.invocation import BadRequest
from chalicelib.orders import Order
from chalicelib.views import Row
from tests.doubles import NOW, FakeDynamoDB, commit, deliver, run
from tests.extra_views import changeable_views, declare
from tests.orders_and_stream import OrdersAndStream
from tests.streams import Stream, item


def entries(dynamo: FakeDynamoDB, *order_ids: str) -> dict[str, Entry]:
    return {order_id: dynamo.entry(order_id) for order_id in order_ids}


def test_only_orders_that_do_not_match_their_entries_are_read_again():
    dynamo, placed = FakeDynamoDB(), Stream()
    placed.put(item("same"))
    placed.put(item("other"))
    deliver(placed.records, dynamo)
    items = {"same": item("same"), "other": item("other", quantity=6), "new": item("new")}
    assert backfills.mismatched(entries(dynamo, *items), items, NOW) == ["other", "new"]


def test_missing_orders_are_counted_and_wrong_entries_corrected():
    dynamo, placed = FakeDynamoDB(), Stream()
    placed.put(item("other"))
    deliver(placed.records, dynamo)
    items = {"other": item("other", quantity=6), "new": item("new", "Pen")}
    work = commit(backfills.reconciliation(entries(dynamo, *items).values(), items, NOW), dynamo)
    assert dynamo.totals() == {"Notebook": (6, 1), "Pen": (5, 1)}
    assert (work.counts.applied, work.stale) == (2, [])


def test_a_second_run_writes_nothing():
    dynamo = FakeDynamoDB()
    items = {"new": item("new")}
    commit(backfills.reconciliation(entries(dynamo, "new").values(), items, NOW), dynamo)
    again = commit(backfills.reconciliation(entries(dynamo, "new").values(), items, NOW + 9999), dynamo)
    assert again.counts.transactions == 0


def test_an_entry_without_an_order_is_left_to_the_stream():
    dynamo, placed = FakeDynamoDB(), Stream()
    placed.put(item("orphaned"))
    deliver(placed.records, dynamo)
    commit(backfills.reconciliation(entries(dynamo, "orphaned").values(), {}, NOW), dynamo)
    deliver([placed.remove("orphaned", expired=True)], dynamo)
    assert dynamo.totals() == {"Notebook": (5, 1)}


def test_an_entry_that_the_stream_has_changed_meanwhile_is_stale():
    dynamo, placed = FakeDynamoDB(), Stream()
    looked_at = entries(dynamo, "o").values()
    work = backfills.reconciliation(looked_at, {"o": item("o", quantity=6)}, NOW)
    placed.put(item("o", quantity=6))
    placed.put(item("o", quantity=7))
    deliver(placed.records, dynamo)
    commit(work, dynamo)
    assert work.stale == ["o"]
    assert dynamo.totals() == {"Notebook": (7, 1)}


STEPS: dict[str, Callable[[OrdersAndStream], None]] = {
    "placed": lambda shop: shop.put(item("o")),
    "amended": lambda shop: shop.put(item("o", quantity=7)),
    "back": lambda shop: shop.put(item("o")),
    "cancelled": lambda shop: shop.remove("o"),
    "placed again": lambda shop: shop.put(item("o", "Pen", 2)),
}
# The moments before each step of a one-order backfill (page, entry, clock, entry, item, commit) and after the last.
MOMENTS = range(7)


@pytest.mark.parametrize("written_at", list(itertools.combinations_with_replacement(MOMENTS, 3)), ids=str)
@pytest.mark.parametrize(
    "story", [("placed", "amended", "back"), ("placed", "cancelled", "placed again")], ids="-".join
)
def test_a_backfill_during_deliveries_keeps_totals_exact_at_any_moment(
    story: tuple[str, ...], written_at: tuple[int, ...]
):
    """Write the order and deliver the stream at every possible point of a backfill."""
    for delivered_at in itertools.combinations_with_replacement(MOMENTS, 2):
        shop = OrdersAndStream()
        moment = iter(range(1000))

        def happen(step: object) -> None:
            now = next(moment)  # noqa: B023 (It is called only within this iteration.)
            for at, what in zip(written_at, story, strict=True):
                if at == now:
                    STEPS[what](shop)  # noqa: B023
            if now in delivered_at:  # noqa: B023
                shop.deliver()  # noqa: B023

        run(backfills.request({}), shop.dynamo, before_each=happen)
        for _ in MOMENTS:  # The backfill may have ended before the last events.
            happen(None)
        shop.deliver()
        assert shop.dynamo.counters() == shop.truth()
        assert ledger.order_status(shop.dynamo.entry("o"), shop.stream.items["o"]) == {"counted": True}


def test_an_order_that_changes_during_the_backfill_is_read_again():
    """The stream counts a change after the backfill has read the order. The backfill must not undo it."""
    shop = OrdersAndStream()
    shop.put(item("o", quantity=6))
    shop.lose()

    def amend(step: object) -> None:
        if isinstance(step, effects.Transact) and shop.stream.items["o"]["Quantity"]["N"] == "6":
            shop.put(item("o", quantity=7))
            shop.deliver()
            shop.put(item("o", quantity=8))
            shop.lose()

    run(backfills.request({}), shop.dynamo, before_each=amend)
    assert shop.dynamo.totals() == {"Notebook": (8, 1)}


def test_a_repair_cancels_an_entry_without_an_order():
    dynamo, placed = FakeDynamoDB(), Stream()
    placed.put(item("orphaned"))
    deliver(placed.records, dynamo)
    commit(backfills.reconciliation(entries(dynamo, "orphaned").values(), {}, NOW, repair=True), dynamo)
    assert dynamo.totals() == {"Notebook": (0, 0)}
    assert dynamo.entry("orphaned").status is Status.CANCELLED


def test_an_order_that_never_existed_matches_its_absent_entry():
    assert ledger.reconcile(absent("o"), None, NOW) == absent("o")


# --- The job as a whole --------------------------------------------------------------------------


def written(dynamo: FakeDynamoDB, *orders: dict[str, Any]) -> None:
    dynamo.tables["OrdersTable"].update({(order["OrderID"]["S"],): order for order in orders})


def test_a_backfill_reads_the_whole_table_and_reports_its_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backfills, "PAGE_ORDERS", 40)
    dynamo = FakeDynamoDB()
    written(dynamo, *(item(f"o{n}", f"P{n % 3}") for n in range(100)), item("bad", quantity=0))
    work = backfills.request({})
    run(work, dynamo)
    assert (work.done, work.orders, work.changed, work.rejected) == (True, 101, 101, 1)
    assert sum(count for _, count in dynamo.totals().values()) == 100

    before = dynamo.transactions
    again = backfills.request({})
    run(again, dynamo)
    assert (again.done, again.orders, again.changed, again.rejected) == (True, 101, 0, 1)
    assert dynamo.transactions == before


def test_backfill_names_some_of_the_orders_that_a_view_fails_to_count(monkeypatch: pytest.MonkeyPatch):
    def fails(order: Order) -> Row:
        if order.product == "Pen":
            raise KeyError(order.product)
        return Row((order.product,), {"count": 1})

    with changeable_views():
        declare(fails)
        dynamo = FakeDynamoDB()
        monkeypatch.setattr(backfills, "PAGE_ORDERS", 10)
        written(dynamo, item("fine"), item("bad", quantity=0), *(item(f"o{n}", "Pen") for n in range(25)))
        for changed in (27, 0):  # The second backfill finds the problems in the ledger.
            work = backfills.request({})
            run(work, dynamo)
            response = work.to_json(0)
            assert [response[name] for name in ("changed", "rejected", "viewProblems")] == [changed, 1, 25]
            assert len(response["viewProblemOrders"]) == 20
            assert (
                response["viewProblemOrders"].items()
                <= {f"o{n}": {"fails": "raises KeyError"} for n in range(25)}.items()
            )


def test_segments_together_read_the_whole_table_once():
    dynamo = FakeDynamoDB()
    written(dynamo, *(item(f"o{n}") for n in range(100)))
    parts = [backfills.request({"segment": segment, "segments": 4}) for segment in range(4)]
    for part in parts:
        run(part, dynamo)
    assert sum(part.orders for part in parts) == 100
    assert all(part.orders for part in parts)
    assert dynamo.totals() == {"Notebook": (500, 100)}


@pytest.mark.parametrize("event", [{}, {"segment": 1, "segments": 2}])
def test_a_backfill_continues_from_its_cursor_at_every_checkpoint(
    event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backfills, "PAGE_ORDERS", 7)
    whole = FakeDynamoDB()
    written(whole, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    run(backfills.request(event), whole)

    dynamo, seen = FakeDynamoDB(), 0
    asked: dict[str, Any] | None = event
    written(dynamo, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    while asked is not None:
        work = backfills.request({**asked, "seconds": 1})
        run(work, dynamo, checkpoints=1)
        seen += work.orders
        cursor = work.to_json(0)["cursor"]
        asked = None if cursor is None else {"cursor": cursor}
    assert dynamo.totals() == whole.totals()
    assert seen == len(whole.tables["LedgerTable"])


def test_an_order_that_dynamodb_refuses_is_reported_and_the_others_are_counted():
    dynamo = FakeDynamoDB()
    written(dynamo, *(item(f"o{n}") for n in range(20)), item("poison", "Poison"))

    def refuse(wanted: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]] | None:
        poison = any(action.get("Put", {}).get("Item", {}).get("OrderID") == {"S": "poison"} for action in wanted)
        return [{"Code": "ValidationError", "Message": "no number"}] if poison else None

    dynamo.refuse = refuse
    work = backfills.request({})
    run(work, dynamo)
    assert dynamo.totals() == {"Notebook": (100, 20)}
    answer = work.to_json(0)
    assert (answer["done"], answer["changed"], answer["uncountable"]) == (True, 20, 1)
    assert "no number" in answer["uncountableOrders"]["poison"]


# --- Options and cursors ------------------------------------------------------------------


def test_a_backfill_begins_at_the_first_order_or_at_its_cursor():
    for event in (None, {}, {"cursor": None}):
        assert backfills.request(event).start is None
    cursor = invocation.cursor("backfill", {"start": ["o"], "segment": 1, "segments": 2})
    again = backfills.request({"cursor": cursor, "seconds": 5})
    assert (again.start, again.segment, again.segments, again.seconds) == (("o",), 1, 2, 5)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"cursor": 5}, "damaged"),
        ({"cursor": ""}, "damaged"),
        ({"cursor": "o"}, "damaged"),
        ({"cursors": "o"}, "no option cursors"),
        ({"segment": 2, "segments": 2}, "below segments"),
        ({"segments": 0}, "segments must be"),
        ({"segments": True}, "segments must be"),
        ({"seconds": "60"}, "seconds must be"),
    ],
)
def test_other_options_are_refused(event: dict[str, Any], why: str):
    with pytest.raises(BadRequest, match=why):
        backfills.request(event)


# --- Cursors -------------------------------------------------------------------------------------


ANY: Any = dict[str, Any]


def test_a_cursor_returns_the_state_that_it_was_made_from():
    state = {"start": ["Étui 📓", "2026-11-23"], "sums": {"a": 5}}
    assert invocation.state("audit", invocation.cursor("audit", state), ANY) == state


def test_a_cursor_that_is_damaged_anywhere_is_refused():
    cursor = invocation.cursor("audit", {"start": ["o"]})
    for at in range(len(cursor)):
        for damaged in (cursor[:at], cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]):
            with pytest.raises(BadRequest, match="cursor"):
                invocation.state("audit", damaged, ANY)


def test_a_cursor_of_another_job_or_of_other_views_is_refused(monkeypatch: pytest.MonkeyPatch):
    cursor = invocation.cursor("audit", {})
    with pytest.raises(BadRequest, match="from audit"):
        invocation.state("backfill", cursor, ANY)
    monkeypatch.delitem(views.VIEWS, "TrendTable")
    with pytest.raises(BadRequest, match="views have changed"):
        invocation.state("audit", cursor, ANY)
