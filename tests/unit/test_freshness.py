"""Freshness: when the handler writes how far it is behind, and what readers are told."""

from chalicelib import freshness, orders
from chalicelib.freshness import Pace

NOW = 1_000.0


def test_the_first_lag_is_written():
    assert Pace().is_due(NOW, 0.4)


def test_the_next_one_waits_for_some_seconds():
    pace = Pace()
    assert [pace.is_due(NOW + seconds, 0.4) for seconds in (0, 0.1, 4.9, 5, 5.1, 9.9, 10)] == [
        True, False, False, True, False, False, True,
    ]  # fmt: skip


def test_a_long_lag_waits_too():
    pace = Pace()
    assert [pace.is_due(NOW + seconds, 300.0) for seconds in (0, 1, 2)] == [True, False, False]


def test_to_have_caught_up_does_not_wait_and_is_said_once():
    pace = Pace()
    lags = [(0, 300.0), (1, 200.0), (2, 0.5), (2.1, 0.4), (3, 0.3)]
    assert [pace.is_due(NOW + seconds, lag) for seconds, lag in lags] == [True, False, True, False, False]


def test_readers_are_told_what_was_written():
    item = freshness.to_item(0.4444, "2026-11-23T18:13:05Z")
    assert freshness.to_json(item) == {"lagSeconds": 0.4, "measuredAt": "2026-11-23T18:13:05Z"}


def test_before_the_first_batch_readers_are_told_nothing():
    assert freshness.to_json(None) is None


def test_no_product_can_be_where_the_item_is():
    assert orders.problem_with_product(freshness.KEY["product"]["S"])
