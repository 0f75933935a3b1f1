"""Tests for audits through the app's Lambda functions: results, repairs, log lines and metrics."""

import json
from typing import Any

import pytest

from chalicelib.jobs import invocation
from tests.integration.error_responses import error_response
from tests.streams import Stream, item


def count(dynamodb: Any, client: Any, *orders: dict[str, Any]) -> Stream:
    """Write orders to OrdersTable, count them and return their stream."""
    stream = Stream()
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        stream.put(order)
    client.lambda_.invoke("aggregate", {"Records": stream.records})
    return stream


def audit(client: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
    result: dict[str, Any] = client.lambda_.invoke("audit", event or {}).payload
    return result


pytestmark = pytest.mark.usefixtures("quick_audit")


def test_counted_orders_are_clean(client, dynamodb):
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)), item("bad", quantity=0))
    assert dynamodb.scan(TableName="TrendTable")["Count"] == 3  # Only the counters.
    result = audit(client)
    assert (result["done"], result["verdict"], result["cursor"]) == (True, "clean", None)
    assert (result["orders"]["checked"], result["counters"]["checked"]) == (31, 6)
    assert result["requests"] > 5


def views(client: Any) -> dict[str, bool]:
    """Return whether each view is complete."""
    return {view["view"]: view["complete"] for view in client.http.get("/views").json_body["views"]}


def test_views_of_a_new_stage_are_complete_although_orders_came_before_the_first_request(client, dynamodb):
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)), item("bad", quantity=0))
    assert views(client) == {"totals": True, "trend": True}


def test_views_of_a_table_with_orders_older_than_its_stream_are_incomplete(client, dynamodb):
    dynamodb.put_item(TableName="OrdersTable", Item=item("old"))
    count(dynamodb, client, *(item(f"o{n}") for n in range(30)))
    assert views(client) == {"totals": False, "trend": False}


def test_first_daily_audit_makes_the_views_of_a_busy_new_stage_complete(client, dynamodb, shell):
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(150)))
    assert views(client) == {"totals": False, "trend": False}
    run_daily_audit(client, shell)
    assert views(client) == {"totals": True, "trend": True}


def damage(dynamodb: Any) -> None:
    dynamodb.update_item(
        TableName="AggregateTable",
        Key={"product": {"S": "P0"}},
        UpdateExpression="SET totalQuantity = :n",
        ExpressionAttributeValues={":n": {"N": "999"}},
    )
    dynamodb.delete_item(TableName="AggregateTable", Key={"product": {"S": "P1"}})
    dynamodb.put_item(TableName="AggregateTable", Item={"product": {"S": "Ghost"}, "totalQuantity": {"N": "1"}})
    dynamodb.put_item(TableName="OrdersTable", Item=item("lost", "P2", 7))


@pytest.mark.slow
def test_every_kind_of_drift_is_found_and_repaired(client, dynamodb):
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    first = audit(client, {"gracePeriodSeconds": 1})
    assert (first["verdict"], first["driftedProducts"]) == ("drifted", 4)
    assert (first["orders"]["missing"], first["counters"]["drifted"]) == (1, 3)
    repaired = audit(client, {"gracePeriodSeconds": 1, "repair": True})
    assert (repaired["verdict"], repaired["orders"]["repaired"], repaired["counters"]["repaired"]) == ("clean", 1, 3)
    totals = {
        total["product"]: total["totalQuantity"] for total in client.http.get("/totals?top=3").json_body["totals"]
    }
    assert totals == {"P0": 50, "P1": 50, "P2": 57}
    assert audit(client)["verdict"] == "clean"


@pytest.mark.slow
def test_interrupted_audit_has_the_same_result(client, dynamodb, shell, monkeypatch):
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    whole = audit(client, {"gracePeriodSeconds": 1})
    steps: list[Any] = []
    real = shell.dynamodb.scan

    def scan(**page: Any) -> Any:
        steps.append(page)
        if len(steps) % 2 == 0:
            raise shell.OutOfTime
        return real(**page)

    monkeypatch.setattr(shell.dynamodb, "scan", scan)
    result = audit(client, {"gracePeriodSeconds": 1})
    pieces = 1
    while not result["done"]:
        result = audit(client, {"cursor": result["cursor"]})
        pieces += 1
    assert pieces > 3
    assert {**result, "requests": 0} == {**whole, "requests": 0}


def test_audit_rejects_unknown_options(client):
    with pytest.raises(Exception, match="repair must be true or false; there is no option fix"):
        audit(client, {"repair": "yes", "fix": True})


# --- The daily audit -----------------------------------------------------------------------------


def run_daily_audit(client: Any, shell: Any) -> None:
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    client.lambda_.invoke("daily_audit", event)


def log_line_and_metrics(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> tuple[Any, dict[str, Any]]:
    """Return the single log line and the metrics."""
    (line,) = [record for record in caplog.records if record.name == "order-totals"]
    (metrics,) = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "_aws" in each]
    return line, metrics


