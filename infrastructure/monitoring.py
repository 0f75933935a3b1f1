"""What is watched: the alarms and the dashboard of CloudWatch, as resources for the template.

What an alarm means and what its reader does is in docs/operations.md, which has a section for each of them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chalicelib import tables

APP = "order-totals"
NAMESPACE = "OrderTotals"
"""Of the metrics that app.py logs, in CloudWatch's embedded format."""
RUNBOOK = "docs/operations.md"
TOPIC_PARAMETER = "AlarmTopic"
NOTIFY = "NotifyOfAlarms"

MINUTE = 60
FIVE_MINUTES = 300


def stage_name(stage: str) -> str:
    """What the API, the metrics, the alarms and the dashboard of a stage are called."""
    return f"{APP}-{stage}"


class Metric(NamedTuple):
    """A metric of CloudWatch."""

    namespace: str
    name: str
    dimensions: Mapping[str, Any]
    """By name; values may be CloudFormation's references."""


class Metrics:
    """The metrics of a stage."""

    def __init__(self, stage: str, api_stage: str) -> None:
        self._stage = stage
        self._api_stage = api_stage

    def app(self, name: str) -> Metric:
        """What app.py measures."""
        return Metric(NAMESPACE, name, {"service": stage_name(self._stage)})

    def function(self, name: str, function: str) -> Metric:
        """What Lambda measures of a function, by its logical name."""
        return Metric("AWS/Lambda", name, {"FunctionName": {"Ref": function}})

    def api(self, name: str) -> Metric:
        """What API Gateway measures. By the API's name, and so the stages' APIs need different ones."""
        return Metric("AWS/ApiGateway", name, {"ApiName": stage_name(self._stage), "Stage": self._api_stage})

    def queue(self, name: str) -> Metric:
        """What SQS measures of the failure queue."""
        return Metric("AWS/SQS", name, {"QueueName": {"Fn::GetAtt": ["FailureQueue", "QueueName"]}})

    def table(self, name: str, table: str) -> Metric:
        """What DynamoDB measures of a table, by its logical name."""
        return Metric("AWS/DynamoDB", name, {"TableName": {"Ref": table}})


class Alarm(NamedTuple):
    """When to call somebody. Missing data is no reason, unless `missing` says otherwise."""

    metric: Metric
    statistic: str
    above: float
    """It goes off when the statistic of a period is greater than this, in `of_last` periods out of ..."""
    meaning: str
    periods: int = 1
    out_of: int = 1
    period_seconds: int = FIVE_MINUTES
    missing: str = "notBreaching"


def alarms(metrics: Metrics) -> dict[str, Alarm]:
    """All alarms, by name."""
    # What passes by itself, a conflict, an outage of a minute, is to wake nobody up: three minutes out of five.
    lasting: dict[str, Any] = {"periods": 3, "out_of": 5, "period_seconds": MINUTE}
    return {
        "StreamBehind": Alarm(
            metrics.function("IteratorAge", "Aggregate"),
            "Maximum",
            60_000,  # Milliseconds. Totals are usually a second or two behind.
            "Totals have been more than a minute behind the orders for five minutes.",
            periods=5,
            out_of=5,
            period_seconds=MINUTE,
        ),
        "StreamErrors": Alarm(
            metrics.function("Errors", "Aggregate"),
            "Sum",
            0,
            "The stream handler keeps failing: its shard waits, and nothing is lost yet.",
            **lasting,
        ),
        "StreamThrottles": Alarm(
            metrics.function("Throttles", "Aggregate"),
            "Sum",
            0,
            "Lambda refuses to start the stream handler: the account's concurrency is used up.",
            **lasting,
        ),
        "FailureQueueNotEmpty": Alarm(
            metrics.queue("ApproximateNumberOfMessagesVisible"),
            "Maximum",
            0,
            "A batch of stream records was given up after hours: its orders are not in the totals until a backfill.",
        ),
        "FailureNotKept": Alarm(
            metrics.function("DestinationDeliveryFailures", "Aggregate"),
            "Sum",
            0,
            "A batch was given up and the failure queue did not take it: only a backfill finds its orders.",
        ),
        "OrdersRejected": Alarm(
            metrics.app("rejected"),
            "Sum",
            0,  # The API refuses such orders. So somebody writes them into the table.
            "Orders that are not valid have been written into the table; they do not count.",
        ),
        "OrdersSetApart": Alarm(
            metrics.app("setApart"),
            "Sum",
            0,
            "Orders cannot be counted because of a damaged ledger entry, counter or stream record. All others are.",
        ),
        "TotalsDrifted": Alarm(
            metrics.app("DriftedProducts"),
            "Maximum",
            0,
            "The audit found totals that are not the sum of their orders.",
            missing="ignore",  # The audit is daily: until the next one nothing is known to be better.
        ),
        "AuditFailed": Alarm(
            metrics.function("Errors", "DailyAudit"), "Sum", 0, "The daily audit ended with an error and says nothing."
        ),
        "ApiErrors": Alarm(
            metrics.api("5XXError"),
            "Average",
            0.01,  # The share of all requests.
            "More than one request in a hundred is answered with an error of ours.",
            **lasting,
        ),
        "ApiSlow": Alarm(
            metrics.api("Latency"),
            "p99",
            3_000,  # Milliseconds. A cold start is about one second; API Gateway gives up after 29.
            "One request in a hundred takes more than three seconds.",
            **lasting,
        ),
        "ApiThrottles": Alarm(
            metrics.function("Throttles", "APIHandler"),
            "Sum",
            0,
            "Lambda refuses to start the API's handler: the account's concurrency is used up.",
            **lasting,
        ),
    }


