"""The audit: proves that the ledger agrees with OrdersTable, and that every counter is the sum of the ledger.

The two proofs are in entry_audit.py and counter_audit.py; here is how they are asked for, how they go on in
the next invocation, and what is answered.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from chalicelib.effects import Steps
from chalicelib.jobs import invocation, shapes
from chalicelib.jobs.audit import counter_audit, entry_audit
from chalicelib.jobs.audit.counter_audit import CounterAudit, Phase
from chalicelib.jobs.audit.entry_audit import EntryAudit
from chalicelib.jobs.audit.findings import PRODUCTS_MAX, AffectedProducts
from chalicelib.jobs.invocation import Option

JOB = "audit"

GRACE_PERIOD_SECONDS = 10
"""How long a difference between an order and the ledger may be one that the stream is about to settle."""
_GRACE_PERIOD_MAX_SECONDS = 300

OPTIONS = {
    "seconds": invocation.SECONDS,
    "repair": Option(False, "true or false"),
    "gracePeriodSeconds": Option(
        GRACE_PERIOD_SECONDS, f"a whole number from 1 to {_GRACE_PERIOD_MAX_SECONDS}", 1, _GRACE_PERIOD_MAX_SECONDS
    ),
}

_STATE = shapes.record(
    {
        "repair": OPTIONS["repair"].takes,
        "gracePeriodSeconds": OPTIONS["gracePeriodSeconds"].takes,
        "requests": shapes.whole(),
        "products": shapes.array(shapes.text, PRODUCTS_MAX),
        "orders": entry_audit.STATE,
        "counters": counter_audit.STATE,
    }
)

_LOGGED_FINDINGS = 10


class Verdict(StrEnum):
    """What an audit comes to."""

    CLEAN = "clean"  # Every order is in the ledger, and every counter is the sum of the ledger.
    DRIFTED = "drifted"  # Something differs, and has not been repaired.
    UNPROVEN = "unproven"  # Nothing differs for sure, but orders were in flight or counters kept changing.


ADVICE = {
    "clean": "Every order is in the ledger, and every total is the sum of the ledger.",
    "drifted": "Run the audit again with repair, or a backfill if a view was just added.",
    "stream behind": (
        "Nothing was repaired, because the stream handler was behind when the audit began."
        " Run the audit again in a minute, or in 15 minutes if the stream has stopped."
    ),
    "held": (
        "Some counters were not repaired, because orders that change them are in flight."
        " Wait a minute, then run the audit again."
    ),
    "not repaired": (
        "Not everything could be repaired. The findings name the orders and the reasons."
        " Restore or delete ledger entries that cannot be read."
    ),
    "in flight": (
        "Some orders differ from the ledger, but the stream may still deliver them."
        " Wait until it has caught up, or for 15 minutes if it has stopped, then run the audit again."
    ),
    "moving": (
        "Some counters changed during every pass, or a ledger entry cannot be read."
        " Run the audit again when fewer orders come in."
    ),
}
"""What to do next, by the state of the audit."""


class Audit:
    """How far an audit has come, over all its invocations, and what it has found."""

    def __init__(
        self, seconds: int = invocation.SECONDS_MAX, repair: bool = False, grace_period_seconds: int = 10
    ) -> None:
        self.seconds = seconds
        self._repair = repair
        self._grace_period_seconds = grace_period_seconds
        self._requests = 0  # Of the invocations before this one.
        self._products = AffectedProducts()
        self._orders = EntryAudit(repair, grace_period_seconds, self._products)
        self._counters = CounterAudit(repair, self._orders.may_correct, self._products)

    @property
    def done(self) -> bool:
        """Whether both proofs are through."""
        return self._orders.done and self._counters.phase is Phase.DONE

    @property
    def verdict(self) -> Verdict | None:
        """What the audit comes to; None if that is not known yet."""
        if self._orders.drift or self._counters.drift:
            return Verdict.DRIFTED
        if not self.done:
            return None
        return Verdict.UNPROVEN if self.unproven else Verdict.CLEAN

    @property
    def unproven(self) -> int:
        """How many orders and counters have neither been found right nor wrong."""
        return self._orders.figures["inFlight"] + self._counters.figures["unverified"]

    @property
    def advice(self) -> str | None:
        """What to do next, in a sentence; None if the verdict is not known yet."""
        match self.verdict:
            case Verdict.CLEAN:
                return ADVICE["clean"]
            case Verdict.DRIFTED:
                return ADVICE[self._why_drifted()]
            case Verdict.UNPROVEN:
                return ADVICE["in flight" if self._orders.figures["inFlight"] else "moving"]
        return None

    def _why_drifted(self) -> str:
        if not self._repair:
            return "drifted"
        if self._orders.stream_was_behind:
            return "stream behind"
        return "held" if self._counters.figures["held"] else "not repaired"

    @property
    def drifted_products(self) -> int:
        """How many products what was found concerns, repaired or not: at most PRODUCTS_MAX of findings.py.

        At least 1 if there is drift: which products an unreadable entry concerns may not be known.
        """
        return max(len(self._products.digests), int(self.verdict is Verdict.DRIFTED))

    def steps(self) -> Steps[None]:
        """The ledger first: what is repaired there moves counters."""
        yield from self._orders.steps()
        yield from self._counters.steps()
        self._orders.try_refused_again()
        yield from self._orders.steps()

    def to_json(self, requests: int) -> dict[str, Any]:
        """The job's answer, over all invocations; `requests` is how many of DynamoDB this one has made.

        `{"done", "cursor", "verdict", "advice", "driftedProducts", "orders", "counters", "progress", "requests"}`.
        The counts are complete, `findings` the first of them. `verdict` is one of Verdict, and null while nothing
        differs but not everything has been gone through.
        """
        return {
            "done": self.done,
            "cursor": None if self.done else invocation.cursor(JOB, self._state(requests)),
            "verdict": self.verdict,
            "advice": self.advice,
            "driftedProducts": self.drifted_products,
            "orders": {**self._orders.figures, "findings": self._orders.shown.findings},
            "counters": {
                **self._counters.figures,
                "findings": self._counters.shown.findings,
                "moving": self._counters.unverified.findings,
            },
            "progress": self._progress(),
            "requests": self._requests + requests,
        }

    def to_log(self, requests: int) -> dict[str, Any]:
        """The same for a log line, without the cursor and with the first few findings only."""
        answer = self.to_json(requests)
        del answer["cursor"]
        for name in ("orders", "counters"):
            answer[name]["findings"] = answer[name]["findings"][:_LOGGED_FINDINGS]
        answer["counters"]["moving"] = answer["counters"]["moving"][:_LOGGED_FINDINGS]
        return answer

    def _progress(self) -> dict[str, Any]:
        """What is being gone through: a proof, its pass and slice where it has some, and how far that is."""
        if self._orders.table is not None:
            return {"proof": "orders", "table": self._orders.table, "items": self._orders.items}
        partition, partitions = self._counters.partition_of
        return {
            "proof": "counters",
            "phase": self._counters.phase.value,
            "pass": self._counters.number,
            "partition": partition,
            "partitions": partitions,
            "items": self._counters.items,
        }

    def _state(self, requests: int) -> dict[str, Any]:
        return {
            "repair": self._repair,
            "gracePeriodSeconds": self._grace_period_seconds,
            "requests": self._requests + requests,
            "products": list(self._products.digests),
            "orders": self._orders.state(),
            "counters": self._counters.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what a cursor holds."""
        self._requests = state["requests"]
        for digest in state["products"]:
            self._products.digests[digest] = None
        self._orders.restore(state["orders"])
        self._counters.restore(state["counters"])


def request(event: Mapping[str, Any] | None) -> Audit:
    """The audit that is asked for: `{}`, `{"repair": true}`, or `{"cursor": "..."}`.

    `seconds` can stand in each of them, and `gracePeriodSeconds` in a first one. Raises BadRequest for anything else.
    """
    asked = dict(event or {})
    text = asked.pop("cursor", None)
    if text is None:
        values = invocation.options(JOB, asked, OPTIONS)
        return Audit(values["seconds"], values["repair"], values["gracePeriodSeconds"])
    state = invocation.state(JOB, text, _STATE)
    values = invocation.options(JOB, asked, {"seconds": invocation.SECONDS})
    audit = Audit(values["seconds"], state["repair"], state["gracePeriodSeconds"])
    audit.restore(state)
    return audit
