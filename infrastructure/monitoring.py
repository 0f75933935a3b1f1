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

MINUTE = 60
FIVE_MINUTES = 300


def stage_name(stage: str) -> str:
    """Return the name of a stage's API, metrics, alarms and dashboard, such as order-totals-prod."""
    return f"{APP}-{stage}"


class Metric(NamedTuple):
    """A CloudWatch metric."""

    namespace: str
    name: str
    dimensions: Mapping[str, Any]
    """Values by name. A value can be a CloudFormation reference."""


class Metrics:
    """The metrics of a stage."""

    def __init__(self, stage: str, api_stage: str) -> None:
        self._stage = stage
        self._api_stage = api_stage

    def app(self, name: str) -> Metric:
        """Return a metric that app.py logs."""
        return Metric(NAMESPACE, name, {"service": stage_name(self._stage)})

    def function(self, name: str, function: str) -> Metric:
        """Return a Lambda metric of a function, given its logical name."""
        return Metric("AWS/Lambda", name, {"FunctionName": {"Ref": function}})

    def api(self, name: str) -> Metric:
        """Return an API Gateway metric. It selects the API by name, so every stage's API needs its own name."""
        return Metric("AWS/ApiGateway", name, {"ApiName": stage_name(self._stage), "Stage": self._api_stage})

    def mapping(self, name: str) -> Metric:
        """Return a Lambda metric of the event source mapping, by the logical name that SAM gives it."""
        return Metric("AWS/Lambda", name, {"EventSourceMappingUUID": {"Ref": "AggregateAggregateDynamodbEventSource"}})

    def table(self, name: str, table: str) -> Metric:
        """Return a DynamoDB metric of a table, given its logical name."""
        return Metric("AWS/DynamoDB", name, {"TableName": {"Ref": table}})


class Alarm(NamedTuple):
    """An alarm: it goes off if the statistic exceeds `above` in `periods` of the last `out_of` periods."""

    metric: Metric
    statistic: str
    above: float
    description: str
    periods: int = 1
    out_of: int = 1
    period_seconds: int = FIVE_MINUTES
    missing: str = "notBreaching"
    """CloudWatch's TreatMissingData. By default periods without data count as good."""
    silent_while: Metric | None = None
    """If set, the alarm goes off instead while `metric` is 0 or has no data although this one is above 0."""


def alarms(metrics: Metrics) -> dict[str, Alarm]:
    """Return all alarms by name."""
    # Go off after three bad minutes out of five. A problem of one minute resolves itself and must wake nobody.
    lasting: dict[str, Any] = {"periods": 3, "out_of": 5, "period_seconds": MINUTE}
    return {
        "StreamBehind": Alarm(
            metrics.function("IteratorAge", "Aggregate"),
            "Maximum",
            60_000,  # Milliseconds. The usual lag is one or two seconds.
            "Totals have lagged more than one minute behind the orders for five minutes.",
            periods=5,
            out_of=5,
            period_seconds=MINUTE,
        ),
        "StreamErrors": Alarm(
            metrics.function("Errors", "Aggregate"),
            "Sum",
            0,
            "The stream handler keeps failing. Its shard's orders wait; none is lost.",
            **lasting,
        ),
        "StreamThrottles": Alarm(
            metrics.function("Throttles", "Aggregate"),
            "Sum",
            0,
            "Lambda throttles the stream handler because the account's concurrency is used up. Totals fall behind.",
            **lasting,
        ),
        "StreamSilent": Alarm(
            metrics.function("Invocations", "Aggregate"),
            "Sum",
            0,
            "Orders are written, but the stream handler has not been invoked for 15 minutes.",
            periods=3,
            out_of=3,
            silent_while=metrics.table("ConsumedWriteCapacityUnits", tables.ORDERS),
        ),
        "BatchesGivenUp": Alarm(
            metrics.mapping("OnFailureDestinationDeliveredEventCount"),
            "Sum",
            0,
            "Lambda gave up a batch of stream records and kept it. Its orders are not in the totals until a replay.",
        ),
        "RecordsDropped": Alarm(
            metrics.mapping("DroppedEventCount"),
            "Sum",
            0,
            "Lambda dropped stream records without keeping them. Their orders are not in the totals until a repair.",
        ),
        "FailureNotKept": Alarm(
            metrics.function("DestinationDeliveryFailures", "Aggregate"),
            "Sum",
            0,
            "Lambda gave up a batch and could not keep it. Its orders are not in the totals until a repair.",
        ),
        "OrdersRejected": Alarm(
            metrics.app("rejected"),
            "Sum",
            0,  # The API rejects such orders, so another program writes them into the table.
            "Invalid orders were written directly to OrdersTable. They are not counted.",
        ),
        "OrdersSetApart": Alarm(
            metrics.app("setApart"),
            "Sum",
            0,
            "Orders were set apart: their ledger entry, counter or stream record is damaged. All others are counted.",
        ),
        "ViewProblems": Alarm(
            metrics.app("viewProblems"),
            "Sum",
            0,
            "A view failed for some orders. It does not count them; the other views do.",
        ),
        "TotalsDrifted": Alarm(
            metrics.app("DriftedProducts"),
            "Maximum",
            0,
            "The audit found totals that differ from the sum of their orders.",
            missing="ignore",  # The audit runs daily; the alarm keeps its state until the next result.
        ),
        "AuditFailed": Alarm(
            metrics.function("Errors", "DailyAudit"), "Sum", 0, "The daily audit failed, so the totals are unchecked."
        ),
        "AuditOverdue": Alarm(
            metrics.app("AuditAgeHours"),
            "Maximum",
            36,
            "No audit has finished for 36 hours, or its schedule does not run, so the totals are unchecked.",
            period_seconds=3600,
            missing="breaching",
        ),
        "ApiErrors": Alarm(
            metrics.api("5XXError"),
            "Average",
            0.01,  # 5xx responses as a share of all requests.
            "More than 1% of API requests fail with a server error (5xx).",
            **lasting,
        ),
        "ApiSlow": Alarm(
            metrics.api("Latency"),
            "p99",
            3_000,  # Milliseconds. A cold start takes about one second; API Gateway times out after 29.
            "1% of API requests take more than three seconds.",
            **lasting,
        ),
        "ApiThrottles": Alarm(
            metrics.function("Throttles", "APIHandler"),
            "Sum",
            0,
            "Lambda throttles the API because the account's concurrency is used up. Requests fail.",
            **lasting,
        ),
    }


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
    """Return the alarms and the dashboard. `api_stage` is API Gateway's name for the stage, the first path segment."""
    metrics = Metrics(stage, api_stage)
    alarm_resources = {f"{name}Alarm": alarm_resource(stage, name, alarm) for name, alarm in alarms(metrics).items()}
    return {**alarm_resources, "Dashboard": dashboard_resource(stage, alarm_resources, graphs(metrics))}


