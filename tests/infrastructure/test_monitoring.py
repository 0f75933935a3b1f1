"""infrastructure/monitoring.py: alarms are consistent and documented, and the dashboard's widgets are valid."""

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


def test_alarms_watch_every_failure_metric():
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
def test_alarm_needs_no_more_periods_than_it_evaluates(name: str):
    assert 1 <= ALARMS[name]["DatapointsToAlarm"] <= ALARMS[name]["EvaluationPeriods"]


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_has_a_section_in_the_operations_guide(name: str):
    short = name.removesuffix("Alarm")
    assert f"\n### {short}\n" in (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert ALARMS[name]["AlarmDescription"].endswith(f"See docs/operations.md: {short}.")


def test_operations_guide_lists_exactly_the_existing_alarms():
    section = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8").split("\n## Alarms\n")[1]
    explained = re.findall(r"^### (\w+)$", section.split("\n## ")[0], re.MULTILINE)
    assert [f"{name}Alarm" for name in explained] == list(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_alarms_notify_the_topic_if_one_is_set(name: str):
    notified = {"Fn::If": ["NotifyOfAlarms", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == notified


def test_drift_alarm_keeps_its_state_until_the_next_audit():
    assert ALARMS["TotalsDriftedAlarm"]["TreatMissingData"] == "ignore"


def test_stages_in_one_account_share_no_names_and_no_metrics():
    first, second = additions("dev")["Resources"], additions("prod")["Resources"]
    for name, each in first.items():
        if each.get("Type") == "AWS::CloudWatch::Alarm":
            assert each["Properties"]["AlarmName"] != second[name]["Properties"]["AlarmName"]
            by_stage = json.dumps(each["Properties"]["Dimensions"])
            assert '"Ref"' in by_stage or "Fn::GetAtt" in by_stage or "order-totals-dev" in by_stage
    for kind in ("DashboardName", "TableName", "AlarmName"):
        names = [
            {json.dumps(each["Properties"][kind]) for each in stage.values() if kind in each.get("Properties", {})}
            for stage in (first, second)
        ]
        assert names[0]
        assert not names[0] & names[1]
    titles = [stage["RestAPI"]["Properties"]["DefinitionBody"]["info"]["title"] for stage in (first, second)]
    assert titles == ["order-totals-dev", "order-totals-prod"]


def test_dashboards_of_one_stage_in_two_regions_have_different_names():
    """CloudWatch dashboards are global to an account."""
    name = TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardName"]
    assert name == {"Fn::Sub": "order-totals-prod-${AWS::Region}"}


# --- The dashboard -------------------------------------------------------------------------------


def test_dashboard_shows_every_alarm_and_its_metric():
    assert WIDGETS[0]["properties"]["alarms"] == [f"${{{name}.Arn}}" for name in ALARMS]
    drawn = {(line[0], line[1]) for widget in WIDGETS[1:] for line in widget["properties"]["metrics"]}
    not_drawn = {("AWS/Lambda", "DestinationDeliveryFailures")}
    assert {(each["Namespace"], each["MetricName"]) for each in ALARMS.values()} - not_drawn <= drawn


def test_widgets_fit_the_grid_without_overlap():
    for one, other in itertools.combinations(WIDGETS, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        above = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or above
    assert all(widget["x"] + widget["width"] <= monitoring.GRID_WIDTH for widget in WIDGETS)
