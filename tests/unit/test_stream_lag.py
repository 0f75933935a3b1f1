"""Tests for the lag report: its state, when it is written, and its JSON."""

import pytest

from chalicelib import stream_lag, timestamps
from chalicelib.stream_lag import BATCH_SIZE, QUIET_SECONDS, Reporter, State

NOW = 1_000.0
MEASURED_AT = "2026-11-23T18:13:05Z"
REPORT = {
    "lagSeconds": {"N": "0.4"},
    "measuredAt": {"S": MEASURED_AT},
    "state": {"S": "failing"},
    "failingSince": {"S": MEASURED_AT},
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
        "one record on time",
        "one late record",
        "all records late, but the batch is not full",
        "all records late and the batch is full",
        "full, newest record just late",
        "full, newest record on time",
        "not counted",
        "not counted and full",
    ],
)
def test_state_after_a_batch(ages: list[float], counted: bool, expected: State):
    assert stream_lag.state_of(ages, counted) is expected


def test_first_report_is_written():
    assert Reporter().is_due(NOW, State.CURRENT, 0)


@pytest.mark.parametrize("state", State)
def test_unchanged_state_is_written_every_five_seconds_on_average(state: State):
    reporter = Reporter()
    times = [NOW + tenth / 10 for tenth in range(600)]
    due = [each - NOW for each in times if reporter.is_due(each, state, 0)]
    assert due[:10] == pytest.approx([tenth / 10 for tenth in range(10)])  # After a quiet time.
    assert due[10:] == pytest.approx([5.0 * number for number in range(1, 12)])


def test_reports_follow_each_other_again_after_a_quiet_time():
    reporter = Reporter()
    for hours in (0, 1):
        start = NOW + 3600 * hours
        assert sum(reporter.is_due(start + number / 1000, State.CURRENT, 0) for number in range(100)) == 10
    assert QUIET_SECONDS == 9 * stream_lag.SECONDS_BETWEEN_WRITES


def busy() -> Reporter:
    """Return a reporter that has just written as many reports as it may."""
    reporter = Reporter()
    while reporter.is_due(NOW - 0.01, State.CURRENT, 0):
        pass
    return reporter


def test_changed_state_is_written_at_once():
    reporter = busy()
    states = [
        (0, State.CATCHING_UP), (1, State.CATCHING_UP), (2, State.CURRENT), (2.1, State.CURRENT),
        (3, State.FAILING), (4, State.FAILING), (4.1, State.CURRENT),
    ]  # fmt: skip
    assert [reporter.is_due(NOW + seconds, state, 0) for seconds, state in states] == [
        True, False, True, False, True, False, True,
    ]  # fmt: skip


def test_reports_go_on_every_five_seconds_after_many_changes_of_the_state():
    reporter = busy()
    for number in range(1000):
        assert reporter.is_due(NOW, list(State)[1 - number % 2], 0)
    assert not reporter.is_due(NOW + 4.9, State.CURRENT, 0)
    assert reporter.is_due(NOW + 5, State.CURRENT, 0)


def test_end_of_lateness_is_written_at_once():
    reporter = busy()
    lags = [(0, 60), (1, 30), (2, 1), (3, 1)]
    assert [reporter.is_due(NOW + seconds, State.CURRENT, lag) for seconds, lag in lags] == [
        True, False, True, False,
    ]  # fmt: skip


def test_json_is_none_before_the_first_report():
    assert stream_lag.to_json(None) is None


def test_json_has_the_report():
    report = {"lagSeconds": 0.4, "measuredAt": MEASURED_AT, "state": "failing", "failingSince": MEASURED_AT}
    assert stream_lag.to_json(REPORT) == report


@pytest.mark.parametrize(
    "malformed",
    [
        {"lagSeconds": {"S": "0.4"}},
        {"lagSeconds": None},
        {"measuredAt": {"S": "yesterday"}},
        {"state": {"S": "fine"}},
        {"failingSince": {"N": "5"}},
    ],
)
def test_json_is_none_for_a_malformed_report(malformed: dict[str, object]):
    assert stream_lag.to_json({**REPORT, **malformed}) is None


@pytest.mark.parametrize(
    ("state", "lag_seconds", "ago", "expected"),
    [
        (State.CURRENT, 10, 10, True),
        (State.CURRENT, 10, 11, False),  # It was the last batch, since no report followed.
        (State.CURRENT, 9.9, 0, False),
        (State.CATCHING_UP, 0, 900, True),
        (State.CATCHING_UP, 0, 901, False),
        (State.FAILING, 0, 900, True),
    ],
)
def test_stream_is_behind_by_the_last_report_and_the_grace_period(
    state: State, lag_seconds: float, ago: int, expected: bool
):
    now = 1_795_000_000
    update = stream_lag.update(state, lag_seconds, timestamps.from_epoch(now - ago))
    values = update["ExpressionAttributeValues"]
    report = {"lagSeconds": values[":lag"], "measuredAt": values[":now"], "state": {"S": str(state)}}
    assert stream_lag.is_behind(report, now, grace_period_seconds=10) is expected


def test_stream_without_a_report_is_not_behind():
    assert not stream_lag.is_behind(None, 1_795_000_000, grace_period_seconds=10)
