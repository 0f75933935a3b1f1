"""The audit: compares the orders with the ledger (entry_audit.py), then the counters with it (counter_audit.py).

This module has its options, its verdict and its response.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chalicelib.effects import Steps
from chalicelib.jobs import invocation
from chalicelib.jobs.audit.counter_audit import CounterAudit, Phase
from chalicelib.jobs.audit.entry_audit import GRACE_PERIOD_MAX_SECONDS, GRACE_PERIOD_SECONDS, EntryAudit
from chalicelib.jobs.audit.findings import PRODUCTS_MAX
from chalicelib.jobs.invocation import Option

JOB = "audit"

OPTIONS = {
    "seconds": invocation.SECONDS,
    "repair": Option(False, "true or false"),
    "gracePeriodSeconds": Option(
        GRACE_PERIOD_SECONDS, f"a whole number from 1 to {GRACE_PERIOD_MAX_SECONDS}", 1, GRACE_PERIOD_MAX_SECONDS
    ),
}

_LOGGED_FINDINGS = 10


class Verdict(StrEnum):
    """The result of an audit."""

    CLEAN = "clean"  # Every order is in the ledger, and every counter is the sum of the ledger.
    DRIFTED = "drifted"  # Something differs and is not repaired.
    UNPROVEN = "unproven"  # No drift was found, but orders were in flight or counters could not be verified.


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
"""What to do next, by the result of the audit."""


@dataclass
class Audit:
    """The progress and the findings of an audit, over all its invocations. All fields go into the cursor."""

    seconds: int  # After which this invocation returns.
    orders: EntryAudit
    counters: CounterAudit
    requests: int = 0  # Made by the invocations before this one.

    @property
    def done(self) -> bool:
        """Whether both parts are complete."""
        return self.orders.done and self.counters.phase is Phase.DONE

    @property
    def verdict(self) -> Verdict | None:
        """The result, or None if it is not known yet."""
        if self.orders.drift or self.counters.drift:
            return Verdict.DRIFTED
        if not self.done:
            return None
        return Verdict.UNPROVEN if self.unproven else Verdict.CLEAN

    @property
    def unproven(self) -> int:
        """How many orders and counters were found neither right nor wrong."""
        return self.orders.figures["inFlight"] + self.counters.figures["unverified"]

    @property
    def advice(self) -> str | None:
        """What to do next, or None if the verdict is not known yet."""
        match self.verdict:
            case Verdict.CLEAN:
                return ADVICE["clean"]
            case Verdict.UNPROVEN:
                return ADVICE["in flight" if self.orders.figures["inFlight"] else "moving"]
            case Verdict.DRIFTED if not self.orders.repair:
                return ADVICE["drifted"]
            case Verdict.DRIFTED if self.orders.stream_was_behind:
                return ADVICE["stream behind"]
            case Verdict.DRIFTED:
                return ADVICE["held" if self.counters.figures["held"] else "not repaired"]
        return None

    @property
    def drifted_products(self) -> int:
        """How many products the findings concern, repaired or not: at most PRODUCTS_MAX.

        At least 1 if there is drift, since the products of an unreadable entry can be unknown.
        """
        products = self.orders.products.digests.keys() | self.counters.products.digests.keys()
        return min(max(len(products), int(self.verdict is Verdict.DRIFTED)), PRODUCTS_MAX)

    def steps(self) -> Steps[None]:
        """Audit the ledger first, since its repairs change counters."""
        yield from self.orders.steps()
        yield from self.counters.steps(self.orders.may_correct)
        self.orders.try_refused_again()
        yield from self.orders.steps()

    def to_json(self, requests: int) -> dict[str, Any]:
        """Return the response of the job, over all invocations. This one has made `requests` requests of DynamoDB.

        `{"done", "cursor", "verdict", "advice", "driftedProducts", "orders", "counters", "progress", "requests"}`.
        The counts are complete; `findings` and `moving` are samples. `verdict` is null while it is not known.
        """
        total = self.requests + requests
        orders, counters = self.orders, self.counters
        return {
            "done": self.done,
            "cursor": None if self.done else invocation.cursor(JOB, replace(self, requests=total)),
            "verdict": self.verdict,
            "advice": self.advice,
            "driftedProducts": self.drifted_products,
            "orders": {**orders.figures, "findings": orders.sample.findings},
            "counters": {
                **counters.figures,
                "findings": counters.sample.findings,
                "moving": counters.unverified.findings,
            },
            "progress": counters.progress() if orders.idle else orders.progress(),
            "requests": total,
        }

    def to_log(self, requests: int) -> dict[str, Any]:
        """Return the same for a log line: without the cursor, and with smaller samples."""
        response = self.to_json(requests)
        del response["cursor"]
        for part, sample in (("orders", "findings"), ("counters", "findings"), ("counters", "moving")):
            response[part][sample] = response[part][sample][:_LOGGED_FINDINGS]
        return response


def request(event: Mapping[str, Any] | None) -> Audit:
    """Return the audit that an event requests: `{}`, `{"repair": true}`, or `{"cursor": "..."}`.

    Each may have `seconds`, and the first two `gracePeriodSeconds`. Raise BadRequest for anything else.
    """
    given = dict(event or {})
    cursor = given.pop("cursor", None)
    if cursor is None:
        values = invocation.options(JOB, given, OPTIONS)
        orders = EntryAudit(values["repair"], values["gracePeriodSeconds"])
        return Audit(values["seconds"], orders, CounterAudit(values["repair"]))
    audit: Audit = invocation.state(JOB, cursor, Audit)
    audit.seconds = invocation.options(JOB, given, {"seconds": invocation.SECONDS})["seconds"]
    return audit
