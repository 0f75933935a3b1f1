"""Tests that the handler and the backfill count orders and the API shows the totals. Also log lines and metrics."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib.jobs import invocation
from tests.streams import Stream, item

NAMES = [
    "Notebook", "A5 notebook", "C++", "a/b", "50% off", "%2F", 'say "hi"', "it's", "<img onerror=x>", "naïve",
    "筆記本", "📓", "a;b", "?x=1&y#z", "a" * 1024,
]  # fmt: skip


def deliver(client: Any, records: list[dict[str, Any]]) -> None:
    client.lambda_.invoke("aggregate", {"Records": records})


def write_orders(dynamodb: Any, *orders: dict[str, Any]) -> Stream:
    """Write orders to OrdersTable and return their stream."""
    stream = Stream()
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        stream.put(order)
    return stream


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_product_with_any_valid_name_is_counted_and_found(client, dynamodb, name):
    stream = write_orders(dynamodb, item("o", name))
    path = f"/totals/{quote(name, safe='')}"
    assert client.http.get(path).status_code == 404
    deliver(client, stream.records)
    response = client.http.get(path)
    assert response.status_code == 200
    total = response.json_body
    assert total.pop("updatedAt").endswith("Z")
    assert total == {"product": name, "totalQuantity": 5, "orderCount": 1}
    assert client.http.get("/orders/o").json_body["counted"] is True


@pytest.mark.parametrize("name", ["%20", "%00", "x" * 1025, "a%0Ab"])
def test_invalid_product_name_is_not_found(client, name):
    assert client.http.get(f"/totals/{name}").status_code == 404


def test_aggregate_table_can_be_read_directly(client, dynamodb):
    deliver(client, write_orders(dynamodb, item("order-1")).records)
    total = dynamodb.get_item(TableName="AggregateTable", Key={"product": {"S": "Notebook"}})["Item"]
    assert total["totalQuantity"] == {"N": "5"}
    assert total["orderCount"] == {"N": "1"}
    assert total["updatedAt"]["S"]


def test_totals_are_listed_in_pages_and_by_quantity(client, dynamodb):
    stream = write_orders(dynamodb, *(item(f"o{n}", f"P{n}", n + 1) for n in range(7)))
    deliver(client, stream.records)
    found, query = [], "?limit=3"
    while query:
        page = client.http.get(f"/totals{query}").json_body
        found += [total["product"] for total in page["totals"]]
        query = f"?limit=3&cursor={page['cursor']}" if page["cursor"] else ""
    assert sorted(found) == [f"P{n}" for n in range(7)]
    top = client.http.get("/totals?top=2").json_body["totals"]
    assert [(total["product"], total["totalQuantity"]) for total in top] == [("P6", 7), ("P5", 6)]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "top=101", "cursor=x", "top=1&limit=1", "colour=red"])
def test_invalid_parameter_is_reported_by_name(client, query):
    response = client.http.get(f"/totals?{query}")
    assert response.status_code == 400
    assert list(response.json_body["problems"]) == [query.partition("=")[0]]


# --- Logs and metrics ----------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [vars(record) for record in caplog.records if record.name == "order-totals"]
    caplog.clear()
    return lines


def test_batch_is_logged_in_one_line_and_each_rejected_order_once(client, dynamodb, caplog, capsys):
    stream = write_orders(dynamodb, item("good"), item("bad", quantity=0), item("good", quantity=6))
    deliver(client, stream.records)
    rejected, batch = logged(caplog)
    expected = {
        "records": 3, "applied": 2, "alreadyCounted": 0, "rejected": 1, "setApart": 0,
        "transactions": 1, "conflicts": 0,
    }  # fmt: skip
    assert batch["message"] == "Batch"
    assert expected.items() <= batch.items()
    assert batch["lagSeconds"] > 0
    assert "milliseconds" in batch
    assert (rejected["message"], rejected["orderId"], list(rejected["problems"])) == (
        "Order rejected",
        "bad",
        ["quantity"],
    )

    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert len(metrics) == 1
    assert {name: [float(count)] for name, count in expected.items()}.items() <= metrics[0].items()
    assert metrics[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "OrderTotals"

    deliver(client, stream.records)
    (again,) = logged(caplog)  # The rejected order is not logged again.
    assert (again["message"], again["alreadyCounted"]) == ("Batch", 2)


def test_error_fails_the_batch_so_that_lambda_delivers_it_again(client, shell, dynamodb, monkeypatch):
    stream = write_orders(dynamodb, item("o"))
    dynamodb.delete_table(TableName="AggregateTable")
    with pytest.raises(Exception, match=r"ResourceNotFound|ValidationException|not found"):
        deliver(client, stream.records)


def test_invocation_without_time_left_fails_and_writes_nothing(client, shell, dynamodb, monkeypatch):
    monkeypatch.setattr(invocation, "RESERVE_SHARE", 1)
    monkeypatch.setattr(invocation, "RESERVE_MAX_SECONDS", 900)
    with pytest.raises(shell.OutOfTime):
        deliver(client, write_orders(dynamodb, item("o")).records)
    assert dynamodb.scan(TableName="LedgerTable")["Items"] == []


# --- Orders set apart ----------------------------------------------------------------------------


def set_apart(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> tuple[list[Any], float]:
    """Return the log lines of orders and records set apart, and the metric that counts them."""
    lines = [line for line in logged(caplog) if line["message"].endswith("set apart")]
    (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    return lines, metrics["setApart"][0]


@pytest.mark.usefixtures("quick_audit")
def test_malformed_counter_sets_apart_only_its_own_orders(client, dynamodb, caplog, capsys):
    dynamodb.put_item(TableName="AggregateTable", Item={"product": {"S": "Pen"}, "totalQuantity": {"S": "many"}})
    stream = write_orders(dynamodb, item("a"), item("b", "Pen"), item("c", "Pen"), item("d"))
    deliver(client, stream.records)
    lines, count = set_apart(caplog, capsys)
    assert sorted((line["levelname"], line["orderId"]) for line in lines) == [("ERROR", "b"), ("ERROR", "c")]
    assert lines[0]["reason"].startswith("Validation")
    assert count == 2
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 10
    assert client.http.get("/orders/b").json_body["counted"] is False
    repair = {"repair": True, "gracePeriodSeconds": 1}
    # The first audit repairs the counter, the second one counts the orders that were set apart.
    assert [client.lambda_.invoke("audit", repair).payload["verdict"] for _ in range(2)] == ["drifted", "clean"]
    assert client.http.get("/totals/Pen").json_body["totalQuantity"] == 10


@pytest.mark.usefixtures("quick_audit")
def test_unreadable_ledger_entry_sets_apart_only_its_own_order(client, dynamodb, caplog, capsys):
    stream = write_orders(dynamodb, item("a"), item("b", "Pen"))
    deliver(client, stream.records)
    dynamodb.put_item(TableName="LedgerTable", Item={"OrderID": {"S": "a"}, "format": {"N": "1"}})
    set_apart(caplog, capsys)
    deliver(client, [stream.put(item("a", quantity=7)), stream.put(item("c", "Pen"))])
    dynamodb.put_item(TableName="OrdersTable", Item=item("a", quantity=7))
    dynamodb.put_item(TableName="OrdersTable", Item=item("c", "Pen"))
    ((line,), count) = set_apart(caplog, capsys)
    assert (line["orderId"], count) == ("a", 1)
    assert line["reason"] == "Its ledger entry cannot be read: revision is missing or not a whole number."
    shown = client.http.get("/orders/a").json_body
    assert (shown["counted"], shown["ledgerProblem"][:35]) == (False, "The ledger entry cannot be read: re")
    assert client.http.get("/totals/Pen").json_body["totalQuantity"] == 10
    assert backfill(client)["uncountableOrders"] == {"a": line["reason"]}
    repaired = client.lambda_.invoke("audit", {"repair": True, "gracePeriodSeconds": 1}).payload
    assert (repaired["verdict"], repaired["orders"]["unreadable"]) == ("clean", 1)
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 7
    assert client.http.get("/orders/a").json_body["counted"] is True


def test_malformed_record_does_not_stop_the_others(client, dynamodb, caplog, capsys):
    stream = write_orders(dynamodb, item("a"), item("b"))
    del stream.records[0]["dynamodb"]["SequenceNumber"]
    deliver(client, stream.records)
    ((line,), count) = set_apart(caplog, capsys)
    assert (line["message"], line["event_id"], line["order_id"]) == ("Record set apart", "1", "a")
    assert (line["problem"], count) == ("SequenceNumber is missing", 1)
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 5


# --- Backfill ------------------------------------------------------------------------------------


def backfill(client: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
    result: dict[str, Any] = client.lambda_.invoke("backfill", event or {}).payload
    return result


def test_backfill_counts_orders_without_records_and_a_second_one_writes_nothing(client, dynamodb, shell, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.backfill.PAGE_ORDERS", 40)
    write_orders(dynamodb, *(item(f"o{n}", f"P{n % 3}", n + 1) for n in range(100)), item("bad", quantity=0))
    first = backfill(client)
    assert {"done": True, "cursor": None, "orders": 101, "changed": 101, "rejected": 1}.items() <= first.items()
    totals = client.http.get("/totals").json_body["totals"]
    assert sum(total["totalQuantity"] for total in totals) == sum(range(1, 101))
    monkeypatch.setattr(dynamodb, "transact_write_items", None)
    again = backfill(client)
    assert {"done": True, "cursor": None, "orders": 101, "changed": 0, "rejected": 1}.items() <= again.items()
    assert again["requests"] < first["requests"]


def test_stream_changes_nothing_after_a_backfill(client, dynamodb, caplog):
    stream = write_orders(dynamodb, item("a", PlacedAt={"S": "2026-11-23T10:00:00Z"}), item("bad", "Pen", 0))
    backfill(client)
    caplog.clear()
    deliver(client, stream.records)
    (batch,) = logged(caplog)
    assert (batch["applied"], batch["alreadyCounted"]) == (0, 2)


def test_interrupted_backfill_resumes_at_its_cursor(client, dynamodb, shell, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.backfill.PAGE_ORDERS", 10)
    write_orders(dynamodb, *(item(f"o{n}") for n in range(25)))
    real, pages = shell.dynamodb.scan, []

    def scan(**page: Any) -> Any:
        pages.append(page)
        if len(pages) % 2 == 0:
            raise shell.OutOfTime
        return real(**page)

    monkeypatch.setattr(shell.dynamodb, "scan", scan)
    results = [backfill(client)]
    while not results[-1]["done"]:
        results.append(backfill(client, {"cursor": results[-1]["cursor"]}))
    assert [result["orders"] for result in results] == [10, 10, 5]
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 125


def test_backfill_rejects_unknown_options(client):
    with pytest.raises(Exception, match="cursor"):
        backfill(client, {"from": "o"})
