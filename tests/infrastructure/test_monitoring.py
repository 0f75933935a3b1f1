"""infrastructure/monitoring.py: alarms that can go off, explained, and a dashboard that CloudWatch can draw."""

import itertools
import json
import re
from typing import Any

import pytest

from infrastructure import monitoring
from infrastructure.package import PROJECT
from infrastructure.template import additions

TEMPLATE = additions("prod")
ALARMS = {
    name: each["Properties"]
    for name, each in TEMPLATE["Resources"].items()
    if each.get("Type") == "AWS::CloudWatch::Alarm"
}
WIDGETS: list[dict[str, Any]] = json.loads(
    TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
)["widgets"]


def test_there_is_an_alarm_for_everything_that_can_go_wrong():
    assert {(each["Namespace"], each["MetricName"]) for each in ALARMS.values()} == {
        ("AWS/Lambda", "IteratorAge"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "DestinationDeliveryFailures"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/ApiGateway", "5XXError"),
        ("AWS/ApiGateway", "Latency"),
        ("OrderTotals", "rejected"),
        ("OrderTotals", "setApart"),
        ("OrderTotals", "DriftedProducts"),
    }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_asks_for_no_more_breaches_than_it_looks_at(name: str):
    assert 1 <= ALARMS[name]["DatapointsToAlarm"] <= ALARMS[name]["EvaluationPeriods"]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_explained_to_the_operator(name: str):
    short = name.removesuffix("Alarm")
    assert f"\n### {short}\n" in (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert ALARMS[name]["AlarmDescription"].endswith(f"See docs/operations.md: {short}.")


def test_the_runbook_explains_no_alarm_that_there_is_not():
    section = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8").split("\n## Alarms\n")[1]
    explained = re.findall(r"^### (\w+)$", section.split("\n## ")[0], re.MULTILINE)
    assert [f"{name}Alarm" for name in explained] == list(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_alarms_notify_the_topic_if_one_is_given(name: str):
    notified = {"Fn::If": ["NotifyOfAlarms", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == notified


def test_what_the_audit_found_stays_said_until_the_next_audit():
    assert ALARMS["TotalsDriftedAlarm"]["TreatMissingData"] == "ignore"


def test_two_stages_in_one_account_share_no_name_and_no_metric():
    first, second = additions("dev")["Resources"], additions("prod")["Resources"]
    for name, each in first.items():
        if each.get("Type") == "AWS::CloudWatch::Alarm":
            assert each["Properties"]["AlarmName"] != second[name]["Properties"]["AlarmName"]
            by_stage = json.dumps(each["Properties"]["Dimensions"])
            assert '"Ref"' in by_stage or "Fn::GetAtt" in by_stage or "order-totals-dev" in by_stage
    for kind in ("DashboardName", "TableName", "AlarmName"):
        names = [
            {each["Properties"].get(kind) for each in stage.values() if "Properties" in each} - {None}
            for stage in (first, second)
        ]
        assert not names[0] & names[1]
    titles = [stage["RestAPI"]["Properties"]["DefinitionBody"]["info"]["title"] for stage in (first, second)]
    assert titles == ["order-totals-dev", "order-totals-prod"]


# --- The dashboard -------------------------------------------------------------------------------


def test_the_dashboard_shows_every_alarm_and_every_metric_that_one_watches():
    assert WIDGETS[0]["properties"]["alarms"] == [f"${{{name}.Arn}}" for name in ALARMS]
    drawn = {(line[0], line[1]) for widget in WIDGETS[1:] for line in widget["properties"]["metrics"]}
    rare = {("AWS/Lambda", "DestinationDeliveryFailures")}
    assert {(each["Namespace"], each["MetricName"]) for each in ALARMS.values()} - rare <= drawn


def test_widgets_fit_the_grid_and_do_not_cover_each_other():
    for one, other in itertools.combinations(WIDGETS, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        above = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or above
    assert all(widget["x"] + widget["width"] <= monitoring.WIDTH for widget in WIDGETS)
