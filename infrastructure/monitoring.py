"""The CloudWatch alarms and dashboard, as CloudFormation resources for the template.

docs/operations.md has a section for each alarm: what it means and what to do.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chalicelib import tables

APP = "order-totals"
NAMESPACE = "OrderTotals"
"""The namespace of the metrics that app.py logs in CloudWatch's embedded metric format."""
RUNBOOK = "docs/operations.md"
TOPIC_PARAMETER = "AlarmTopic"
NOTIFY = "NotifyOfAlarms"


def stage_name(stage: str) -> str:
    """Return the name of a stage's API, metrics, alarms and dashboard, such as order-totals-prod."""
    return f"{APP}-{stage}"


class Timing(NamedTuple):
    """How long a value must be too high: in `periods` of the last `out_of` periods."""

    period_seconds: int = 300
    periods: int = 1
    out_of: int = 1


ONCE = Timing()
LASTING = Timing(60, 3, 5)  # A problem of one minute resolves itself and must wake nobody.
FIVE_MINUTES = Timing(60, 5, 5)
FIFTEEN_MINUTES = Timing(300, 3, 3)
ONE_HOUR = Timing(3600)


class Alarm(NamedTuple):
    """An alarm: it goes off if the statistic of a metric is above a value.

    A metric is named by its source and its name. A source is `app` for what app.py logs, `api`, `mapping` for the event
    source mapping, or the logical name of a function or a table.
    """

    metric: str
    description: str
    statistic: str = "Sum"
    above: float = 0
    timing: Timing = ONCE
    missing: str = "notBreaching"
    """CloudWatch's TreatMissingData. By default periods without data count as good."""
    silent_while: str | None = None
    """If set, the alarm goes off instead while `metric` is 0 or has no data although this one is above 0."""


ALARMS = {
    "StreamBehind": Alarm(
        "Aggregate IteratorAge", "Totals have lagged more than one minute behind the orders for five minutes.",
        "Maximum", 60_000, FIVE_MINUTES,  # Milliseconds. The usual lag is one or two seconds.
    ),
    "StreamErrors": Alarm(
        "Aggregate Errors", "The stream handler keeps failing. Its shard's orders wait; none is lost.", timing=LASTING
    ),
    "StreamThrottles": Alarm(
        "Aggregate Throttles",
        "Lambda throttles the stream handler because the account's concurrency is used up. Totals fall behind.",
        timing=LASTING,
    ),
    "StreamSilent": Alarm(
        "Aggregate Invocations", "Orders are written, but the stream handler has not been invoked for 15 minutes.",
        timing=FIFTEEN_MINUTES, silent_while=f"{tables.ORDERS} ConsumedWriteCapacityUnits",
    ),
    "BatchesGivenUp": Alarm(
        "mapping OnFailureDestinationDeliveredEventCount",
        "Lambda gave up a batch of stream records and kept it. Its orders are not in the totals until a replay.",
    ),
    "RecordsDropped": Alarm(
        "mapping DroppedEventCount",
        "Lambda dropped stream records without keeping them. Their orders are not in the totals until a repair.",
    ),
    "FailureNotKept": Alarm(
        "Aggregate DestinationDeliveryFailures",
        "Lambda gave up a batch and could not keep it. Its orders are not in the totals until a repair.",
    ),
    "OrdersRejected": Alarm(  # The API rejects such orders, so another program writes them into the table.
        "app rejected", "Invalid orders were written directly to OrdersTable. They are not counted."
    ),
    "OrdersSetApart": Alarm(
        "app setApart",
        "Orders were set apart: their ledger entry, counter or stream record is damaged. All others are counted.",
    ),
    "ViewProblems": Alarm(
        "app viewProblems", "A view failed for some orders. It does not count them; the other views do."
    ),
    "TotalsDrifted": Alarm(
        "app DriftedProducts", "The audit found totals that differ from the sum of their orders.", "Maximum",
        missing="ignore",  # The audit runs daily; the alarm keeps its state until the next result.
    ),
    "AuditFailed": Alarm("DailyAudit Errors", "The daily audit failed, so the totals are unchecked."),
    "AuditOverdue": Alarm(
        "app AuditAgeHours",
        "No audit has finished for 36 hours, or its schedule does not run, so the totals are unchecked.",
        "Maximum", 36, ONE_HOUR, missing="breaching",
    ),
    "ApiErrors": Alarm(
        "api 5XXError", "More than 1% of API requests fail with a server error (5xx).",
        "Average", 0.01, LASTING,  # 5xx responses as a share of all requests.
    ),
    "ApiSlow": Alarm(
        "api Latency", "1% of API requests take more than three seconds.",
        "p99", 3_000, LASTING,  # Milliseconds. A cold start takes about one second; API Gateway times out after 29.
    ),
    "ApiThrottles": Alarm(
        "APIHandler Throttles",
        "Lambda throttles the API because the account's concurrency is used up. Requests fail.", timing=LASTING,
    ),
}  # fmt: skip


