"""The daily audit: run an audit once a day, or when a user requests one, over as many invocations as it takes.

A schedule invokes the function every 15 minutes. Each invocation resumes the running audit, or starts one if it is due.
StateTable holds the cursor, the last verdict and the time of the last request. One invocation's part of an audit is a
turn. Only the invocation that claimed a turn may store its result, so two invocations at once do no harm.
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
TURN_SECONDS = 840  # The work of one turn stops after this time.
CLAIM_SECONDS = 880  # A longer turn has crashed; the next invocation, after 900 s, takes over.
CURSOR_MAX_BYTES = 390_000
"""The largest cursor that fits into an item, which has at most 400 KB. An audit with a larger one ends early."""

_PARTS = ("orders", "counters")


class State(NamedTuple):
    """The items about audits in StateTable. Times are epoch seconds; 0 means never."""

    turn: int  # The number of the last claimed turn.
    claimed_at: float  # When that turn was claimed; 0 if it has ended.
    started_at: float  # When the running or last audit started.
    cursor: str | None  # None if no audit is running, or if its first turn has not ended.
    finished_at: float
    verdict: Mapping[str, Any] | None  # The verdict and figures of the last audit.
    requested_at: float

    @property
    def is_running(self) -> bool:
        """Whether an audit has started and not finished."""
        return self.cursor is not None or self.claimed_at > 0

    def due(self, now: float) -> bool:
        """Return whether a new audit is due: a day has passed, or a user has requested one."""
        return now >= self.started_at + INTERVAL_SECONDS or self.requested_at > self.started_at

    def age_hours(self, now: float) -> float:
        """Return the hours since the last audit finished, or since the first audit started if none has finished."""
        return round((now - (self.finished_at or self.started_at or now)) / 3600, 2)


class Turn(NamedTuple):
    """The part of an audit that one invocation does."""

    number: int
    started_at: float  # The start of the audit. Its turns start later.
    work: Audit


def begin(now: float) -> Steps[tuple[State, Turn | None]]:
    """Load the state and claim a turn. The turn is None if no audit is due or another invocation has the turn."""
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
    """Store the turn's cursor, or the verdict if the audit is over. Return whether it is over.

    `requests` is the number of DynamoDB requests that the turn made.
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
    """Store the request for an audit. Return the same response as `GET /audit`."""
    yield update_state(REQUESTED, {"requestedAt": _number(now)})
    return (yield from to_json())


def to_json() -> Steps[dict[str, Any]]:
    """Return the response of `GET /audit`: the last audit, the running audit and the pending request."""
    state = yield from _load()
    waiting = state.requested_at > state.started_at
    last = state.verdict and {"finishedAt": timestamps.from_epoch(int(state.finished_at)), **state.verdict}
    return {
        "last": last,
        "runningSince": timestamps.from_epoch(int(state.started_at)) if state.is_running else None,
        "requestedAt": timestamps.from_epoch(int(state.requested_at)) if waiting else None,
    }


def _work(cursor: str | None) -> Audit:
    """Return the audit in a cursor, or a new audit if there is no cursor or this version cannot use it."""
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
