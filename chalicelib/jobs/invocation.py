"""How a job is invoked: its options, and the cursor with which the next invocation goes on.

A job does a piece of its work in each invocation and returns a cursor until nothing is left to do.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from chalicelib.effects import Steps
from chalicelib.jobs.shapes import Shape
from chalicelib.views import VIEWS


class Job(Protocol):
    """A backfill or an audit."""

    seconds: int
    """After how long to leave the job at a checkpoint."""

    def steps(self) -> Steps[None]:
        """Yield the effects until the job is done."""


SECONDS_MAX = 900
"""Lambda's longest timeout (Lambda quotas)."""

# Of the JSON that a cursor unpacks to. Measured audits need up to 3.2 MB, and an estimated 9 MB if 20,000 counters
# are wrong (audit_counters.HELD_MAX_BYTES) and ten orders are named for each. Parsing takes up to 33 times the memory.
_CURSOR_MAX_BYTES = 12_000_000


class BadRequest(ValueError):
    """A job was asked for something that it does not know; its text says what it knows."""


# --- What a job is asked -------------------------------------------------------------------------


class Option(NamedTuple):
    """What an option of a request may be."""

    default: Any
    rule: str
    smallest: int = 0
    largest: int = 0  # Of a number; an option of another type has neither.

    def takes(self, value: object) -> bool:
        """Whether the value is one of those that the rule says."""
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        return type(value) is int and self.smallest <= value <= self.largest


SECONDS = Option(SECONDS_MAX, f"a whole number of seconds from 1 to {SECONDS_MAX}", 1, SECONDS_MAX)
"""After how long the job is to return with a cursor; it does so earlier where its invocation ends earlier."""


def options(job: str, event: Mapping[str, Any] | None, known: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a request, those that it leaves out by their defaults. Raises BadRequest for any other."""
    asked = dict(event or {})
    values = {}
    wrong = []
    for name, option in known.items():
        values[name] = asked.pop(name, option.default)
        if not option.takes(values[name]):
            wrong.append(f"{name} must be {option.rule}")
    wrong += [f"there is no option {name}" for name in asked]
    if wrong:
        there = ", ".join([*known, "cursor"])
        raise BadRequest(f"{'; '.join(wrong)}. The options of {job} are {there}.")
    return values


# --- Cursors -------------------------------------------------------------------------------------


def cursor(job: str, state: Mapping[str, Any]) -> str:
    """The opaque text from which a job goes on."""
    content = {"job": job, "views": _views(), "state": state}
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode())
    return base64.urlsafe_b64encode(zlib.crc32(packed).to_bytes(4, "big") + packed).decode()


def state(job: str, text: object, shape: Shape) -> dict[str, Any]:
    """Return the state in a cursor; it has this shape.

    Raises BadRequest for a cursor that is damaged, of another job, of other views, or of another shape.
    """
    try:
        raw = base64.b64decode(str(text), altchars=b"-_", validate=True)
        checksum, packed = raw[:4], raw[4:]
        # base64 ignores some bits of its last letters: what is right comes out the same again.
        if checksum != zlib.crc32(packed).to_bytes(4, "big") or base64.urlsafe_b64encode(raw).decode() != text:
            raise ValueError
        content = json.loads(zlib.decompressobj().decompress(packed, _CURSOR_MAX_BYTES), parse_constant=_refuse)
        held: dict[str, Any] = content["state"]
        of, views = content["job"], content["views"]
    except (binascii.Error, zlib.error, ValueError, KeyError, TypeError, RecursionError):
        raise BadRequest("The cursor is damaged: pass it on just as it was given, or start again without it.") from None
    if of != job:
        raise BadRequest(f"The cursor is one of {of}, and this is {job}: start again without it.")
    if views != _views():
        raise BadRequest("The views have changed since the cursor was given: start again without it.")
    if not shape(held):
        raise BadRequest("The cursor is not one that this version of the app makes: start again without it.")
    return held


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python takes for JSON."""
    raise ValueError(constant)


def _views() -> list[str]:
    """What a job's work so far depends on: with another view, what is done would have to be done again."""
    return sorted(VIEWS)
