"""Tests for generated order ids: they are valid and sort by time."""

from chalicelib import orders, ulid
from chalicelib.fields import is_valid


def test_generated_ids_sort_by_time():
    early = ulid.make_order_id(1_795_000_000_000, b"\xff" * 10)
    late = ulid.make_order_id(1_795_000_000_001, b"\x00" * 10)
    assert early < late


def test_generated_ids_are_valid_order_ids():
    assert is_valid(orders.ORDER_ID.type, ulid.make_order_id(1_795_000_000_000, b"\xff" * 10))


def test_example_of_the_ulid_spec():
    assert ulid.make_order_id(1469918176385, bytes(10)) == "01ARYZ6S410000000000000000"