class Metrics:
    """The metrics of a stage. `api_stage` is API Gateway's name for the stage, the first path segment."""

    def __init__(self, stage: str, api_stage: str) -> None:
        app = stage_name(stage)
        self._by_source: dict[str, tuple[str, dict[str, Any]]] = {
            "app": (NAMESPACE, {"service": app}),
            # API Gateway selects an API by its name, so every stage's API needs its own.
            "api": ("AWS/ApiGateway", {"ApiName": app, "Stage": api_stage}),
            # The logical name is the one that SAM gives the mapping.
            "mapping": ("AWS/Lambda", {"EventSourceMappingUUID": {"Ref": "AggregateAggregateDynamodbEventSource"}}),
            **{table: ("AWS/DynamoDB", {"TableName": {"Ref": table}}) for table in tables.KEYS},
        }

    def find(self, metric: str) -> tuple[str, str, dict[str, Any]]:
        """Return the namespace, the name and the dimensions of a metric, such as `app rejected`."""
        source, name = metric.split()
        namespace, dimensions = self._by_source.get(source, ("AWS/Lambda", {"FunctionName": {"Ref": source}}))
        return namespace, name, dimensions


def parameters() -> dict[str, Any]:
    """Return the template parameter for notifications."""
    return {
        TOPIC_PARAMETER: {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "(arn:[a-z-]+:sns:.+)?",
            "Description": "ARN of the SNS topic that alarms notify; if empty, alarms notify nobody",
        }
    }


def conditions() -> dict[str, Any]:
    """Return the template condition for notifications."""
    return {NOTIFY: {"Fn::Not": [{"Fn::Equals": [{"Ref": TOPIC_PARAMETER}, ""]}]}}


def resources(stage: str, api_stage: str) -> dict[str, Any]:
    """Return the alarms and the dashboard as CloudFormation resources."""
    metrics = Metrics(stage, api_stage)
    found = {f"{name}Alarm": _alarm(stage, name, alarm, metrics) for name, alarm in ALARMS.items()}
    return {**found, "Dashboard": _dashboard(stage, found, metrics)}


def _alarm(stage: str, name: str, alarm: Alarm, metrics: Metrics) -> dict[str, Any]:
    actions = {"Fn::If": [NOTIFY, [{"Ref": TOPIC_PARAMETER}], {"Ref": "AWS::NoValue"}]}
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{stage_name(stage)}-{name}",
            "AlarmDescription": f"{alarm.description} See {RUNBOOK}: {name}.",
            **(_silence(alarm, alarm.silent_while, metrics) if alarm.silent_while else _statistic(alarm, metrics)),
            "DatapointsToAlarm": alarm.timing.periods,
            "EvaluationPeriods": alarm.timing.out_of,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": alarm.above,
            "TreatMissingData": alarm.missing,
            "AlarmActions": actions,
            "OKActions": actions,
        },
    }


def _statistic(alarm: Alarm, metrics: Metrics) -> dict[str, Any]:
    percentile = alarm.statistic.startswith("p")
    return {
        **_metric(metrics, alarm.metric),
        "ExtendedStatistic" if percentile else "Statistic": alarm.statistic,
        **({"EvaluateLowSampleCountPercentile": "ignore"} if percentile else {}),
        "Period": alarm.timing.period_seconds,
    }


def _silence(alarm: Alarm, active: str, metrics: Metrics) -> dict[str, Any]:
    """Return a metric for an alarm that compares two: 1 if `active` has events but the alarm's metric has none."""
    how = {"Period": alarm.timing.period_seconds, "Stat": alarm.statistic}
    compared = [
        {"Id": name, "MetricStat": {"Metric": _metric(metrics, metric), **how}, "ReturnData": False}
        for name, metric in (("active", active), ("events", alarm.metric))
    ]
    result = {"Id": "silent", "Expression": "IF(FILL(active, 0) > 0 AND FILL(events, 0) == 0, 1, 0)"}
    return {"Metrics": [result, *compared]}


def _metric(metrics: Metrics, metric: str) -> dict[str, Any]:
    namespace, name, dimensions = metrics.find(metric)
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }


# --- The dashboard -------------------------------------------------------------------------------

GRID_WIDTH = 24  # The width of CloudWatch's dashboard grid.
GRAPHS_PER_ROW = 3
GRAPH_HEIGHT = 6


