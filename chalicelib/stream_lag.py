"""The stream handler's report of how far it is behind. The API returns it as `freshness`.

The report is one small item in StateTable. Each container writes it immediately when the state changes, or when batches
start or stop being late. Otherwise it writes at most every SECONDS_BETWEEN_WRITES. The report is not part of the
transactions that count orders, so it makes counting no more expensive.

All shards write the same item, and the last report wins. So `freshness` can be `current` while one shard fails.
The metric `lagSeconds` has the lag of every batch.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from chalicelib import timestamps
from chalicelib.orders import Item

KEY: Mapping[str, Any] = {"name": {"S": "streamLag"}}
"""The item's key in StateTable."""

SECONDS_BETWEEN_WRITES = 5.0
BEHIND_SECONDS = 5.0  # A record of this age or older is late.
VALID_SECONDS = 15 * 60  # A failing handler reports about every minute. An older report is out of date.
BATCH_SIZE = 1000  # The event source mapping's batch size. After a full batch, more records may be waiting.


class State(StrEnum):
    """The state of counting after the last batch."""

    CURRENT = "current"  # The batch was counted, and there is no backlog.
    CATCHING_UP = "catchingUp"  # The batch was counted, but there is a backlog.
    FAILING = "failing"  # The batch was not counted. Lambda delivers it again.


def state_of(ages: Collection[float], counted: bool) -> State:
    """Return the state after a batch. `ages` are the ages of its records in seconds.

    There is a backlog if the batch was full and even its newest record is late. This can miss a backlog: a poll also
    ends at 1 MB, and can return fewer records than there are. The next batch then reports its own lag.
    """
    if not counted:
        return State.FAILING
    backlog = len(ages) >= BATCH_SIZE and min(ages) >= BEHIND_SECONDS
    return State.CATCHING_UP if backlog else State.CURRENT


class WriteThrottle:
    """Decide when a container writes its next lag report."""

    def __init__(self) -> None:
        self._written_at = float("-inf")
        self._written: tuple[State, bool] | None = None  # The last written state, and whether its batch was late.

    def is_due(self, now: float, state: State, lag_seconds: float) -> bool:
        """Return whether to write this report now. Remember it if so. `now` is the time of a monotonic clock."""
        report = (state, lag_seconds >= BEHIND_SECONDS)
        if report == self._written and now < self._written_at + SECONDS_BETWEEN_WRITES:
            return False
        self._written_at = now
        self._written = report
        return True


def update(state: State, lag_seconds: float, now: str) -> dict[str, Any]:
    """Return the UpdateItem parameters, without TableName, for writing a report. `now` is a timestamp.

    `failingSince` keeps its value until a report is no longer failing, whichever container writes it.
    """
    failing = state is State.FAILING
    failing_since = ", failingSince = if_not_exists(failingSince, :now)" if failing else " REMOVE failingSince"
    return {
        "Key": KEY,
        "UpdateExpression": f"SET lagSeconds = :lag, measuredAt = :now, #state = :state{failing_since}",
        "ExpressionAttributeNames": {"#state": "state"},  # `state` is a reserved word in DynamoDB.
        "ExpressionAttributeValues": {
            ":lag": {"N": f"{lag_seconds:.1f}"},
            ":now": {"S": now},
            ":state": {"S": state},
        },
    }


def to_json(item: Item | None) -> dict[str, Any] | None:
    """Return `{"lagSeconds", "measuredAt", "state", "failingSince"}`, or None if the report is absent or malformed."""
    if item is None:
        return None
    try:
        return {
            "lagSeconds": float(item["lagSeconds"]["N"]),
            "measuredAt": _timestamp(item["measuredAt"]),
            "state": State(item["state"]["S"]),
            "failingSince": _timestamp(item["failingSince"]) if "failingSince" in item else None,
        }
    except (KeyError, TypeError, ValueError):
        return None


def is_behind(item: Item | None, now: int, grace_period_seconds: int) -> bool:
    """Return whether the stream may still deliver changes older than the grace period, judging by the last report.

    `now` is in epoch seconds. A handler whose state is current reports after every batch. So if no report followed the
    one of a late batch, that batch was the last one.
    """
    report = to_json(item)
    if report is None or report["measuredAt"] < timestamps.from_epoch(now - VALID_SECONDS):
        return False
    if report["state"] is not State.CURRENT:
        return True
    quiet_seconds = max(grace_period_seconds, int(SECONDS_BETWEEN_WRITES))
    was_last_batch = report["measuredAt"] < timestamps.from_epoch(now - quiet_seconds)
    return not was_last_batch and bool(report["lagSeconds"] >= grace_period_seconds)


def _timestamp(value: Mapping[str, Any]) -> str:
    """Return the timestamp in an attribute. Raise ValueError if it is not one."""
    text: str = value["S"]
    if timestamps.parse(text) != text:
        raise ValueError(f"{text} is not a timestamp.")
    return text
