"""Shards that meet at the same counters waste few write units, and no invocation times out."""

from tests.proof.contention import Cell, measure


def test_no_invocation_of_many_shards_times_out_and_few_units_are_wasted():
    measured = measure(Cell("moved", shards=32, products=100, orders=100))
    assert measured.cancelled > 10
    assert measured.timed_out == 0
    assert measured.wasted_units <= 10
    assert measured.exact
