"""Freshness: what the stream handler last reported about how far it is behind.

The handler writes its report to one small item beside the counters: at once when the state changes or batches begin
or cease to be late, else at most every SECONDS_BETWEEN_WRITES in each container. The write is outside the transactions
that count, so no order costs more, and the totals are exact without it.

With several shards the last report wins: one shard may fail while another one, which reports later, is current.
The metric `lagSeconds` has the lag of every batch.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from chalicelib import timestamps
from chalicelib.orders import Item

# In TrendTable, under a product that no order can have: a name must not be blank.
KEY: Mapping[str, Any] = {"product": {"S": " "}, "day": {"S": "freshness"}}

SECONDS_BETWEEN_WRITES = 5.0
BEHIND_SECONDS = 5.0  # A record that waited this long is late.
BATCH_SIZE = 1000  # The handler's: a batch of this size is a full poll, after which more may be waiting.


class State(StrEnum):
    """What the last batch says about the stream."""

    CURRENT = "current"  # Counted, and no backlog is left.
    CATCHING_UP = "catchingUp"  # Counted, but a backlog is left.
    FAILING = "failing"  # Not counted; Lambda delivers it again.


def state_of(ages: Collection[float], counted: bool) -> State:
    """Return the state after a batch whose records are that many seconds old.

    A backlog is left if the batch was full and even its newest record is late. A poll also ends at 1 MB of records
    and may return fewer than there are, so a backlog can be reported as over too early; the next batch then
    reports its lag.
    """
    if not counted:
        return State.FAILING
    backlog = len(ages) >= BATCH_SIZE and min(ages) >= BEHIND_SECONDS
    return State.CATCHING_UP if backlog else State.CURRENT


class WriteThrottle:
    """Decides when one warm container writes the next report."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._written: tuple[State, bool] | None = None  # The state, and whether the batch was late.

    def is_due(self, now: float, state: State, lag_seconds: float) -> bool:
        """Return whether to write this report at `now`, in seconds of any steady clock, and remember it if so."""
        report = (state, lag_seconds >= BEHIND_SECONDS)
        if report == self._written and now < self._at + SECONDS_BETWEEN_WRITES:
            return False
        self._at = now
        self._written = report
        return True


def update(state: State, lag_seconds: float, now: str) -> dict[str, Any]:
    """Return the UpdateItem parameters, without the table, that write a report at the instant `now`.

    `failingSince` stays while reports of failure follow one another, whichever container writes them.
    """
    failing = state is State.FAILING
    failing_since = ", failingSince = if_not_exists(failingSince, :now)" if failing else " REMOVE failingSince"
    return {
        "Key": KEY,
        "UpdateExpression": f"SET lagSeconds = :lag, measuredAt = :now, #state = :state{failing_since}",
        "ExpressionAttributeNames": {"#state": "state"},  # A reserved word.
        "ExpressionAttributeValues": {
            ":lag": {"N": f"{lag_seconds:.1f}"},
            ":now": {"S": now},
            ":state": {"S": state},
        },
    }


def to_json(item: Item | None) -> dict[str, Any] | None:
    """Return `{"lagSeconds", "measuredAt", "state", "failingSince"}`, or None without a report that can be read."""
    if item is None:
        return None
    try:
        return {
            "lagSeconds": float(item["lagSeconds"]["N"]),
            "measuredAt": _instant(item["measuredAt"]),
            "state": State(item["state"]["S"]),
            "failingSince": _instant(item["failingSince"]) if "failingSince" in item else None,
        }
    except (KeyError, TypeError, ValueError):
        return None


def _instant(value: Mapping[str, Any]) -> str:
    """Return the text of an attribute that holds an instant. Raise ValueError if it holds something else."""
    text: str = value["S"]
    if timestamps.parse(text) != text:
        raise ValueError(f"{text} is not an instant.")
    return text
