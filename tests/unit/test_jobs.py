"""The backfill's decisions: what differs, what may be replaced, and when to look again."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import jobs, ledger
from chalicelib.jobs import BadRequest
from chalicelib.ledger import Entry, absent
from chalicelib.settlement import Settlement
from tests.doubles import NOW, Dynamo, deliver, settle
from tests.streams import Stream, item


def entries(dynamo: Dynamo, *order_ids: str) -> dict[str, Entry]:
    return {order_id: dynamo.entry(order_id) for order_id in order_ids}


def test_only_what_differs_is_looked_at_again():
    dynamo, placed = Dynamo(), Stream()
    placed.put(item("same"))
    placed.put(item("other"))
    deliver(placed.records, dynamo)
    items = {"same": item("same"), "other": item("other", quantity=6), "new": item("new")}
    assert jobs.differing(entries(dynamo, *items), items, NOW) == ["other", "new"]


def test_what_is_missing_is_counted_and_what_is_wrong_is_mended():
    dynamo, placed = Dynamo(), Stream()
    placed.put(item("other"))
    deliver(placed.records, dynamo)
    items = {"other": item("other", quantity=6), "new": item("new", "Pen")}
    work = settle(jobs.comparison(entries(dynamo, *items).values(), items, NOW), dynamo)
    assert dynamo.totals() == {"Notebook": (6, 1), "Pen": (5, 1)}
    assert (work.counts.applied, work.stale) == (2, [])


def test_a_second_run_writes_nothing():
    dynamo = Dynamo()
    items = {"new": item("new")}
    settle(jobs.comparison(entries(dynamo, "new").values(), items, NOW), dynamo)
    again = settle(jobs.comparison(entries(dynamo, "new").values(), items, NOW + 9999), dynamo)
    assert again.counts.transactions == 0


def test_an_order_that_is_gone_is_left_to_the_stream():
    dynamo, placed = Dynamo(), Stream()
    placed.put(item("gone"))
    deliver(placed.records, dynamo)
    settle(jobs.comparison(entries(dynamo, "gone").values(), {}, NOW), dynamo)
    deliver([placed.remove("gone", by_ttl=True)], dynamo)
    assert dynamo.totals() == {"Notebook": (5, 1)}


def test_an_entry_that_the_stream_overtakes_is_stale_and_left_as_the_stream_made_it():
    dynamo, placed = Dynamo(), Stream()
    looked_at = entries(dynamo, "o").values()
    work = jobs.comparison(looked_at, {"o": item("o", quantity=6)}, NOW)
    placed.put(item("o", quantity=6))
    placed.put(item("o", quantity=7))
    deliver(placed.records, dynamo)
    settle(work, dynamo)
    assert work.stale == ["o"]
    assert dynamo.totals() == {"Notebook": (7, 1)}


def backfill(dynamo: Dynamo, table: dict[str, dict[str, Any]], between: Callable[[], None]) -> None:
    """A whole backfill of one order, with something happening at each point where something may."""
    open_orders = ["o"]
    while open_orders:
        between()
        looked_at = entries(dynamo, *open_orders)
        between()
        items = {order_id: table[order_id] for order_id in open_orders if order_id in table}
        between()
        work: Settlement = settle(jobs.comparison(looked_at.values(), items, NOW), dynamo)
        between()
        open_orders = work.stale


STEPS = {
    "placed": lambda s: s.put(item("o")),
    "amended": lambda s: s.put(item("o", quantity=7)),
    "back": lambda s: s.put(item("o")),
    "cancelled": lambda s: s.remove("o"),
    "placed again": lambda s: s.put(item("o", "Pen", 2)),
}


@pytest.mark.parametrize("delivered_at", list(itertools.product([0, 1, 2, 3], repeat=2)), ids=str)
@pytest.mark.parametrize("written_at", list(itertools.combinations_with_replacement([0, 1, 2, 3], 3)), ids=str)
@pytest.mark.parametrize(
    "story", [("placed", "amended", "back"), ("placed", "cancelled", "placed again")], ids="-".join
)
def test_a_backfill_beside_the_stream_comes_to_the_truth_wherever_things_happen(
    story: tuple[str, ...], written_at: tuple[int, ...], delivered_at: tuple[int, ...]
):
    """The order is written, and the stream delivered, at every possible point of a backfill."""
    dynamo, told = Dynamo(), Stream()
    moment = iter(range(1000))

    def between() -> None:
        now = next(moment)
        for at, step in zip(written_at, story, strict=True):
            if at == now:
                STEPS[step](told)
        if now in delivered_at:
            deliver(told.records, dynamo)

    backfill(dynamo, told.items, between)
    deliver(told.records, dynamo)
    there = told.items["o"]
    assert {product: total for product, total in dynamo.totals().items() if total != (0, 0)} == {
        there["Product"]["S"]: (int(there["Quantity"]["N"]), 1)
    }
    assert ledger.standing(dynamo.entry("o"), there) == {"counted": True}


# --- What is asked and answered ------------------------------------------------------------------


def test_a_backfill_starts_at_the_start_or_at_a_cursor():
    assert jobs.backfill_request(None).start is None
    assert jobs.backfill_request({}).start is None
    assert jobs.backfill_request({"cursor": None}).start is None
    assert jobs.backfill_request({"cursor": "o"}).start == {"OrderID": {"S": "o"}}


@pytest.mark.parametrize("event", [{"cursor": 5}, {"cursor": ""}, {"cursors": "o"}])
def test_anything_else_is_refused(event: dict[str, Any]):
    with pytest.raises(BadRequest, match="cursor"):
        jobs.backfill_request(event)


def test_progress_ends_with_the_last_page():
    progress = jobs.backfill_request({})
    progress.add_page(1000, {"OrderID": {"S": "o999"}})
    assert progress.to_json() == {"done": False, "cursor": "o999", "orders": 1000, "changed": 0}
    progress.add_page(1, None)
    assert progress.to_json() == {"done": True, "cursor": None, "orders": 1001, "changed": 0}


def test_nothing_is_wrong_with_an_order_that_never_was():
    assert ledger.as_item_says(absent("o"), None, NOW) == absent("o")
