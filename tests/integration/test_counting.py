"""Orders counted by the app's own stream handler and backfill, and read over HTTP; and what is logged."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.streams import Stream, item

NAMES = [
    "Notebook", "A5 notebook", "C++", "a/b", "50% off", "%2F", 'say "hi"', "it's", "<img onerror=x>", "naïve",
    "筆記本", "📓", "a;b", "?x=1&y#z", "a" * 1024,
]  # fmt: skip


def deliver(client: Any, records: list[dict[str, Any]]) -> None:
    client.lambda_.invoke("aggregate", {"Records": records})


def written(dynamodb: Any, *orders: dict[str, Any]) -> Stream:
    """Orders written into OrdersTable directly, and the stream of it."""
    told = Stream()
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        told.put(order)
    return told


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_a_product_of_any_name_is_counted_and_found(client, dynamodb, name):
    told = written(dynamodb, item("o", name))
    path = f"/totals/{quote(name, safe='')}"
    assert client.http.get(path).status_code == 404
    deliver(client, told.records)
    answer = client.http.get(path)
    assert answer.status_code == 200
    total = answer.json_body
    assert total.pop("updatedAt").endswith("Z")
    assert total == {"product": name, "totalQuantity": 5, "orderCount": 1}
    assert client.http.get("/orders/o").json_body["counted"] is True


@pytest.mark.parametrize("name", ["%20", "%00", "x" * 1025, "a%0Ab"])
def test_what_can_be_no_products_name_is_not_found(client, name):
    assert client.http.get(f"/totals/{name}").status_code == 404


def test_the_aggregate_is_there_to_be_read_directly(client, dynamodb):
    deliver(client, written(dynamodb, item("order-1")).records)
    there = dynamodb.get_item(TableName="AggregateTable", Key={"product": {"S": "Notebook"}})["Item"]
    assert there["totalQuantity"] == {"N": "5"}
    assert there["orderCount"] == {"N": "1"}
    assert there["updatedAt"]["S"]


def test_totals_are_listed_page_by_page_and_by_size(client, dynamodb):
    told = written(dynamodb, *(item(f"o{n}", f"P{n}", n + 1) for n in range(7)))
    deliver(client, told.records)
    found, query = [], "?limit=3"
    while query:
        page = client.http.get(f"/totals{query}").json_body
        found += [total["product"] for total in page["totals"]]
        query = f"?limit=3&cursor={page['cursor']}" if page["cursor"] else ""
    assert sorted(found) == [f"P{n}" for n in range(7)]
    top = client.http.get("/totals?top=2").json_body["totals"]
    assert [(total["product"], total["totalQuantity"]) for total in top] == [("P6", 7), ("P5", 6)]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "top=101", "cursor=x", "top=1&limit=1", "colour=red"])
def test_a_wrong_query_is_refused_by_its_parameters_name(client, query):
    answer = client.http.get(f"/totals?{query}")
    assert answer.status_code == 400
    assert list(answer.json_body["problems"]) == [query.partition("=")[0]]


# --- Logs and metrics ----------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [vars(record) for record in caplog.records if record.name == "order-totals"]
    caplog.clear()
    return lines


def test_a_batch_is_logged_in_one_line_and_each_rejected_order_once(client, dynamodb, caplog, capsys):
    told = written(dynamodb, item("good"), item("bad", quantity=0), item("good", quantity=6))
    deliver(client, told.records)
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

    deliver(client, told.records)
    (again,) = logged(caplog)  # The order that was rejected is not named anew.
    assert (again["message"], again["alreadyCounted"]) == ("Batch", 2)


def test_an_error_is_raised_so_that_the_batch_comes_again(client, shell, dynamodb, monkeypatch):
    told = written(dynamodb, item("o"))
    dynamodb.delete_table(TableName="AggregateTable")
    with pytest.raises(Exception, match=r"ResourceNotFound|ValidationException|not found"):
        deliver(client, told.records)


def test_an_invocation_that_runs_out_of_time_says_so_and_does_not_start_what_it_cannot_end(
    client, shell, dynamodb, monkeypatch
):
    monkeypatch.setattr(shell, "RESERVE_SHARE", 1)
    monkeypatch.setattr(shell, "RESERVE_MAX_SECONDS", 900)
    with pytest.raises(shell.OutOfTime):
        deliver(client, written(dynamodb, item("o")).records)
    assert dynamodb.scan(TableName="LedgerTable")["Items"] == []


# --- Orders that are set apart -------------------------------------------------------------------


def set_apart(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> tuple[list[Any], float]:
    """Return what was logged of orders and records that were set apart, and the metric that counts them."""
    lines = [line for line in logged(caplog) if line["message"].endswith("set apart")]
    (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    return lines, metrics["setApart"][0]


@pytest.mark.usefixtures("quick_audit")
def test_a_counter_that_is_no_number_holds_up_only_its_own_orders(client, dynamodb, caplog, capsys):
    dynamodb.put_item(TableName="AggregateTable", Item={"product": {"S": "Pen"}, "totalQuantity": {"S": "many"}})
    told = written(dynamodb, item("a"), item("b", "Pen"), item("c", "Pen"), item("d"))
    deliver(client, told.records)
    lines, count = set_apart(caplog, capsys)
    assert sorted((line["levelname"], line["orderId"]) for line in lines) == [("ERROR", "b"), ("ERROR", "c")]
    assert lines[0]["reason"].startswith("Validation")
    assert count == 2
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 10
    assert client.http.get("/orders/b").json_body["counted"] is False
    repaired = client.lambda_.invoke("audit", {"repair": True, "gracePeriodSeconds": 1}).payload
    assert repaired["verdict"] == "clean"
    assert client.http.get("/totals/Pen").json_body["totalQuantity"] == 10


@pytest.mark.usefixtures("quick_audit")
def test_an_unreadable_ledger_entry_holds_up_only_its_own_order(client, dynamodb, caplog, capsys):
    told = written(dynamodb, item("a"), item("b", "Pen"))
    deliver(client, told.records)
    dynamodb.put_item(TableName="LedgerTable", Item={"OrderID": {"S": "a"}, "format": {"N": "1"}})
    set_apart(caplog, capsys)
    deliver(client, [told.put(item("a", quantity=7)), told.put(item("c", "Pen"))])
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


def test_a_malformed_record_holds_up_no_other(client, dynamodb, caplog, capsys):
    told = written(dynamodb, item("a"), item("b"))
    del told.records[0]["dynamodb"]["SequenceNumber"]
    deliver(client, told.records)
    ((line,), count) = set_apart(caplog, capsys)
    assert (line["message"], line["event_id"], line["order_id"]) == ("Record set apart", "1", "a")
    assert (line["problem"], count) == ("SequenceNumber is missing", 1)
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 5


# --- Backfill ------------------------------------------------------------------------------------


def backfill(client: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = client.lambda_.invoke("backfill", event or {}).payload
    return answer


def test_a_backfill_counts_what_no_stream_told_of_and_a_second_one_writes_nothing(client, dynamodb, shell, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.backfill.PAGE_ORDERS", 40)
    written(dynamodb, *(item(f"o{n}", f"P{n % 3}", n + 1) for n in range(100)), item("bad", quantity=0))
    first = backfill(client)
    assert {"done": True, "cursor": None, "orders": 101, "changed": 101, "rejected": 1}.items() <= first.items()
    totals = client.http.get("/totals").json_body["totals"]
    assert sum(total["totalQuantity"] for total in totals) == sum(range(1, 101))
    monkeypatch.setattr(dynamodb, "transact_write_items", None)
    again = backfill(client)
    assert {"done": True, "cursor": None, "orders": 101, "changed": 0, "rejected": 1}.items() <= again.items()
    assert again["requests"] < first["requests"]


def test_the_stream_finds_nothing_left_to_do_after_a_backfill(client, dynamodb, caplog):
    told = written(dynamodb, item("a", PlacedAt={"S": "2026-11-23T10:00:00Z"}), item("bad", "Pen", 0))
    backfill(client)
    caplog.clear()
    deliver(client, told.records)
    (batch,) = logged(caplog)
    assert (batch["applied"], batch["alreadyCounted"]) == (0, 2)


def test_a_backfill_short_of_time_goes_on_from_its_cursor(client, dynamodb, shell, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.backfill.PAGE_ORDERS", 10)
    written(dynamodb, *(item(f"o{n}") for n in range(25)))
    real, pages = shell.scan, []

    def scan(page: Any) -> Any:
        pages.append(page)
        if len(pages) % 2 == 0:
            raise shell.OutOfTime
        return real(page)

    monkeypatch.setattr(shell, "scan", scan)
    answers = [backfill(client)]
    while not answers[-1]["done"]:
        answers.append(backfill(client, {"cursor": answers[-1]["cursor"]}))
    assert [answer["orders"] for answer in answers] == [10, 10, 5]
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 125


def test_a_backfill_refuses_what_it_does_not_know(client):
    with pytest.raises(Exception, match="cursor"):
        backfill(client, {"from": "o"})