def parameters() -> dict[str, Any]:
    """The template's parameters for notifications."""
    return {
        TOPIC_PARAMETER: {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "(arn:[a-z-]+:sns:.+)?",
            "Description": "ARN of the SNS topic that alarms notify; without it they only change their state",
        }
    }


def conditions() -> dict[str, Any]:
    """The template's condition for notifications."""
    return {NOTIFY: {"Fn::Not": [{"Fn::Equals": [{"Ref": TOPIC_PARAMETER}, ""]}]}}


def resources(stage: str, api_stage: str) -> dict[str, Any]:
    """The alarms and the dashboard. `api_stage` is what API Gateway calls the stage, the first part of its paths."""
    metrics = Metrics(stage, api_stage)
    made = {f"{name}Alarm": alarm_resource(stage, name, alarm) for name, alarm in alarms(metrics).items()}
    return {**made, "Dashboard": dashboard_resource(stage, made, graphs(metrics))}


def alarm_resource(stage: str, name: str, alarm: Alarm) -> dict[str, Any]:
    """An alarm as a CloudFormation resource (AWS::CloudWatch::Alarm)."""
    notified = {"Fn::If": [NOTIFY, [{"Ref": TOPIC_PARAMETER}], {"Ref": "AWS::NoValue"}]}
    percentile = alarm.statistic.startswith("p")
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{stage_name(stage)}-{name}",
            "AlarmDescription": f"{alarm.meaning} See {RUNBOOK}: {name}.",
            "Namespace": alarm.metric.namespace,
            "MetricName": alarm.metric.name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in alarm.metric.dimensions.items()],
            "ExtendedStatistic" if percentile else "Statistic": alarm.statistic,
            **({"EvaluateLowSampleCountPercentile": "ignore"} if percentile else {}),
            "Period": alarm.period_seconds,
            "DatapointsToAlarm": alarm.periods,
            "EvaluationPeriods": alarm.out_of,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": alarm.above,
            "TreatMissingData": alarm.missing,
            "AlarmActions": notified,
            "OKActions": notified,
        },
    }


# --- The dashboard -------------------------------------------------------------------------------

WIDTH = 24  # Of CloudWatch's grid.
ACROSS = 3
HEIGHT = 6


class Graph(NamedTuple):
    """A graph: its lines are (label, statistic, metric)."""

    title: str
    lines: tuple[tuple[str, str, Metric], ...]
    period_seconds: int = MINUTE


