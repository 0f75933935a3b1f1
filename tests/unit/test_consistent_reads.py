"""Tests for the jobs' eventually consistent reads, which can miss a recent write: where they do harm, and where not.

FakeDynamoDB serves these reads from a replica that lags. The tests of each job use it too, and fail if the job confirms
a mismatch without ConsistentRead. This module has the other cases.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import effects, stream_lag, tables, timestamps
from chalicelib.counting import ledger
from chalicelib.effects import BatchGet, Get, Scan
from chalicelib.jobs import audit, backfill
from chalicelib.jobs.audit import counter_audit
from tests.doubles import FakeDynamoDB, run
from tests.orders_and_stream import OrdersAndStream, example
from tests.streams import item


def test_only_a_consistent_read_sees_a_write_before_the_replica_has_it():
    dynamo = FakeDynamoDB()
    dynamo.tables[tables.ORDERS][("o",)] = item("o")
    for seen, consistent in ((0, False), (1, True)):
        assert len(dynamo.scan(Scan(tables.ORDERS, None, 10, consistent)).items) == seen
        assert len(dynamo.batch_get(BatchGet(tables.ORDERS, [("o",)], consistent))) == seen
    dynamo.catch_up()
    assert len(dynamo.scan(Scan(tables.ORDERS, None, 10, False)).items) == 1


# --- Where a stale read would do harm ------------------------------------------------------------


def test_an_audit_reads_the_streams_lag_consistently():
    """The stream's lag was written a moment ago. The audit must read it to know that the new order is in flight."""
    shop = example()
    shop.put(item("new"))  # The stream has not delivered it yet.
    key = effects.key_of(tables.STATE, stream_lag.KEY)

    def write_lag(step: effects.Effect) -> None:
        if isinstance(step, Get) and step.key == key:
            shop.dynamo.tables[tables.STATE][key] = {
                **stream_lag.KEY,
                "lagSeconds": {"N": "60"},
                "measuredAt": {"S": timestamps.from_epoch(shop.dynamo.now)},
                "state": {"S": "failing"},
            }

    work = audit.request({})
    run(work, shop.dynamo, before_each=write_lag)
    orders = work.to_json(0)["orders"]
    assert (orders["inFlight"], orders["missing"]) == (1, 0)


def test_an_audit_reads_counters_consistently(monkeypatch: pytest.MonkeyPatch):
    """Two orders change while the audit sums up the ledger, so the sum happens to equal the wrong counter.

    Only the counter's new revision shows the change, and only a consistent read is sure to return the new revision.
    """
    monkeypatch.setattr(counter_audit, "PAGE_ITEMS", 1)
    shop = OrdersAndStream()
    shop.put(item("a", quantity=5), item("b", quantity=5))
    shop.deliver()
    first, second = (entry["OrderID"]["S"] for entry in shop.dynamo.scan(Scan(tables.LEDGER, None, 2)).items)
    shop.put(item(second, quantity=7))
    shop.deliver()
    shop.counter("Notebook")["totalQuantity"] = {"N": "10"}  # The right total is 12.
    work = audit.request({})

    def change(step: effects.Effect) -> None:
        counters = work.counters
        if (counters.number, counters.table, counters.items) == (1, tables.LEDGER, 1) and isinstance(step, Scan):
            shop.put(item(first, quantity=7), item(second, quantity=5))
            shop.deliver()

    run(work, shop.dynamo, before_each=change)
    assert work.to_json(0)["counters"]["drifted"] == 1


# --- Where a stale read does no harm -------------------------------------------------------------


def test_a_backfill_reads_mismatched_orders_of_a_stale_page_again():
    """The replica lacks the change of the order and of its entry. The tables have both."""
    shop = OrdersAndStream()
    shop.put(item("o", quantity=6))
    shop.lose()

    def change(step: effects.Effect) -> None:
        if isinstance(step, Scan):
            shop.put(item("o", quantity=7))
            shop.deliver()

    work = backfill.request({})
    run(work, shop.dynamo, before_each=change)
    assert shop.dynamo.totals() == {"Notebook": (7, 1)}
    assert work.changed == 0


def test_a_backfill_that_misses_a_new_order_leaves_it_to_the_stream():
    shop = OrdersAndStream()

    def place(step: effects.Effect) -> None:
        if isinstance(step, Scan):
            shop.put(item("o"))

    work = backfill.request({})
    run(work, shop.dynamo, before_each=place)
    assert work.orders == 0
    shop.deliver()
    assert shop.dynamo.totals() == {"Notebook": (5, 1)}


@pytest.mark.parametrize("table", [tables.ORDERS, tables.LEDGER])
def test_an_audit_of_correct_tables_is_clean_even_if_a_page_is_stale(table: str):
    """A stale page shows all orders as they were before they changed."""
    shop = example()

    def change(step: effects.Effect) -> None:
        if isinstance(step, Scan) and step.table == table:
            shop.put(item("a", quantity=9), item("e"), item("bad", quantity=1))
            shop.remove("b")
            shop.remove("c", expired=True)
            shop.deliver()

    work = audit.request({"repair": True})
    run(work, shop.dynamo, before_each=change)
    answer = work.to_json(0)
    assert (answer["verdict"], answer["driftedProducts"]) == ("clean", 0)
    assert answer["orders"]["repaired"] == answer["orders"]["inFlight"] == 0
    assert shop.dynamo.counters() == shop.truth()


JOBS: Any = st.sampled_from([(backfill, {}), (audit, {"repair": True}), (audit, {})])
CHANGES = {
    "place": lambda shop: shop.put(item("o")),
    "amend": lambda shop: shop.put(item("o", "Pen", 7)),
    "amend back": lambda shop: shop.put(item("o")),
    "cancel": lambda shop: shop.remove("o"),
    "deliver": OrdersAndStream.deliver,
    "the orders catch up": lambda shop: shop.dynamo.catch_up(tables.ORDERS),
    "the ledger catches up": lambda shop: shop.dynamo.catch_up(tables.LEDGER),
}
MEANWHILE = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(sorted(CHANGES))), max_size=8)


@settings(max_examples=300, deadline=None)
@given(JOBS, st.lists(st.sampled_from(sorted(CHANGES)), max_size=4), MEANWHILE)
def test_a_job_does_no_harm_if_its_pages_are_stale(job: Any, before: list[str], meanwhile: list[tuple[int, str]]):
    shop = OrdersAndStream()
    for change in before:
        CHANGES[change](shop)
    number = iter(range(1_000_000))

    def happen(step: effects.Effect) -> None:
        now = next(number)
        for at, change in meanwhile:
            if at == now:
                CHANGES[change](shop)
        if isinstance(step, effects.Sleep) and step.seconds:
            shop.deliver()

    module, event = job
    work = module.request(event)
    run(work, shop.dynamo, before_each=happen)
    assert work.to_json(0).get("verdict") != "drifted"
    shop.deliver()
    assert shop.dynamo.counters() == shop.truth()
    assert all(ledger.order_status(shop.dynamo.entry(o), order)["counted"] for o, order in shop.stream.items.items())
