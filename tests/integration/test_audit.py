"""The audit through the app's own functions: what it reads and mends in DynamoDB, what is logged and measured."""

import json
from typing import Any

import pytest

from tests.integration.refusals import refusal
from tests.streams import Stream, item


def written(dynamodb: Any, client: Any, *orders: dict[str, Any]) -> Stream:
    """Orders written into OrdersTable and counted."""
    told = Stream()
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        told.put(order)
    client.lambda_.invoke("aggregate", {"Records": told.records})
    return told


def audit(client: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = client.lambda_.invoke("audit", event or {}).payload
    return answer


pytestmark = pytest.mark.usefixtures("quick_audit")


def test_what_has_been_counted_is_clean_and_the_streams_lag_no_counter(client, dynamodb):
    written(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)), item("bad", quantity=0))
    assert dynamodb.scan(TableName="TrendTable")["Count"] == 4  # One of them tells of the lag.
    answer = audit(client)
    assert (answer["done"], answer["verdict"], answer["cursor"]) == (True, "clean", None)
    assert (answer["orders"]["checked"], answer["counters"]["checked"]) == (31, 6)
    assert answer["requests"] > 5


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
def test_drift_of_every_kind_is_found_and_mended_in_the_real_tables(client, dynamodb):
    written(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
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
def test_an_audit_in_pieces_comes_to_the_same(client, dynamodb, shell, monkeypatch):
    written(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    whole = audit(client, {"gracePeriodSeconds": 1})
    steps: list[Any] = []
    real = shell.scan

    def scan(page: Any) -> Any:
        steps.append(page)
        if len(steps) % 2 == 0:
            raise shell.OutOfTime
        return real(page)

    monkeypatch.setattr(shell, "scan", scan)
    answer = audit(client, {"gracePeriodSeconds": 1})
    pieces = 1
    while not answer["done"]:
        answer = audit(client, {"cursor": answer["cursor"]})
        pieces += 1
    assert pieces > 3
    assert {**answer, "requests": 0} == {**whole, "requests": 0}


def test_an_audit_refuses_what_it_does_not_know(client):
    with pytest.raises(Exception, match="repair must be true or false; there is no option fix"):
        audit(client, {"repair": "yes", "fix": True})


# --- By day --------------------------------------------------------------------------------------


def daily(client: Any, shell: Any) -> None:
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    client.lambda_.invoke("daily_audit", event)


def told(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> tuple[Any, dict[str, Any]]:
    """The one line that was logged, and the metrics."""
    (line,) = [record for record in caplog.records if record.name == "order-totals"]
    (metrics,) = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "_aws" in each]
    return line, metrics


def test_the_daily_audit_logs_one_line_and_measures_that_nothing_drifts(client, dynamodb, shell, caplog, capsys):
    written(dynamodb, client, item("a"))
    caplog.clear()
    capsys.readouterr()
    daily(client, shell)
    line, metrics = told(caplog, capsys)
    assert (line.levelname, line.msg, line.verdict) == ("INFO", "Audit", "clean")
    assert (metrics["DriftedProducts"], metrics["AuditUnproven"], metrics["AuditIncomplete"]) == ([0.0], [0.0], [0.0])


def test_the_daily_audit_tells_of_drift_and_changes_nothing(client, dynamodb, shell, caplog, capsys, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.audit.OPTIONS", {**audits_options(), "gracePeriodSeconds": one_second()})
    written(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    before = dynamodb.scan(TableName="AggregateTable")["Items"]
    caplog.clear()
    capsys.readouterr()
    daily(client, shell)
    line, metrics = told(caplog, capsys)
    assert (line.levelname, line.driftedProducts, line.verdict) == ("ERROR", 4, "drifted")
    assert {finding["product"] for finding in line.counters["findings"]} == {"P0", "P1", "Ghost"}
    assert metrics["DriftedProducts"] == [4.0]
    assert dynamodb.scan(TableName="AggregateTable")["Items"] == before


def test_the_daily_audit_measures_what_it_could_not_prove(client, dynamodb, shell, caplog, capsys, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.audit.OPTIONS", {**audits_options(), "gracePeriodSeconds": one_second()})
    monkeypatch.setattr("chalicelib.jobs.audit.entry_audit.EntryAudit._is_stream_behind", behind)
    written(dynamodb, client, item("a"))
    dynamodb.put_item(TableName="OrdersTable", Item=item("waiting"))
    caplog.clear()
    capsys.readouterr()
    daily(client, shell)
    line, metrics = told(caplog, capsys)
    assert (line.levelname, line.verdict) == ("WARNING", "unproven")
    assert (metrics["DriftedProducts"], metrics["AuditUnproven"], metrics["AuditIncomplete"]) == ([0.0], [1.0], [0.0])


def behind(agreement: Any, now: int) -> Any:
    yield from ()
    return True


def audits_options() -> dict[str, Any]:
    from chalicelib.jobs import audit

    return audit.OPTIONS


def one_second() -> Any:
    return audits_options()["gracePeriodSeconds"]._replace(default=1)


def test_a_daily_audit_that_does_not_come_to_its_end_says_so(client, dynamodb, shell, caplog, capsys, monkeypatch):
    written(dynamodb, client, item("a"))
    monkeypatch.setattr(shell, "RESERVE_SHARE", 1)  # No time at all.
    monkeypatch.setattr(shell, "RESERVE_MAX_SECONDS", 900)
    caplog.clear()
    capsys.readouterr()
    daily(client, shell)
    lines = [record for record in caplog.records if record.msg.startswith("Audit")]
    assert [(line.levelname, line.verdict) for line in lines] == [("WARNING", None)]
    (metrics,) = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "_aws" in each]
    assert (metrics["AuditIncomplete"], metrics["DriftedProducts"]) == ([1.0], [0.0])


def test_a_counter_that_a_transaction_is_just_moving_is_mended_in_the_next_pass(client, dynamodb):
    """DynamoDB refuses a plain write to an item that is in a running transaction, whatever its condition says."""
    written(dynamodb, client, *(item(f"o{n}", f"P{n % 3}") for n in range(30)))
    damage(dynamodb)
    refused: list[int] = []

    def conflict(**_: Any) -> Any:
        if refused:
            return None
        refused.append(1)
        return refusal("TransactionConflictException")

    dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", conflict)
    repaired = audit(client, {"gracePeriodSeconds": 1, "repair": True})
    assert refused
    assert (repaired["verdict"], repaired["counters"]["repaired"]) == ("clean", 3)