def alarm_resource(stage: str, name: str, alarm: Alarm) -> dict[str, Any]:
    """Return an alarm as a CloudFormation resource (AWS::CloudWatch::Alarm)."""
    actions = {"Fn::If": [NOTIFY, [{"Ref": TOPIC_PARAMETER}], {"Ref": "AWS::NoValue"}]}
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{stage_name(stage)}-{name}",
            "AlarmDescription": f"{alarm.description} See {RUNBOOK}: {name}.",
            **(_silence(alarm, alarm.silent_while) if alarm.silent_while else _statistic(alarm)),
            "DatapointsToAlarm": alarm.periods,
            "EvaluationPeriods": alarm.out_of,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": alarm.above,
            "TreatMissingData": alarm.missing,
            "AlarmActions": actions,
            "OKActions": actions,
        },
    }


def _statistic(alarm: Alarm) -> dict[str, Any]:
    percentile = alarm.statistic.startswith("p")
    return {
        **_metric(alarm.metric),
        "ExtendedStatistic" if percentile else "Statistic": alarm.statistic,
        **({"EvaluateLowSampleCountPercentile": "ignore"} if percentile else {}),
        "Period": alarm.period_seconds,
    }


def _silence(alarm: Alarm, active: Metric) -> dict[str, Any]:
    """Return a metric for an alarm that compares two: 1 if `active` has events but the alarm's metric has none."""
    return {
        "Metrics": [
            {"Id": "silent", "Expression": "IF(FILL(active, 0) > 0 AND FILL(events, 0) == 0, 1, 0)"},
            *(
                {
                    "Id": name,
                    "MetricStat": {"Metric": _metric(metric), "Period": alarm.period_seconds, "Stat": alarm.statistic},
                    "ReturnData": False,
                }
                for name, metric in (("active", active), ("events", alarm.metric))
            ),
        ]
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in metric.dimensions.items()],
    }


# --- The dashboard -------------------------------------------------------------------------------

GRID_WIDTH = 24  # The width of CloudWatch's dashboard grid.
GRAPHS_PER_ROW = 3
GRAPH_HEIGHT = 6


class Graph(NamedTuple):
    """A graph on the CloudWatch dashboard. Each line is (label, statistic, metric)."""

    title: str
    lines: tuple[tuple[str, str, Metric], ...]
    period_seconds: int = MINUTE


