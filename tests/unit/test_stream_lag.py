"""Freshness: what a batch reports, when the handler writes it, and what readers get."""

import pytest

from chalicelib import orders, stream_lag
from chalicelib.stream_lag import BATCH_SIZE, State, WriteThrottle

NOW = 1_000.0
INSTANT = "2026-11-23T18:13:05Z"
REPORT = {
    "lagSeconds": {"N": "0.4"},
    "measuredAt": {"S": INSTANT},
    "state": {"S": "failing"},
    "failingSince": {"S": INSTANT},
}


@pytest.mark.parametrize(
    ("ages", "counted", "expected"),
    [
        ([0.4], True, State.CURRENT),
        ([42.0], True, State.CURRENT),
        ([42.0] * (BATCH_SIZE - 1), True, State.CURRENT),
        ([42.0] * BATCH_SIZE, True, State.CATCHING_UP),
        ([42.0] * (BATCH_SIZE - 1) + [5.0], True, State.CATCHING_UP),
        ([42.0] * (BATCH_SIZE - 1) + [4.9], True, State.CURRENT),
        ([0.4], False, State.FAILING),
        ([42.0] * BATCH_SIZE, False, State.FAILING),
    ],
    ids=[
        "on time",
        "a late order and no more",
        "the end of a backlog",
        "within a backlog",
        "its newest record is late",
        "its newest record is on time",
        "failed",
        "failed within a backlog",
    ],
)
def test_a_batch_shows_the_state_of_the_stream(ages: list[float], counted: bool, expected: State):
    assert stream_lag.state_of(ages, counted) is expected


def test_the_first_report_is_written():
    assert WriteThrottle().is_due(NOW, State.CURRENT, 0)


@pytest.mark.parametrize("state", State)
def test_the_same_state_is_written_every_five_seconds(state: State):
    pace = WriteThrottle()
    assert [pace.is_due(NOW + seconds, state, 0) for seconds in (0, 0.1, 4.9, 5, 5.1, 9.9, 10)] == [
        True, False, False, True, False, False, True,
    ]  # fmt: skip


def test_a_new_state_is_written_at_once():
    pace = WriteThrottle()
    states = [
        (0, State.CATCHING_UP), (1, State.CATCHING_UP), (2, State.CURRENT), (2.1, State.CURRENT),
        (3, State.FAILING), (4, State.FAILING), (4.1, State.CURRENT),
    ]  # fmt: skip
    assert [pace.is_due(NOW + seconds, state, 0) for seconds, state in states] == [
        True, False, True, False, True, False, True,
    ]  # fmt: skip


def test_a_batch_that_is_late_no_more_is_reported_at_once():
    pace = WriteThrottle()
    assert [pace.is_due(NOW + seconds, State.CURRENT, lag) for seconds, lag in ((0, 60), (1, 30), (2, 1), (3, 1))] == [
        True, False, True, False,
    ]  # fmt: skip


def test_before_the_first_report_readers_get_none():
    assert stream_lag.to_json(None) is None


def test_readers_get_the_report():
    report = {"lagSeconds": 0.4, "measuredAt": INSTANT, "state": "failing", "failingSince": INSTANT}
    assert stream_lag.to_json(REPORT) == report


@pytest.mark.parametrize(
    "broken",
    [
        {"lagSeconds": {"S": "0.4"}},
        {"lagSeconds": None},
        {"measuredAt": {"S": "yesterday"}},
        {"state": {"S": "fine"}},
        {"failingSince": {"N": "5"}},
    ],
)
def test_readers_get_none_if_the_report_is_broken(broken: dict[str, object]):
    assert stream_lag.to_json({**REPORT, **broken}) is None


def test_no_product_can_be_where_the_item_is():
    assert orders.validate_product(stream_lag.KEY["product"]["S"])