class Graph(NamedTuple):
    """A graph on the CloudWatch dashboard: metrics by label. `statistic` is that of metrics that name none."""

    title: str
    statistic: str
    metrics: Mapping[str, str]
    period_seconds: int = 60


def _of_each_table(name: str) -> dict[str, str]:
    return {table: f"{table} {name}" for table in tables.KEYS}


GRAPHS = [
    Graph(
        "Orders", "Sum",
        {"counted": "app applied", "rejected": "app rejected", "set apart": "app setApart",
         "failed views": "app viewProblems", "already counted": "app alreadyCounted"},
    ),
    Graph("Lag of the totals, in seconds", "Maximum", {"oldest record of a batch": "app lagSeconds"}),
    Graph(
        "Audit", "Maximum",
        {"drifted products": "app DriftedProducts", "unproven": "app AuditUnproven",
         "incomplete": "app AuditIncomplete", "hours since the last one": "app AuditAgeHours"},
        period_seconds=3600,
    ),
    Graph(
        "Stream: age of the last record of a batch, in ms", "Maximum", {"iterator age": "Aggregate IteratorAge"}
    ),
    Graph(
        "Stream: problems", "Sum",
        {"errors": "Aggregate Errors", "throttles": "Aggregate Throttles", "conflicts": "app conflicts",
         "records kept": "mapping OnFailureDestinationDeliveredEventCount",
         "records dropped": "mapping DroppedEventCount", "invocations": "Aggregate Invocations"},
    ),
    Graph(
        "Stream: batches", "Sum",
        {"longest duration, in ms": "Maximum app milliseconds", "records": "app records",
         "transactions": "app transactions"},
    ),
    Graph(
        "API: requests", "Sum",
        {"all": "api Count", "client errors (4xx)": "api 4XXError", "server errors (5xx)": "api 5XXError"},
    ),
    Graph("API: latency in ms", "", {part: f"{part} api Latency" for part in ("p50", "p90", "p99")}),
    Graph(
        "Concurrent executions", "Maximum",
        {name: f"{name} ConcurrentExecutions" for name in ("Aggregate", "APIHandler")},
    ),
    Graph("Consumed write units", "Sum", _of_each_table("ConsumedWriteCapacityUnits")),
    Graph("Consumed read units", "Sum", _of_each_table("ConsumedReadCapacityUnits")),
    Graph("Throttled writes", "Sum", _of_each_table("WriteThrottleEvents")),
]  # fmt: skip
"""The dashboard's graphs: orders and totals first, then the stream, the API, and the tables."""


def _dashboard(stage: str, alarm_names: Iterable[str], metrics: Metrics) -> dict[str, Any]:
    arns = [f"${{{name}.Arn}}" for name in alarm_names]
    alarms = {"type": "alarm", "x": 0, "y": 0, "width": GRID_WIDTH, "height": 3}
    alarms["properties"] = {"title": f"Alarms: see {RUNBOOK}", "alarms": arns}
    body = {"start": "-PT3H", "widgets": [alarms, *(_widget(*each, metrics) for each in enumerate(GRAPHS))]}
    # Dashboards are global to an account, so the name needs the region.
    name = {"Fn::Sub": f"{stage_name(stage)}-${{AWS::Region}}"}
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": name, "DashboardBody": {"Fn::Sub": json.dumps(body)}},
    }


def _widget(index: int, graph: Graph, metrics: Metrics) -> dict[str, Any]:
    width = GRID_WIDTH // GRAPHS_PER_ROW
    return {
        "type": "metric",
        "x": width * (index % GRAPHS_PER_ROW),
        "y": 3 + GRAPH_HEIGHT * (index // GRAPHS_PER_ROW),
        "width": width,
        "height": GRAPH_HEIGHT,
        "properties": {
            "title": graph.title,
            "region": "${AWS::Region}",
            "period": graph.period_seconds,
            "yAxis": {"left": {"min": 0}},
            "metrics": [_line(label, graph.statistic, metric, metrics) for label, metric in graph.metrics.items()],
        },
    }


def _line(label: str, statistic: str, metric: str, metrics: Metrics) -> list[Any]:
    *own, source, name = metric.split()
    namespace, name, dimensions = metrics.find(f"{source} {name}")
    texts = [text for pair in dimensions.items() for text in map(_as_sub_text, pair)]
    return [namespace, name, *texts, {"label": label, "stat": own[0] if own else statistic}]


def _as_sub_text(value: Any) -> str:
    """Return a reference in Fn::Sub's syntax, and a text as it is."""
    return f"${{{value['Ref']}}}" if isinstance(value, dict) else str(value)
