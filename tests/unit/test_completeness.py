"""Tests for complete views: how backfills, audits and an empty OrdersTable make views complete."""

from typing import Any

import pytest

from chalicelib import completeness, effects, tables, views
from chalicelib.jobs import audit, backfill
from tests.doubles import Crash, FakeDynamoDB, perform, run
from tests.orders_and_stream import OrdersAndStream
from tests.streams import item

TREND = views.VIEWS[tables.TREND]


class Noting:
    """A job that only stores that a backfill has read a segment."""

    def __init__(self, segment: int, segments: int) -> None:
        self.steps = lambda: completeness.note_segment(segment, segments)


def read(dynamo: FakeDynamoDB) -> list[str]:
    """Return the views that `GET /views` shows as incomplete."""
    steps = completeness.incomplete()
    result: Any = None
    while True:
        try:
            result = perform(steps.send(result), dynamo)
        except StopIteration as end:
            found: list[str] = end.value
            return found


def stored(dynamo: FakeDynamoDB) -> dict[str, Any]:
    return dynamo.tables[tables.STATE].get(completeness.KEY, {})


@pytest.fixture
def shop() -> OrdersAndStream:
    """Return a shop before any backfill or audit. It has more counted orders than the first ones of a new stage."""
    return with_orders(completeness.FIRST_ORDERS + 1)


def with_orders(count: int) -> OrdersAndStream:
    created = OrdersAndStream()
    created.put(*(item(f"o{number}") for number in range(count)))
    created.deliver()
    return created


def test_views_of_a_table_with_orders_are_incomplete_until_a_backfill_has_read_it(shop):
    assert read(shop.dynamo) == ["totals", "trend"]
    run(backfill.request({}), shop.dynamo)
    assert read(shop.dynamo) == []


def test_views_of_an_empty_table_are_complete_at_once_and_stay_so(shop):
    dynamo = FakeDynamoDB()
    assert read(dynamo) == []
    dynamo.tables[tables.ORDERS] = shop.dynamo.tables[tables.ORDERS]
    assert read(dynamo) == []


def test_views_of_a_new_stage_are_complete_when_its_first_orders_are_counted():
    new = with_orders(0)
    new.put(item("first"), item("invalid", quantity=0))
    assert read(new.dynamo) == ["totals", "trend"]
    new.deliver()
    assert read(new.dynamo) == []


def test_views_are_incomplete_if_an_order_is_older_than_the_stream():
    new = with_orders(3)
    new.dynamo.tables[tables.ORDERS]["old",] = item("old")
    assert read(new.dynamo) == ["totals", "trend"]


def test_view_that_returns_to_a_stage_with_few_orders_is_incomplete(monkeypatch):
    """The ledger has kept what the orders added to it, but orders may have been cancelled meanwhile."""
    new = with_orders(3)
    assert read(new.dynamo) == []
    with monkeypatch.context() as without:
        without.delitem(views.VIEWS, tables.TREND)
        assert read(new.dynamo) == []
    assert read(new.dynamo) == ["trend"]


def test_views_are_complete_when_every_segment_has_been_read(shop):
    for segment in (2, 0, 1):
        assert read(shop.dynamo) == ["totals", "trend"]
        run(backfill.request({"segment": segment, "segments": 3}), shop.dynamo)
    assert read(shop.dynamo) == []
    assert stored(shop.dynamo).keys() == {"name", "complete", "revision"}


def test_segments_of_another_number_do_not_count(shop):
    for segment, segments in ((0, 2), (1, 3), (2, 3), (0, 4)):
        run(backfill.request({"segment": segment, "segments": segments}), shop.dynamo)
    assert read(shop.dynamo) == ["totals", "trend"]
    run(backfill.request({"segment": 1, "segments": 2}), shop.dynamo)
    assert read(shop.dynamo) == []


def test_segment_that_is_not_read_to_its_end_does_not_count(shop, monkeypatch):
    monkeypatch.setattr(backfill, "PAGE_ORDERS", 5)
    work = backfill.request({})
    run(work, shop.dynamo, checkpoints=3)
    assert read(shop.dynamo) == ["totals", "trend"]
    run(backfill.request({"cursor": work.to_json(0)["cursor"]}), shop.dynamo)
    assert read(shop.dynamo) == []


def test_new_view_is_incomplete_and_the_others_stay_complete(shop, monkeypatch):
    with monkeypatch.context() as older:
        older.delitem(views.VIEWS, tables.TREND)
        run(backfill.request({}), shop.dynamo)
        assert read(shop.dynamo) == []
    assert read(shop.dynamo) == ["trend"]
    run(backfill.request({}), shop.dynamo)
    assert read(shop.dynamo) == []


def test_segments_that_were_read_for_other_views_do_not_count(shop, monkeypatch):
    with monkeypatch.context() as older:
        older.delitem(views.VIEWS, tables.TREND)
        run(Noting(0, 2), shop.dynamo)
    run(Noting(1, 2), shop.dynamo)
    assert read(shop.dynamo) == ["totals", "trend"]
    run(Noting(0, 2), shop.dynamo)
    assert read(shop.dynamo) == []


