"""Tests for the deployed alarms and dashboard: they use metrics that the app logs, and alarms notify the topic.

The emulator does not turn log lines into metrics as CloudWatch does, so the tests cannot check that. The emulator also
evaluates alarms in a simpler way.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localcloud.emulator import Emulator
from localcloud.stack import Stack, Template, deploy

NAMESPACE = "OrderTotals"
SCHEDULED = {
    "version": "0",
    "id": "cdc73f9d-aea9-11e3-9d5a-835b769c0d9c",
    "account": "000000000000",
    "region": "us-east-1",
    "time": "2026-11-23T03:17:00Z",
    "source": "aws.events",
    "detail-type": "Scheduled Event",
    "resources": [],
    "detail": {},
}
"""The event with which EventBridge invokes a scheduled function."""


@pytest.fixture(scope="module")
def alarms(emulator: Emulator, stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the deployed alarms by name."""
    listed = emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {each["AlarmName"].removeprefix("order-totals-local-"): each for each in listed}


@pytest.fixture(scope="module")
def logged_metrics(stack: Stack, dynamodb: Any, eventually: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Return the dimensions of each metric that the stream handler and the audit logged, by metric name."""
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item={"OrderID": {"S": "for-a-metric"}})
    stack.invoke("DailyAudit", SCHEDULED)

    def logged() -> dict[str, dict[str, Any]]:
        found = {}
        for entry in [*stack.metrics("Aggregate"), *stack.metrics("DailyAudit")]:
            for group in entry["_aws"]["CloudWatchMetrics"]:
                assert group["Namespace"] == NAMESPACE
                for metric in group["Metrics"]:
                    found[metric["Name"]] = {name: entry[name] for names in group["Dimensions"] for name in names}
        return found

    assert eventually(lambda: {"rejected", "DriftedProducts"} <= set(logged()), True)
    return logged()


def test_every_alarm_of_the_template_is_deployed(alarms: dict[str, Any], stack: Stack):
    assert {f"{name}Alarm" for name in alarms} == {name for name in stack.resources if name.endswith("Alarm")}


def test_alarms_watch_metrics_with_the_dimensions_that_the_app_logs(
    alarms: dict[str, Any], logged_metrics: dict[str, Any]
):
    own = [each for each in alarms.values() if each.get("Namespace") == NAMESPACE]
    assert own
    for alarm in own:
        watched = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert logged_metrics[alarm["MetricName"]] == watched


def test_dashboard_shows_metrics_with_the_dimensions_that_the_app_logs(
    emulator: Emulator, logged_metrics: dict[str, Any]
):
    body = emulator.client("cloudwatch").get_dashboard(DashboardName="order-totals-local-us-east-1")["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    own = [line for widget in widgets for line in widget["properties"].get("metrics", []) if line[0] == NAMESPACE]
    assert own
    for _, name, *dimensions, _options in own:
        assert logged_metrics[name] == dict(zip(dimensions[::2], dimensions[1::2], strict=True))
    assert "${" not in body


def test_alarms_watch_resources_of_the_stack(alarms: dict[str, Any], stack: Stack):
    names = {*stack.resources.values(), "order-totals-local"}
    for alarm in alarms.values():
        compared = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        for metric in compared or [alarm]:
            by_name = {each["Name"]: each["Value"] for each in metric["Dimensions"] if each["Name"] != "Stage"}
            assert set(by_name.values()) <= names


@pytest.fixture
def notified(emulator: Emulator, stack: Stack, build: Any) -> Iterator[Callable[[], list[Any]]]:
    """Deploy the stack with a topic. Return a function that returns the messages to a subscriber of the topic."""
    topics, queues = emulator.client("sns"), emulator.client("sqs")
    topic = topics.create_topic(Name="on-call")["TopicArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": "*"}]}
    queue = queues.create_queue(QueueName="on-call", Attributes={"Policy": json.dumps(policy)})["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def with_topic(template: Template) -> None:
        template["Parameters"]["AlarmTopic"]["Default"] = topic

    deploy(emulator, build, change=with_topic)
    yield lambda: [
        json.loads(json.loads(message["Body"])["Message"])
        for message in queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    ]
    deploy(emulator, build)


def test_alarm_notifies_the_topic(
    emulator: Emulator, notified: Callable[[], list[Any]], eventually: Callable[..., Any]
):
    name = "order-totals-local-BatchesGivenUp"
    emulator.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    received: list[Any] = []

    def is_notified() -> bool:
        received.extend(notified())
        return (name, "ALARM") in {(message["AlarmName"], message["NewStateValue"]) for message in received}

    assert eventually(is_notified, True)