def graphs(metrics: Metrics) -> list[Graph]:
    """Return the dashboard's graphs: orders and totals first, then the stream, the API, and the tables."""
    return [
        Graph(
            "Orders",
            (
                ("counted", "Sum", metrics.app("applied")),
                ("rejected", "Sum", metrics.app("rejected")),
                ("set apart", "Sum", metrics.app("setApart")),
                ("failed views", "Sum", metrics.app("viewProblems")),
                ("already counted", "Sum", metrics.app("alreadyCounted")),
            ),
        ),
        Graph("Lag of the totals, in seconds", (("oldest record of a batch", "Maximum", metrics.app("lagSeconds")),)),
        Graph(
            "Audit",
            (
                ("drifted products", "Maximum", metrics.app("DriftedProducts")),
                ("unproven", "Maximum", metrics.app("AuditUnproven")),
                ("incomplete", "Maximum", metrics.app("AuditIncomplete")),
                ("hours since the last one", "Maximum", metrics.app("AuditAgeHours")),
            ),
            period_seconds=3600,
        ),
        Graph(
            "Stream: age of the last record of a batch, in ms",
            (("iterator age", "Maximum", metrics.function("IteratorAge", "Aggregate")),),
        ),
        Graph(
            "Stream: problems",
            (
                ("errors", "Sum", metrics.function("Errors", "Aggregate")),
                ("throttles", "Sum", metrics.function("Throttles", "Aggregate")),
                ("conflicts", "Sum", metrics.app("conflicts")),
                ("records kept", "Sum", metrics.mapping("OnFailureDestinationDeliveredEventCount")),
                ("records dropped", "Sum", metrics.mapping("DroppedEventCount")),
                ("invocations", "Sum", metrics.function("Invocations", "Aggregate")),
            ),
        ),
        Graph(
            "Stream: batches",
            (
                ("longest duration, in ms", "Maximum", metrics.app("milliseconds")),
                ("records", "Sum", metrics.app("records")),
                ("transactions", "Sum", metrics.app("transactions")),
            ),
        ),
        Graph(
            "API: requests",
            (
                ("all", "Sum", metrics.api("Count")),
                ("client errors (4xx)", "Sum", metrics.api("4XXError")),
                ("server errors (5xx)", "Sum", metrics.api("5XXError")),
            ),
        ),
        Graph(
            "API: latency in ms",
            tuple((statistic, statistic, metrics.api("Latency")) for statistic in ("p50", "p90", "p99")),
        ),
        Graph(
            "Concurrent executions",
            tuple(
                (name, "Maximum", metrics.function("ConcurrentExecutions", name))
                for name in ("Aggregate", "APIHandler")
            ),
        ),
        Graph("Consumed write units", _line_per_table(metrics, "Sum", "ConsumedWriteCapacityUnits")),
        Graph("Consumed read units", _line_per_table(metrics, "Sum", "ConsumedReadCapacityUnits")),
        Graph("Throttled writes", _line_per_table(metrics, "Sum", "WriteThrottleEvents")),
    ]


def _line_per_table(metrics: Metrics, statistic: str, name: str) -> tuple[tuple[str, str, Metric], ...]:
    return tuple((table, statistic, metrics.table(name, table)) for table in tables.KEYS)


def dashboard_resource(stage: str, alarm_names: Iterable[str], drawn: Iterable[Graph]) -> dict[str, Any]:
    """Return the dashboard as a CloudFormation resource (AWS::CloudWatch::Dashboard)."""
    body = {"start": "-PT3H", "widgets": [_alarm_widget(alarm_names), *_graph_widgets(drawn)]}
    # Dashboards are global to an account, so the name needs the region.
    name = {"Fn::Sub": f"{stage_name(stage)}-${{AWS::Region}}"}
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": name, "DashboardBody": {"Fn::Sub": json.dumps(body)}},
    }


def _alarm_widget(alarm_names: Iterable[str]) -> dict[str, Any]:
    arns = [f"${{{name}.Arn}}" for name in alarm_names]
    box = {"x": 0, "y": 0, "width": GRID_WIDTH, "height": 3}
    return {"type": "alarm", **box, "properties": {"title": f"Alarms: see {RUNBOOK}", "alarms": arns}}


def _graph_widgets(drawn: Iterable[Graph]) -> list[dict[str, Any]]:
    width = GRID_WIDTH // GRAPHS_PER_ROW
    return [
        {
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
                "metrics": [_line(*line) for line in graph.lines],
            },
        }
        for index, graph in enumerate(drawn)
    ]


def _line(label: str, statistic: str, metric: Metric) -> list[Any]:
    dimensions = [text for pair in metric.dimensions.items() for text in map(_as_sub_text, pair)]
    return [metric.namespace, metric.name, *dimensions, {"label": label, "stat": statistic}]


def _as_sub_text(value: Any) -> str:
    """Return a value as text. A reference becomes `${...}` in Fn::Sub's syntax."""
    match value:
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
    return str(value)
