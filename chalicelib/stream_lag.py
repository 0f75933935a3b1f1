"""The stream handler's report of how far it is behind. The API returns it as `freshness`.

The report is one small item in StateTable. It also holds the latest orders (recent_orders.py). Each container writes it
immediately when the state changes, or when batches start or stop being late. Otherwise it writes at most every
SECONDS_BETWEEN_WRITES on average: after a quiet time, several reports may follow each other, so that each of a few
orders is listed soon. The report is not part of the transactions that count orders, so it makes counting no more
expensive.

All shards write the same item, and the last report wins. So `freshness` can be `current` while one shard fails.
The metric `lagSeconds` has the lag of every batch.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

from chalicelib import recent_orders, timestamps
from chalicelib.counting.committer import Committer
from chalicelib.counting.stream import Batch
from chalicelib.orders import Item

KEY: Mapping[str, Any] = {"name": {"S": "streamLag"}}
"""The item's key in StateTable."""

SECONDS_BETWEEN_WRITES = 5.0
QUIET_SECONDS = 45.0  # After so long a quiet time, ten reports may follow each other at once.
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


class Reporter:
    """A container's reports: when it writes the next one, and the latest orders that it knows of."""

    def __init__(self) -> None:
        self._next_at = float("-inf")  # When the next report would be due at an even pace.
        self._written: tuple[State, bool] | None = None  # The last written state, and whether its batch was late.
        self._recent: list[recent_orders.RecentOrder] = []

    def report(self, batch: Batch, work: Committer, counted: bool, now: float, clock: float) -> dict[str, Any] | None:
        """Return the UpdateItem parameters, without TableName, of the report about a batch; None if none is due.

        `now` is in epoch seconds, and `clock` in seconds of a monotonic clock.
        """
        newest = recent_orders.of_batch(batch.records_by_order, work.counts.counted, now)
        self._recent = recent_orders.merge(newest, self._recent)
        ages = batch.ages(now)
        state = state_of(ages, counted)
        if not ages or not self.is_due(clock, state, max(ages)):
            return None
        return update(state, max(ages), timestamps.from_epoch(int(now)), self._recent)

    def is_due(self, clock: float, state: State, lag_seconds: float) -> bool:
        """Return whether to write a report, and remember it if so. `clock` is in seconds of a monotonic clock."""
        report = (state, lag_seconds >= BEHIND_SECONDS)
        if report == self._written and clock < self._next_at - QUIET_SECONDS:
            return False
        self._next_at = min(max(clock, self._next_at), clock + QUIET_SECONDS) + SECONDS_BETWEEN_WRITES
        self._written = report
        return True

    def add_replaced(self, response: Mapping[str, Any]) -> None:
        """Remember the orders of the report that this container's last one replaced, from UpdateItem's response."""
        self._recent = recent_orders.merge(self._recent, recent_orders.unpack(response.get("Attributes")))


def update(
    state: State, lag_seconds: float, now: str, recent: Sequence[recent_orders.RecentOrder] = ()
) -> dict[str, Any]:
    """Return the UpdateItem parameters, without TableName, for writing a report. `now` is a timestamp.

    `failingSince` keeps its value until a report is no longer failing, whichever container writes it.
    """
    failing = state is State.FAILING
    failing_since = ", failingSince = if_not_exists(failingSince, :now)" if failing else " REMOVE failingSince"
    return {
        "Key": KEY,
        "UpdateExpression": f"SET lagSeconds = :lag, measuredAt = :now, #state = :state, "
        f"{recent_orders.ATTRIBUTE} = :recent{failing_since}",
        "ExpressionAttributeNames": {"#state": "state"},  # `state` is a reserved word in DynamoDB.
        "ExpressionAttributeValues": {
            ":lag": {"N": f"{lag_seconds:.1f}"},
            ":now": {"S": now},
            ":state": {"S": state},
            ":recent": recent_orders.pack(recent),
        },
        "ReturnValues": "ALL_OLD",
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
