"""The audit: compare orders with the ledger (entry_audit.py), then the ledger with the counters (counter_audit.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chalicelib import completeness
from chalicelib.effects import Steps
from chalicelib.jobs import invocation
from chalicelib.jobs.audit.counter_audit import CounterAudit
from chalicelib.jobs.audit.entry_audit import GRACE_PERIOD_MAX_SECONDS, GRACE_PERIOD_SECONDS, EntryAudit
from chalicelib.jobs.audit.findings import PRODUCTS_MAX
from chalicelib.jobs.invocation import Option

JOB = "audit"

OPTIONS = {
    "seconds": invocation.SECONDS,
    "repair": Option(False, "true or false"),
    "gracePeriodSeconds": Option(GRACE_PERIOD_SECONDS, "a whole number from 1 to 300", 1, GRACE_PERIOD_MAX_SECONDS),
}


class Verdict(StrEnum):
    """The result of an audit."""

    CLEAN = "clean"  # Every order is in the ledger, and every counter is the sum of the ledger.
    DRIFTED = "drifted"  # Drift was found and not repaired.
    UNPROVEN = "unproven"  # No drift was found, but some orders were in flight or some counters were unverified.


@dataclass
class Audit:
    """The progress and findings of an audit, over all its invocations. The cursor holds all fields."""

    seconds: int  # The invocation returns after this time.
    orders: EntryAudit
    counters: CounterAudit
    requests: int = 0  # The number of requests in earlier invocations.
    incomplete_views: list[str] | None = None  # The incomplete views; None until the audit ends.

    @property
    def done(self) -> bool:
        """Whether the audit has finished."""
        return self.incomplete_views is not None

    @property
    def verdict(self) -> Verdict | None:
        """The result, or None if it is not known yet."""
        if self.orders.drift or self.counters.drift:
            return Verdict.DRIFTED
        if not (self.orders.done and self.counters.done):
            return None
        return Verdict.UNPROVEN if self.unproven else Verdict.CLEAN

    @property
    def unproven(self) -> int:
        """The number of orders in flight and unverified counters."""
        return self.orders.figures["inFlight"] + self.counters.figures["unverified"]

    @property
    def drifted_products(self) -> int:
        """The number of products with findings, at most PRODUCTS_MAX. It is at least 1 if there is drift."""
        products = self.orders.products | self.counters.products
        return min(max(len(products), int(self.verdict is Verdict.DRIFTED)), PRODUCTS_MAX)

    def steps(self) -> Steps[None]:
        """Audit entries before counters, because entry repairs change counters. Then note which views are complete."""
        yield from self.orders.steps()
        yield from self.counters.steps(self.orders.may_correct)
        all_counted = self.verdict is not Verdict.DRIFTED and not self.orders.figures["inFlight"]
        self.incomplete_views = yield from completeness.incomplete(all_counted)

    def to_json(self, requests: int) -> dict[str, Any]:
        """Return the job's response (docs/jobs.md). `requests` is the number of this invocation's DynamoDB requests."""
        total, orders, counters = self.requests + requests, self.orders, self.counters
        number, part = (counters.number, counters) if orders.done else (0, orders)
        return {
            "done": self.done,
            "cursor": None if self.done else invocation.cursor(JOB, replace(self, requests=total)),
            "verdict": self.verdict,
            "driftedProducts": self.drifted_products,
            "incompleteViews": self.incomplete_views,
            "streamWasBehind": orders.stream_was_behind,
            "orders": {**orders.figures, "findings": orders.sample},
            "counters": {**counters.figures, "findings": counters.sample},
            "progress": {"pass": number, "table": part.table, "items": part.items},
            "requests": total,
        }


def request(event: Mapping[str, Any] | None) -> Audit:
    """Return the audit for an event such as `{}`, `{"repair": true}` or `{"cursor": "..."}`.

    Every event may have `seconds`. One without a cursor may have `gracePeriodSeconds`. Raise BadRequest for others.
    """
    given = dict(event or {})
    cursor = given.pop("cursor", None)
    if cursor is None:
        values = invocation.options(JOB, given, OPTIONS)
        orders = EntryAudit(values["repair"], grace_period_seconds=values["gracePeriodSeconds"])
        return Audit(values["seconds"], orders, CounterAudit(values["repair"]))
    audit: Audit = invocation.state(JOB, cursor, Audit)
    audit.seconds = invocation.options(JOB, given, {"seconds": invocation.SECONDS})["seconds"]
    return audit