def test_view_that_was_removed_and_returns_is_incomplete(shop, monkeypatch):
    run(backfill.request({}), shop.dynamo)
    with monkeypatch.context() as without:
        without.delitem(views.VIEWS, tables.TREND)
        assert read(shop.dynamo) == []
    assert read(shop.dynamo) == ["trend"]


def test_clean_audit_makes_the_views_complete(shop):
    work = audit.request({})
    run(work, shop.dynamo)
    assert (work.to_json(0)["verdict"], work.to_json(0)["incompleteViews"]) == ("clean", [])
    assert read(shop.dynamo) == []


def test_audit_makes_the_views_complete_although_counters_keep_changing(shop):
    """Otherwise a busy stage would stay incomplete."""

    def place(_step: effects.Effect) -> None:
        shop.put(item(f"new-{len(shop.stream.items)}"))
        shop.deliver()

    work = audit.request({})
    run(work, shop.dynamo, before_each=place)
    assert (work.to_json(0)["verdict"], work.to_json(0)["incompleteViews"]) == ("unproven", [])


def test_audit_does_not_make_the_views_complete_while_orders_are_in_flight(shop):
    def amend(step: effects.Effect) -> None:
        if isinstance(step, effects.Sleep) and step.seconds:
            shop.put(item("o1", quantity=1 + shop.dynamo.now % 97))

    shop.put(item("o1", quantity=9))
    work = audit.request({})
    run(work, shop.dynamo, before_each=amend)
    assert (work.to_json(0)["verdict"], work.to_json(0)["incompleteViews"]) == ("unproven", ["totals", "trend"])


def test_audit_that_finds_drift_names_the_incomplete_views(shop):
    shop.counter("Notebook")["totalQuantity"] = {"N": "1"}
    work = audit.request({})
    run(work, shop.dynamo)
    assert (work.to_json(0)["verdict"], work.to_json(0)["incompleteViews"]) == ("drifted", ["totals", "trend"])
    assert read(shop.dynamo) == ["totals", "trend"]


@pytest.mark.parametrize("request_", [{}, {"segment": 1, "segments": 2}], ids=["whole", "last segment"])
def test_second_backfill_and_second_audit_make_one_request_for_completeness(shop, request_):
    run(Noting(0, 2), shop.dynamo)
    for again, count in ((False, 2), (True, 1 if not request_ else 2)):
        found: list[effects.Effect] = []
        run(backfill.request(request_), shop.dynamo, before_each=found.append)
        assert requests_for_state(found) == count, again
    run(Noting(0, 1), shop.dynamo)
    found = []
    run(audit.request({}), shop.dynamo, before_each=found.append)
    assert requests_for_state(found) == 1


def requests_for_state(steps: list[effects.Effect]) -> int:
    gets = [step for step in steps if isinstance(step, effects.Get) and step.key == completeness.KEY]
    return len(gets) + sum(isinstance(step, effects.ConditionalUpdate) and step.table == tables.STATE for step in steps)


def test_two_segments_that_end_at_the_same_time_both_count(shop):
    """One segment ends between the other segment's read of the item and its write."""
    pending = [Noting(1, 2)]

    def happen(step: effects.Effect) -> None:
        if isinstance(step, effects.ConditionalUpdate) and pending:
            run(pending.pop(), shop.dynamo)

    run(Noting(0, 2), shop.dynamo, before_each=happen)
    assert read(shop.dynamo) == []


@pytest.mark.parametrize("write", [effects.Get, effects.ConditionalUpdate], ids=lambda kind: kind.__name__)
def test_job_that_crashes_before_it_stores_its_end_is_not_done(shop, write):
    def crash(step: effects.Effect) -> None:
        if isinstance(step, write) and (not isinstance(step, effects.Get) or step.key == completeness.KEY):
            raise Crash

    for module in (backfill, audit):
        work = module.request({})
        with pytest.raises(Crash):
            run(work, shop.dynamo, before_each=crash)
        assert (work.to_json(0)["done"], read(shop.dynamo)) == (False, ["totals", "trend"])
    again = audit.request({"cursor": work.to_json(0)["cursor"]})
    run(again, shop.dynamo)
    assert (again.to_json(0)["done"], again.to_json(0)["verdict"], read(shop.dynamo)) == (True, "clean", [])


@pytest.mark.parametrize("value", [{"N": "1.5"}, {"S": "x"}, {"NULL": True}, {"SS": ["x"]}], ids=str)
@pytest.mark.parametrize("name", ["complete", "running", "segments", "revision"])
def test_malformed_item_is_replaced(shop, name, value):
    shop.dynamo.tables[tables.STATE][completeness.KEY] = {"name": {"S": "completeViews"}, name: value}
    assert read(shop.dynamo) == ["totals", "trend"]
    for segment in range(2):
        run(Noting(segment, 2), shop.dynamo)
    assert read(shop.dynamo) == []
    assert stored(shop.dynamo)["complete"] == {"SS": ["AggregateTable", "TrendTable"]}
