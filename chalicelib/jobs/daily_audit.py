"""The scheduled audit: one a day, and one whenever somebody asks for it, over as many invocations as it takes.

A schedule invokes the function every 15 minutes. It resumes the audit that is running, or starts one if one is due. The
cursor, the last verdict and the request are items of StateTable. An audit counts as one turn after the other: only who
has claimed a turn may write its result, so that two invocations at once do no harm.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import tables, timestamps
from chalicelib.effects import BatchGet, Key, Steps, update_state
from chalicelib.jobs import audit, invocation
from chalicelib.jobs.audit import Audit
from chalicelib.orders import Item

RUNNING: Key = ("audit/running",)
VERDICT: Key = ("audit/verdict",)
REQUESTED: Key = ("audit/requested",)

INTERVAL_SECONDS = 24 * 60 * 60
TURN_SECONDS = 840  # An invocation leaves the audit after this time.
CLAIM_SECONDS = 880  # A later turn is crashed, and another may take over. The schedule's interval is 900 s.
CURSOR_MAX_BYTES = 390_000
"""An item has at most 400 KB. An audit that has more to remember ends with what it has found."""

_PARTS = ("orders", "counters")


class State(NamedTuple):
    """What StateTable has about audits. Times are epoch seconds; 0 means never."""

    turn: int  # The number of the last turn that was claimed.
    claimed_at: float  # 0 if that turn has ended.
    started_at: float  # Of the running audit, or of the last one.
    cursor: str | None  # None before the end of an audit's first turn, and if no audit is running.
    finished_at: float
    verdict: Mapping[str, Any] | None  # The last audit's.
    requested_at: float

    @property
    def is_running(self) -> bool:
        """Whether an audit has started and is not over."""
        return self.cursor is not None or self.claimed_at > 0

    def due(self, now: float) -> bool:
        """Return whether to start an audit if none is running."""
        return now >= self.started_at + INTERVAL_SECONDS or self.requested_at > self.started_at

    def age_hours(self, now: float) -> float:
        """Return how long ago an audit has finished, or the first one has started."""
        return round((now - (self.finished_at or self.started_at or now)) / 3600, 2)


class Turn(NamedTuple):
    """An invocation's part of an audit."""

    number: int
    started_at: float  # The audit's start.
    work: Audit


def begin(now: float) -> Steps[tuple[State, Turn | None]]:
    """Return the state, and the turn if there is something to do and nobody else does it. `now` is in epoch seconds."""
    state = yield from _load()
    if now < state.claimed_at + CLAIM_SECONDS or not (state.is_running or state.due(now)):
        return state, None
    started_at = state.started_at if state.is_running else now
    turn = Turn(state.turn + 1, started_at, _work(state.cursor))
    values = {"turn": _number(turn.number), "claimedAt": _number(now), "startedAt": _number(started_at)}
    condition = "attribute_not_exists(turn) OR turn = :old"
    claimed = yield update_state(RUNNING, values, condition, {":old": _number(state.turn)})
    return state, turn if claimed else None


def end(turn: Turn, requests: int, now: float) -> Steps[bool]:
    """Store where the turn has left the audit, or its verdict; return whether the audit is over.

    The turn has made `requests` requests of DynamoDB.
    """
    result = turn.work.to_json(requests)
    packed = base64.urlsafe_b64decode(f"{result['cursor']}==") if result["cursor"] else b""
    is_over = not 0 < len(packed) <= CURSOR_MAX_BYTES
    values = {"packedCursor": {"NULL": True} if is_over else {"B": packed}, "claimedAt": _number(0)}
    mine = yield update_state(RUNNING, values, "turn = :mine", {":mine": _number(turn.number)})
    if mine and is_over:
        figures = {part: {name: each for name, each in result[part].items() if name != "findings"} for part in _PARTS}
        kept = {name: result[name] for name in ("done", "verdict", "driftedProducts", "requests")} | figures
        times = {"startedAt": _number(turn.started_at), "finishedAt": _number(now)}
        yield update_state(VERDICT, {**times, "lastResult": {"S": json.dumps(kept)}})
    return bool(mine and is_over)


def request(now: float) -> Steps[dict[str, Any]]:
    """Ask for an audit, and return the response of `GET /audit`."""
    yield update_state(REQUESTED, {"requestedAt": _number(now)})
    return (yield from to_json())


def to_json() -> Steps[dict[str, Any]]:
    """Return the response of `GET /audit`: the last audit, the running one, and whether one is asked for."""
    state = yield from _load()
    waiting = state.requested_at > state.started_at
    last = state.verdict and {"finishedAt": timestamps.from_epoch(int(state.finished_at)), **state.verdict}
    return {
        "last": last,
        "runningSince": timestamps.from_epoch(int(state.started_at)) if state.is_running else None,
        "requestedAt": timestamps.from_epoch(int(state.requested_at)) if waiting else None,
    }


def _work(cursor: str | None) -> Audit:
    """Return the audit of a cursor; a new one if an upgrade has made the cursor unusable."""
    try:
        return audit.request({"seconds": TURN_SECONDS, **({"cursor": cursor} if cursor else {})})
    except invocation.BadRequest:
        return audit.request({"seconds": TURN_SECONDS})


# --- Items of StateTable -------------------------------------------------------------------------


def _load() -> Steps[State]:
    found = yield BatchGet(tables.STATE, [RUNNING, VERDICT, REQUESTED])
    running, verdict, requested = (found.get(key, {}) for key in (RUNNING, VERDICT, REQUESTED))
    packed = running.get("packedCursor", {}).get("B")
    return State(
        turn=int(_value(running, "turn")),
        claimed_at=_value(running, "claimedAt"),
        started_at=_value(running, "startedAt"),
        cursor=base64.urlsafe_b64encode(packed).decode().rstrip("=") if packed else None,
        finished_at=_value(verdict, "finishedAt"),
        verdict=json.loads(verdict["lastResult"]["S"]) if verdict else None,
        requested_at=_value(requested, "requestedAt"),
    )


def _value(item: Item, name: str) -> float:
    return float(item[name]["N"]) if name in item else 0


def _number(value: float) -> dict[str, str]:
    return {"N": f"{value:.3f}" if isinstance(value, float) else str(value)}