def test_clean_daily_audit_logs_one_line_and_zeros(client, dynamodb, shell, caplog, capsys):
    count(dynamodb, client, item("a"))
    caplog.clear()
    capsys.readouterr()
    run_daily_audit(client, shell)
    line, metrics = log_line_and_metrics(caplog, capsys)
    assert (line.levelname, line.msg, line.verdict) == ("INFO", "Audit", "clean")
    assert (metrics["DriftedProducts"], metrics["AuditUnproven"], metrics["AuditIncomplete"]) == ([0.0], [0.0], [0.0])


def test_daily_audit_reports_drift_and_repairs_nothing(client, dynamodb, shell, caplog, capsys, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.audit.OPTIONS", {**audits_options(), "gracePeriodSeconds": one_second()})
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    before = dynamodb.scan(TableName="AggregateTable")["Items"]
    caplog.clear()
    capsys.readouterr()
    run_daily_audit(client, shell)
    line, metrics = log_line_and_metrics(caplog, capsys)
    assert (line.levelname, line.driftedProducts, line.verdict) == ("ERROR", 4, "drifted")
    assert {finding["product"] for finding in line.counters["findings"]} == {"P0", "P1", "Ghost"}
    assert metrics["DriftedProducts"] == [4.0]
    assert dynamodb.scan(TableName="AggregateTable")["Items"] == before


def test_daily_audit_reports_unproven_orders(client, dynamodb, shell, caplog, capsys, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.audit.OPTIONS", {**audits_options(), "gracePeriodSeconds": one_second()})
    monkeypatch.setattr("chalicelib.jobs.audit.entry_audit.EntryAudit._is_stream_behind", behind)
    count(dynamodb, client, item("a"))
    dynamodb.put_item(TableName="OrdersTable", Item=item("waiting"))
    caplog.clear()
    capsys.readouterr()
    run_daily_audit(client, shell)
    line, metrics = log_line_and_metrics(caplog, capsys)
    assert (line.levelname, line.verdict) == ("WARNING", "unproven")
    assert (metrics["DriftedProducts"], metrics["AuditUnproven"], metrics["AuditIncomplete"]) == ([0.0], [1.0], [0.0])


def behind(entry_audit: Any, now: int) -> Any:
    yield from ()
    return True


def audits_options() -> dict[str, Any]:
    from chalicelib.jobs import audit

    return audit.OPTIONS


def one_second() -> Any:
    return audits_options()["gracePeriodSeconds"]._replace(default=1)


def test_unfinished_daily_audit_continues_in_the_next_invocation(client, dynamodb, shell, caplog, capsys, monkeypatch):
    count(dynamodb, client, item("a"))
    monkeypatch.setattr(invocation, "RESERVE_SHARE", 1)  # The reserve takes all the time of the invocation.
    monkeypatch.setattr(invocation, "RESERVE_MAX_SECONDS", 900)
    caplog.clear()
    capsys.readouterr()
    run_daily_audit(client, shell)
    lines = [record for record in caplog.records if record.msg.startswith("Audit")]
    assert [(line.levelname, line.msg, line.verdict) for line in lines] == [("INFO", "Audit goes on", None)]
    (metrics,) = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "_aws" in each]
    assert "DriftedProducts" not in metrics
    assert client.http.get("/audit").json_body["runningSince"]

    monkeypatch.undo()
    run_daily_audit(client, shell)
    assert client.http.get("/audit").json_body["last"]["verdict"] == "clean"


def test_audit_runs_once_a_day_and_when_requested(client, dynamodb, shell):
    count(dynamodb, client, item("a"))
    assert client.http.get("/audit").json_body == {"last": None, "runningSince": None, "requestedAt": None}
    run_daily_audit(client, shell)
    first = client.http.get("/audit").json_body
    assert (first["last"]["verdict"], first["last"]["done"], first["last"]["orders"]["checked"]) == ("clean", True, 1)

    count(dynamodb, client, item("b"))
    run_daily_audit(client, shell)
    assert client.http.get("/audit").json_body == first, "it is not due"
    asked = client.http.post("/audit", headers={"Content-Type": "application/json"})
    assert asked.status_code == 202
    assert asked.json_body["requestedAt"]
    run_daily_audit(client, shell)
    last = client.http.get("/audit").json_body
    assert (last["last"]["orders"]["checked"], last["requestedAt"]) == (2, None)


def test_repair_that_conflicts_with_a_transaction_is_retried(client, dynamodb):
    """DynamoDB rejects an update of an item in a running transaction, even if the update's condition holds."""
    count(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    conflicts: list[int] = []

    def conflict(**_: Any) -> Any:
        if conflicts:
            return None
        conflicts.append(1)
        return error_response("TransactionConflictException")

    dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", conflict)
    repaired = audit(client, {"gracePeriodSeconds": 1, "repair": True})
    assert conflicts
    assert (repaired["verdict"], repaired["counters"]["repaired"]) == ("clean", 3)
