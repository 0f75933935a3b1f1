"""Freshness: how far the stream handler was behind when it last looked.

The handler keeps this in one small item beside the counters, written now and then and outside of the
transactions that count: it costs an order nothing, and the totals are exact without it. With several shards
the last writer is the one that is heard; each batch's lag is in the metric `lagSeconds`.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.orders import Item

# In TrendTable, under a product that no order can have: a name must not be blank.
KEY: Mapping[str, Any] = {"product": {"S": " "}, "day": {"S": "freshness"}}

SECONDS_BETWEEN_WRITES = 5.0
# From here on the totals count as behind, and to have caught up is news that does not wait.
BEHIND_SECONDS = 5.0


class Pace:
    """When one warm container is to write the item again."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._lag_seconds = 0.0

    def is_due(self, now: float, lag_seconds: float) -> bool:
        """Whether to write this lag at `now`, in seconds of any steady clock; remembers it if so.

        Once in SECONDS_BETWEEN_WRITES, and at once when what was written last says behind and this no
        more: after a backlog's last batch it may stay silent for hours.
        """
        caught_up = lag_seconds < BEHIND_SECONDS <= self._lag_seconds
        if now < self._at + SECONDS_BETWEEN_WRITES and not caught_up:
            return False
        self._at = now
        self._lag_seconds = lag_seconds
        return True


def to_item(lag_seconds: float, now: str) -> dict[str, Any]:
    """The item; `now` is an instant."""
    return {**KEY, "lagSeconds": {"N": f"{lag_seconds:.1f}"}, "measuredAt": {"S": now}}


def to_json(item: Item | None) -> dict[str, Any] | None:
    """`{"lagSeconds", "measuredAt"}`, or None as long as nothing has come through the stream."""
    try:
        return {"lagSeconds": float(item["lagSeconds"]["N"]), "measuredAt": item["measuredAt"]["S"]} if item else None
    except KeyError:  # Somebody has written it by hand.
        return None
