"""Tests for tools/capacity.py: docs/scale.md has its tables, and the calculation respects DynamoDB's limits."""

import math

from infrastructure.package import PROJECT
from tools import capacity
from tools.capacity import Timings, pack, simulate

DOCUMENT = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_document_has_the_calculated_tables():
    assert capacity.in_document(DOCUMENT) == DOCUMENT, "run make capacity"


def test_changed_table_is_replaced():
    changed = DOCUMENT.replace("| 1,000 | 1,000 | 31 | 32 | 6.00 |", "| 1,000 | 1,000 | 30 | 32 | 6.00 |")
    assert changed != DOCUMENT
    assert capacity.in_document(changed) == DOCUMENT


def test_batching_window_makes_larger_batches():
    windows = [simulate(100, 1, Timings(), window=window) for window in (0, 1, 5)]
    assert [round(load.batch_orders, -1) for load in windows] == [0, 100, 500]
    assert windows[0].units > windows[1].units > windows[2].units


def test_full_transaction_of_one_product_counts_98_orders():
    assert pack(98, 1).rounds == ((100,),)
    assert pack(99, 1).transactions == 2


def test_single_order_writes_an_entry_and_one_counter_per_view():
    assert pack(1, 1).units(1) == 6


def test_higher_load_needs_fewer_transactions_per_order_without_more_lag():
    slow, fast = simulate(100, 1, Timings()), simulate(1_000, 1, Timings())
    assert fast.batch_orders > 10 * slow.batch_orders
    assert fast.transactions < slow.transactions
    assert fast.lag_seconds < 1


def test_overloaded_shard_falls_behind_without_bound():
    most = capacity.BATCH_ORDERS / Timings().batch_seconds(capacity.BATCH_ORDERS, 1_000)
    assert simulate(most * 0.9, 1_000, Timings()).lag_seconds < 60
    assert math.isinf(simulate(most * 1.1, 1_000, Timings()).lag_seconds)


def test_batch_size_is_that_of_the_app():
    assert f"batch_size={capacity.BATCH_ORDERS}," in (PROJECT / "app.py").read_text(encoding="utf-8")
