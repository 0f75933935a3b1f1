"""The audit: proves that the ledger agrees with OrdersTable, and that every counter is the sum of the ledger.

The two proofs are in audit_orders.py and audit_counters.py; here is how they are asked for, how they go on in
the next invocation, and what is answered.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib import jobs
from chalicelib.audit_counters import Stage, Sums
from chalicelib.audit_findings import Products
from chalicelib.audit_orders import Agreement
from chalicelib.jobs import Asking, Option

JOB = "audit"

PATIENCE_SECONDS = 10
"""How long a difference between an order and the ledger may be one that the stream is about to settle."""
_PATIENCE_MAX_SECONDS = 300

OPTIONS = {
    "seconds": jobs.SECONDS,
    "repair": Option(False, "true or false"),
    "patienceSeconds": Option(
        PATIENCE_SECONDS, f"a whole number from 1 to {_PATIENCE_MAX_SECONDS}", 1, _PATIENCE_MAX_SECONDS
    ),
}


_LOGGED_FINDINGS = 10


class Audit:
    """How far an audit has come, over all its invocations, and what it has found."""

    def __init__(self, seconds: int = jobs.SECONDS_MAX, repair: bool = False, patience_seconds: int = 10) -> None:
        self.seconds = seconds
        self._repair = repair
        self._patience_seconds = patience_seconds
        self._requests = 0  # Of the invocations before this one.
        self._products = Products()
        self._orders = Agreement(repair, patience_seconds, self._products)
        self._counters = Sums(repair, self._products)

    @property
    def done(self) -> bool:
        """Whether both proofs are through."""
        return self._orders.table is None and self._counters.stage is Stage.DONE

    @property
    def clean(self) -> bool | None:
        """Whether all is as it should be, or has been mended; None if that is not known yet."""
        if self._orders.drift or self._counters.drift:
            return False
        return True if self.done else None

    @property
    def drifted_products(self) -> int:
        """How many products are concerned by what has been found, mended or not (findings.PRODUCTS_MAX at the most)."""
        return len(self._products.digests)

    def steps(self) -> Asking[None]:
        """The ledger first: what is mended there moves counters."""
        yield from self._orders.steps()
        yield from self._counters.steps()

    def to_json(self, requests: int) -> dict[str, Any]:
        """The job's answer, over all invocations; `requests` is how many of DynamoDB this one has made.

        `{"done", "cursor", "clean", "driftedProducts", "orders", "counters", "progress", "requests"}`. The counts
        are complete, `findings` the first of them. `clean` says that there is no drift, or none that is not mended.
        """
        return {
            "done": self.done,
            "cursor": None if self.done else jobs.cursor(JOB, self._state(requests)),
            "clean": self.clean,
            "driftedProducts": self.drifted_products,
            "orders": {**self._orders.figures, "findings": self._orders.shown.findings},
            "counters": {
                **self._counters.figures,
                "findings": self._counters.shown.findings,
                "moving": self._counters.unsettled.findings,
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
        slice_, slices = self._counters.slice_of
        return {
            "proof": "counters",
            "stage": self._counters.stage.value,
            "pass": self._counters.number,
            "slice": slice_,
            "slices": slices,
            "items": self._counters.items,
        }

    def _state(self, requests: int) -> dict[str, Any]:
        return {
            "repair": self._repair,
            "patienceSeconds": self._patience_seconds,
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

    `seconds` can stand in each of them, and `patienceSeconds` in a first one. Raises BadRequest for anything else.
    """
    asked = dict(event or {})
    text = asked.pop("cursor", None)
    if text is None:
        values = jobs.options(JOB, asked, OPTIONS)
        return Audit(values["seconds"], values["repair"], values["patienceSeconds"])
    state = jobs.state(JOB, text)
    values = jobs.options(JOB, asked, {"seconds": jobs.SECONDS})
    audit = Audit(values["seconds"], state["repair"], state["patienceSeconds"])
    audit.restore(state)
    return audit