def graphs(metrics: Metrics) -> list[Graph]:
    """The dashboard's graphs: first what the app is for, then how the stream does, then the API and the tables."""
    return [
        Graph(
            "Orders",
            (
                ("counted", "Sum", metrics.app("applied")),
                ("rejected", "Sum", metrics.app("rejected")),
                ("set apart", "Sum", metrics.app("setApart")),
                ("nothing to do", "Sum", metrics.app("alreadyCounted")),
            ),
        ),
        Graph("Totals behind the orders, in seconds", (("oldest of a batch", "Maximum", metrics.app("lagSeconds")),)),
        Graph(
            "Audit",
            (
                ("drifted products", "Maximum", metrics.app("DriftedProducts")),
                ("not proven", "Maximum", metrics.app("AuditUnproven")),
                ("incomplete", "Maximum", metrics.app("AuditIncomplete")),
            ),
            period_seconds=3600,
        ),
        Graph(
            "Stream: age of the newest record handed over, in ms",
            (("iterator age", "Maximum", metrics.function("IteratorAge", "Aggregate")),),
        ),
        Graph(
            "Stream: what goes wrong",
            (
                ("errors", "Sum", metrics.function("Errors", "Aggregate")),
                ("throttles", "Sum", metrics.function("Throttles", "Aggregate")),
                ("conflicts", "Sum", metrics.app("conflicts")),
                ("given up, waiting", "Maximum", metrics.queue("ApproximateNumberOfMessagesVisible")),
            ),
        ),
        Graph(
            "Stream: batches",
            (
                ("longest, in ms", "Maximum", metrics.app("milliseconds")),
                ("records", "Sum", metrics.app("records")),
                ("transactions", "Sum", metrics.app("transactions")),
            ),
        ),
        Graph(
            "API: requests",
            (
                ("all", "Sum", metrics.api("Count")),
                ("refused (4xx)", "Sum", metrics.api("4XXError")),
                ("failed (5xx)", "Sum", metrics.api("5XXError")),
            ),
        ),
        Graph(
            "API: latency in ms",
            tuple((statistic, statistic, metrics.api("Latency")) for statistic in ("p50", "p90", "p99")),
        ),
        Graph(
            "Functions running at once",
            tuple(
                (name, "Maximum", metrics.function("ConcurrentExecutions", name))
                for name in ("Aggregate", "APIHandler")
            ),
        ),
        Graph("Write units", _of_tables(metrics, "Sum", "ConsumedWriteCapacityUnits")),
        Graph("Read units", _of_tables(metrics, "Sum", "ConsumedReadCapacityUnits")),
        Graph("Writes that a hot item or table held up", _of_tables(metrics, "Sum", "WriteThrottleEvents")),
    ]


def _of_tables(metrics: Metrics, statistic: str, name: str) -> tuple[tuple[str, str, Metric], ...]:
    return tuple((table, statistic, metrics.table(name, table)) for table in tables.KEYS)


def dashboard_resource(stage: str, alarm_names: Iterable[str], shown: Iterable[Graph]) -> dict[str, Any]:
    """The dashboard as a CloudFormation resource (AWS::CloudWatch::Dashboard)."""
    body = {"start": "-PT3H", "widgets": [_alarm_widget(alarm_names), *_graph_widgets(shown)]}
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": stage_name(stage), "DashboardBody": {"Fn::Sub": json.dumps(body)}},
    }


def _alarm_widget(alarm_names: Iterable[str]) -> dict[str, Any]:
    arns = [f"${{{name}.Arn}}" for name in alarm_names]
    box = {"x": 0, "y": 0, "width": WIDTH, "height": 3}
    return {"type": "alarm", **box, "properties": {"title": f"Alarms: see {RUNBOOK}", "alarms": arns}}


def _graph_widgets(shown: Iterable[Graph]) -> list[dict[str, Any]]:
    width = WIDTH // ACROSS
    return [
        {
            "type": "metric",
            "x": width * (place % ACROSS),
            "y": 3 + HEIGHT * (place // ACROSS),
            "width": width,
            "height": HEIGHT,
            "properties": {
                "title": graph.title,
                "region": "${AWS::Region}",
                "period": graph.period_seconds,
                "yAxis": {"left": {"min": 0}},
                "metrics": [_line(*line) for line in graph.lines],
            },
        }
        for place, graph in enumerate(shown)
    ]


def _line(label: str, statistic: str, metric: Metric) -> list[Any]:
    dimensions = [text for pair in metric.dimensions.items() for text in map(_substituted, pair)]
    return [metric.namespace, metric.name, *dimensions, {"label": label, "stat": statistic}]


def _substituted(value: Any) -> str:
    """A reference as Fn::Sub spells it; a text as it is."""
    match value:
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
    return str(value)
