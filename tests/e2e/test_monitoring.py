"""Alarms and dashboard as deployed: they watch what the app really measures, and whoever is to be told is told.

The emulator turns no log line into a metric and evaluates alarms more simply than CloudWatch does, so that is as
far as it goes: that a metric gets from the log into CloudWatch is the embedded metric format's promise.
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
"""What EventBridge calls a scheduled function with."""


@pytest.fixture(scope="module")
def alarms(emulator: Emulator, stack: Stack) -> dict[str, dict[str, Any]]:
    """The deployed alarms by logical name."""
    listed = emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {each["AlarmName"].removeprefix("order-totals-local-"): each for each in listed}


@pytest.fixture(scope="module")
def measured(stack: Stack, dynamodb: Any, eventually: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """What stream handler and audit have logged as metrics: by the metric's name, the dimensions and their values."""
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


def test_alarms_watch_metrics_that_the_app_logs_by_the_dimensions_that_it_logs(
    alarms: dict[str, Any], measured: dict[str, Any]
):
    own = [each for each in alarms.values() if each["Namespace"] == NAMESPACE]
    assert own
    for alarm in own:
        watched = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert measured[alarm["MetricName"]] == watched


def test_the_dashboard_draws_metrics_that_the_app_logs(emulator: Emulator, measured: dict[str, Any]):
    body = emulator.client("cloudwatch").get_dashboard(DashboardName="order-totals-local")["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    own = [line for widget in widgets for line in widget["properties"].get("metrics", []) if line[0] == NAMESPACE]
    assert own
    for _, name, *dimensions, _shown_as in own:
        assert measured[name] == dict(zip(dimensions[::2], dimensions[1::2], strict=True))
    assert "${" not in body


def test_alarms_watch_resources_of_the_stack(alarms: dict[str, Any], stack: Stack):
    there = set(stack.resources.values()) | {stack.resources["FailureQueue"].rpartition("/")[2], "order-totals-local"}
    for alarm in alarms.values():
        by_name = {each["Name"]: each["Value"] for each in alarm["Dimensions"] if each["Name"] != "Stage"}
        assert set(by_name.values()) <= there


@pytest.fixture
def notified(emulator: Emulator, stack: Stack, build: Any) -> Iterator[Callable[[], list[Any]]]:
    """The stack, deployed with a topic to notify; gives what that topic's subscriber has received."""
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


def test_somebody_is_told_when_an_alarm_goes_off(
    emulator: Emulator, notified: Callable[[], list[Any]], eventually: Callable[..., Any]
):
    name = "order-totals-local-FailureQueueNotEmpty"
    emulator.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    received: list[Any] = []

    def told() -> bool:
        received.extend(notified())
        return (name, "ALARM") in {(message["AlarmName"], message["NewStateValue"]) for message in received}

    assert eventually(told, True)
