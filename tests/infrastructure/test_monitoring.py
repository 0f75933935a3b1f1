"""Tests for infrastructure/monitoring.py: alarms are consistent and documented, and dashboard widgets are valid."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructure import monitoring
from infrastructure.package import PROJECT
from infrastructure.template import additions
from tests.sam import of_type, translated

TEMPLATE = additions("prod")
ALARMS = {
    name: each["Properties"]
    for name, each in TEMPLATE["Resources"].items()
    if each.get("Type") == "AWS::CloudWatch::Alarm"
}
WIDGETS: list[dict[str, Any]] = json.loads(
    TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
)["widgets"]


def metric(alarm: dict[str, Any]) -> dict[str, Any]:
    """Return an alarm's metric. If the alarm compares two, return the one that must not be silent."""
    by_id = {each["Id"]: each for each in alarm.get("Metrics", [])}
    return by_id["events"]["MetricStat"]["Metric"] if by_id else alarm


def test_alarms_watch_every_failure_metric():
    assert {(metric(each)["Namespace"], metric(each)["MetricName"]) for each in ALARMS.values()} == {
        ("AWS/Lambda", "IteratorAge"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "Invocations"),
        ("AWS/Lambda", "OnFailureDestinationDeliveredEventCount"),
        ("AWS/Lambda", "DroppedEventCount"),
        ("AWS/Lambda", "DestinationDeliveryFailures"),
        ("AWS/ApiGateway", "5XXError"),
        ("AWS/ApiGateway", "Latency"),
        ("OrderTotals", "rejected"),
        ("OrderTotals", "setApart"),
        ("OrderTotals", "viewProblems"),
        ("OrderTotals", "DriftedProducts"),
        ("OrderTotals", "AuditAgeHours"),
    }


def test_alarm_goes_off_if_orders_are_written_but_the_stream_handler_is_not_invoked():
    alarm = ALARMS["StreamSilentAlarm"]
    result, active, events = alarm["Metrics"]
    assert result["Expression"] == "IF(FILL(active, 0) > 0 AND FILL(events, 0) == 0, 1, 0)"
    assert (active["Id"], events["Id"]) == ("active", "events")
    assert [each.get("ReturnData", True) for each in alarm["Metrics"]] == [True, False, False]
    assert active["MetricStat"]["Metric"]["MetricName"] == "ConsumedWriteCapacityUnits"
    assert active["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "TableName", "Value": {"Ref": "OrdersTable"}}]
    assert events["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "Aggregate"}}]
    assert {each["MetricStat"]["Stat"] for each in (active, events)} == {"Sum"}


def test_alarms_of_the_mapping_name_the_resource_that_sam_makes(packaged_stage: Callable[[str], Path]):
    mappings = of_type(translated(packaged_stage("prod")), "AWS::Lambda::EventSourceMapping")
    for name in ("BatchesGivenUpAlarm", "RecordsDroppedAlarm"):
        (dimension,) = ALARMS[name]["Dimensions"]
        assert dimension["Name"] == "EventSourceMappingUUID"
        assert dimension["Value"]["Ref"] in mappings


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
            by_stage = json.dumps(metric(each["Properties"])["Dimensions"])
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
    assert {(metric(each)["Namespace"], metric(each)["MetricName"]) for each in ALARMS.values()} - not_drawn <= drawn


def test_widgets_fit_the_grid_without_overlap():
    for one, other in itertools.combinations(WIDGETS, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        above = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or above
    assert all(widget["x"] + widget["width"] <= monitoring.GRID_WIDTH for widget in WIDGETS)
