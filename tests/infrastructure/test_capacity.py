"""tools/capacity.py: what docs/scale.md says is what it calculates, and that follows from the limits."""

import math

import pytest

from infrastructure.package import PROJECT
from tools import capacity
from tools.capacity import Pace, pack, simulate

DOCUMENT = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", capacity.TABLES)
def test_the_document_has_the_tables_as_they_are_calculated(name: str):
    assert capacity.TABLES[name]() in DOCUMENT, "run make capacity"


def test_a_full_transaction_of_one_product_counts_98_orders():
    assert pack(98, 1) == (1, 100)
    assert pack(99, 1).transactions == 2


def test_an_order_alone_costs_an_entry_and_a_counter_for_each_view():
    assert pack(1, 1).units(1) == 6


def test_more_load_means_fewer_transactions_for_each_order_and_not_more_lag():
    slow, fast = simulate(100, 1, Pace()), simulate(1_000, 1, Pace())
    assert fast.batch_orders > 10 * slow.batch_orders
    assert fast.transactions < slow.transactions
    assert fast.behind_seconds < 1


def test_a_shard_that_cannot_keep_up_falls_behind_for_ever():
    most = capacity.BATCH_ORDERS / Pace().batch_seconds(capacity.BATCH_ORDERS, 1_000)
    assert simulate(most * 0.9, 1_000, Pace()).behind_seconds < 60
    assert math.isinf(simulate(most * 1.1, 1_000, Pace()).behind_seconds)


def test_the_batch_is_as_large_as_the_app_asks_for():
    assert f"batch_size={capacity.BATCH_ORDERS}," in (PROJECT / "app.py").read_text(encoding="utf-8")
