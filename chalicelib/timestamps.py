"""Timestamps as the tables store them: ISO 8601, UTC, whole seconds, such as `2026-11-23T18:13:05Z`.

They sort by time as strings. `[:10]` is the day and `[11:13]` is the hour.
"""

from datetime import UTC, datetime
from functools import lru_cache

LATEST = 253_402_300_799
"""The last second of the year 9999, in epoch seconds."""

_DATE_LENGTH = len("2026-11-23")
_SECONDS_LENGTH = len("2026-11-23T18:13:05")


@lru_cache(maxsize=4096)  # Many records of a batch have the same second.
def from_epoch(seconds: int) -> str:
    """Return the timestamp for a time in epoch seconds."""
    return _canonical(datetime.fromtimestamp(seconds, UTC))


def from_epoch_milliseconds(milliseconds: int) -> str:
    """Return a timestamp with milliseconds, `2026-11-23T18:13:05.250Z`, for OrdersTable's `PlacedAt`.

    Do not compare it with timestamps in whole seconds: as strings, the two do not sort by time.
    """
    return f"{from_epoch(milliseconds // 1000)[:-1]}.{milliseconds % 1000:03}Z"


def parse(text: str) -> str | None:
    """Return the timestamp for a text with an ISO 8601 time, or None if the text is not one.

    A time without an offset is in UTC. Fractions of a second are dropped. A date without a time gives None.
    """
    if len(text) <= _DATE_LENGTH:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return _canonical(moment if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def to_epoch(text: object) -> float | None:
    """Return the epoch seconds, with their fraction, of an ISO 8601 time in UTC; None if it is not one."""
    if not isinstance(text, str) or parse(text) is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@lru_cache(maxsize=4096)
def is_canonical(text: str) -> bool:
    """Return whether a text is a timestamp in this module's format, `2026-11-23T18:13:05Z`."""
    return parse(text) == text


def _canonical(moment: datetime) -> str:
    return moment.isoformat()[:_SECONDS_LENGTH] + "Z"
