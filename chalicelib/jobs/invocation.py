"""The invocation of a job: its options, and the cursor from which the next invocation continues.

A job does a part of its work in each invocation and returns a cursor until nothing is left to do.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from chalicelib import cursors
from chalicelib.effects import Steps
from chalicelib.jobs.state import decode, encode
from chalicelib.views import VIEWS


class Job(Protocol):
    """A backfill or an audit."""

    seconds: int
    """After this time, the invocation stops at the next checkpoint and returns a cursor."""

    def steps(self) -> Steps[None]:
        """Yield effects until the job is done."""


SECONDS_MAX = 900
"""Lambda's longest timeout (Lambda quotas)."""

# An invocation reserves this share of its time for the request in progress and the last log lines.
RESERVE_SHARE = 0.1
RESERVE_MAX_SECONDS = 5.0


def reserve_seconds(remaining_seconds: float) -> float:
    """Return how many seconds before its timeout an invocation should stop."""
    return min(RESERVE_MAX_SECONDS, RESERVE_SHARE * remaining_seconds)


# The limit for the JSON in a cursor. Jobs make at most about 3 MB. Parsing takes up to 33 times as much memory.
_CURSOR_MAX_BYTES = 6_000_000


class BadRequest(ValueError):
    """A job got an option or a cursor that it does not accept. The message says what is wrong."""


# --- Options -------------------------------------------------------------------------------------


class Option(NamedTuple):
    """An option of a job: its default and the values that it accepts."""

    default: Any
    rule: str
    smallest: int = 0
    largest: int = 0  # The bounds apply only to numbers.

    def accepts(self, value: object) -> bool:
        """Return whether the option accepts this value."""
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        return type(value) is int and self.smallest <= value <= self.largest


SECONDS = Option(SECONDS_MAX, f"a whole number of seconds from 1 to {SECONDS_MAX}", 1, SECONDS_MAX)
"""After this many seconds the job returns with a cursor. It returns earlier if the invocation would time out."""


def options(job: str, event: Mapping[str, Any] | None, known: Mapping[str, Option]) -> dict[str, Any]:
    """Return the options in an event, with defaults for missing ones. Raise BadRequest for unknown or wrong ones."""
    given = dict(event or {})
    values = {}
    wrong = []
    for name, option in known.items():
        values[name] = given.pop(name, option.default)
        if not option.accepts(values[name]):
            wrong.append(f"{name} must be {option.rule}")
    wrong += [f"there is no option {name}" for name in given]
    if wrong:
        names = ", ".join([*known, "cursor"])
        raise BadRequest(f"{'; '.join(wrong)}. The options of {job} are {names}.")
    return values


# --- Cursors -------------------------------------------------------------------------------------


def cursor(job: str, state: object) -> str:
    """Return a cursor that holds a job's state."""
    return cursors.encode({"job": job, "views": _views(), "state": encode(state)})


def state(job: str, text: object, kind: Any) -> Any:
    """Return the state in a cursor, as a value of type `kind`.

    Raise BadRequest if the cursor is damaged or from another job, or if the views or its format have changed.
    """
    try:
        content = cursors.decode(text, _CURSOR_MAX_BYTES)
        encoded, of, views = content["state"], content["job"], content["views"]
    except (cursors.CursorError, KeyError, TypeError):
        raise BadRequest("The cursor is damaged: pass it unchanged, or start again without it.") from None
    if of != job:
        raise BadRequest(f"The cursor is from {of}, not from {job}: start again without it.")
    if views != _views():
        raise BadRequest("The views have changed since the cursor was returned: start again without it.")
    try:
        return decode(kind, encoded)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise BadRequest("This version of the app cannot use the cursor: start again without it.") from None


def _views() -> list[str]:
    """Return the tables of the views. A cursor holds them, because a job must start over when the views change."""
    return sorted(VIEWS)
