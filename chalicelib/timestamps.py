"""Instants as the tables hold them: UTC, ISO 8601, whole seconds, `2026-11-23T18:13:05Z`.

In this one form plain string order is time order, and `[:10]` is the day and `[11:13]` the hour.
Nothing here reads a clock; app.py does.
"""

from datetime import UTC, datetime
from functools import lru_cache

LATEST = 253_402_300_799
"""The last second that has a four-digit year, in epoch seconds."""

_A_DATE_ALONE = len("2026-11-23")
_WITHOUT_FRACTION = len("2026-11-23T18:13:05")


@lru_cache(maxsize=4096)  # The records of one batch share a few seconds between them.
def from_epoch(seconds: int) -> str:
    """The instant that is `seconds` after 1970-01-01T00:00:00Z."""
    return _canonical(datetime.fromtimestamp(seconds, UTC))


def to_the_millisecond(milliseconds: int) -> str:
    """The same with a fraction, `2026-11-23T18:13:05.250Z`: not for comparing, but for OrdersTable."""
    return f"{from_epoch(milliseconds // 1000)[:-1]}.{milliseconds % 1000:03}Z"


def parse(text: str) -> str | None:
    """The instant that an ISO 8601 `text` names, or None if it names none.

    An offset is converted, none means UTC, and a fraction of a second is dropped. A date without a
    time is a day and not an instant.
    """
    if len(text) <= _A_DATE_ALONE:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return _canonical(moment if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def is_canonical(text: str) -> bool:
    """Return whether a text is an instant in the form of this module: `2026-11-23T18:13:05Z`."""
    return parse(text) == text


def _canonical(moment: datetime) -> str:
    return moment.isoformat()[:_WITHOUT_FRACTION] + "Z"
