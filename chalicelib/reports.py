"""Reports: the log lines and metrics about a batch or an audit."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.counting.committer import Committer
from chalicelib.counting.stream import Batch
from chalicelib.jobs import daily_audit
from chalicelib.jobs.audit import Audit, Verdict

Level = Literal["info", "warning", "error"]


class Line(NamedTuple):
    """A log line."""

    level: Level
    message: str
    fields: Mapping[str, Any]


class Metric(NamedTuple):
    """A metric's value and unit."""

    value: float
    unit: MetricUnit = MetricUnit.Count


class Report(NamedTuple):
    """Log lines, and metrics by name."""

    lines: Sequence[Line]
    metrics: Mapping[str, Metric]


LAG_NOT_REPORTED = Report([], {"lagNotReported": Metric(1)})


def of_batch(batch: Batch, work: Committer, ages: Sequence[float], seconds: float) -> Report:
    """Return the report of a batch: its metrics, and a line for each order that was rejected or set apart.

    `ages` are the ages of the batch's records in seconds. Counting the batch took `seconds`.
    """
    rejected, set_apart, failed = work.counts.rejected, work.set_apart, work.counts.view_problems
    counts = {
        "records": batch.size,
        "applied": work.counts.applied,
        "alreadyCounted": work.counts.unchanged,
        "rejected": len(rejected),
        "setApart": len(set_apart) + len(batch.malformed),
        "viewProblems": len(failed),
        "transactions": work.counts.transactions,
        "conflicts": work.counts.conflicts,
    }
    milliseconds, lag_seconds = round(seconds * 1000), round(max(ages, default=0.0), 1)
    lines = [
        *(Line("warning", "Order rejected", {"orderId": id, "problems": rejected[id]}) for id in rejected),
        *(Line("error", "Order set apart", {"orderId": id, "reason": set_apart[id]}) for id in set_apart),
        *(Line("error", "View failed", {"orderId": id, "problems": failed[id]}) for id in failed),
        *(Line("error", "Record set apart", record._asdict()) for record in batch.malformed),
        Line("info", "Batch", {**counts, "milliseconds": milliseconds, "lagSeconds": lag_seconds}),
    ]
    metrics = {name: Metric(count) for name, count in counts.items()}
    metrics["milliseconds"] = Metric(milliseconds, MetricUnit.Milliseconds)
    metrics["lagSeconds"] = Metric(lag_seconds, MetricUnit.Seconds)
    return Report(lines, metrics)


def of_turn(
    state: daily_audit.State, turn: daily_audit.Turn | None, requests: int, is_over: bool, now: float
) -> Report:
    """Return the report of a turn of the daily audit, with the audit's age. `now` is in epoch seconds."""
    age = {"AuditAgeHours": Metric(0 if is_over else state.age_hours(now))}
    if turn is None:
        return Report([], age)
    report = of_audit(turn.work, requests)
    if is_over or turn.work.verdict is Verdict.DRIFTED:
        return report._replace(metrics={**report.metrics, **age})
    return Report([Line("info", "Audit goes on", _audit_fields(turn.work, requests))], age)


_AUDIT_LEVELS: Mapping[Verdict, Level] = {
    Verdict.CLEAN: "info",
    Verdict.DRIFTED: "error",
    Verdict.UNPROVEN: "warning",
}


def of_audit(work: Audit, requests: int) -> Report:
    """Return the report of an audit. `requests` is the number of DynamoDB requests in its last invocation."""
    line = Line(_AUDIT_LEVELS[work.verdict or Verdict.UNPROVEN], "Audit", _audit_fields(work, requests))
    if work.verdict is None:  # No drift so far, but the audit has not finished.
        line = line._replace(message="Audit incomplete: run make audit")
    return Report(
        [line],
        {
            "DriftedProducts": Metric(work.drifted_products),
            "AuditUnproven": Metric(work.unproven),
            "AuditIncomplete": Metric(int(not work.done)),
        },
    )


_LOGGED_FINDINGS = 10


def _audit_fields(work: Audit, requests: int) -> dict[str, Any]:
    """Return the response of an audit without its cursor and with fewer findings."""
    response = work.to_json(requests)
    del response["cursor"]
    for part in ("orders", "counters"):
        response[part]["findings"] = response[part]["findings"][:_LOGGED_FINDINGS]
    return response
