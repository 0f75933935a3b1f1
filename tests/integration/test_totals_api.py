"""Totals and trends over HTTP, how current they are, and what reading them costs."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib import stream_lag
from tests.streams import Stream, item


def ask(client: Any, path: str, status: int = 200) -> Any:
    answer = client.http.get(path)
    assert answer.status_code == status
    return answer.json_body


def count(client: Any, dynamodb: Any, *orders: dict[str, Any], started: int | None = None) -> None:
    """Writes orders into OrdersTable and has the stream handler count them."""
    told = Stream(started=int(datetime.now(UTC).timestamp()) if started is None else started)
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        told.put(order)
    client.lambda_.invoke("aggregate", {"Records": told.records})


def total(product: str, quantity: int) -> dict[str, Any]:
    amounts = {"totalQuantity": quantity, "orderCount": 1, "revision": 1}
    item: dict[str, Any] = {name: {"N": str(amount)} for name, amount in amounts.items()}
    return {**item, "product": {"S": product}, "updatedAt": {"S": "2026-11-23T18:13:05Z"}}


@pytest.fixture
def requests(dynamodb: Any) -> Iterator[Counter[str]]:
    """What is asked of DynamoDB, counted by operation."""
    counted: Counter[str] = Counter()

    def note(model: Any, **_more: Any) -> None:
        counted[model.name] += 1

    dynamodb.meta.events.register("before-call.dynamodb", note)
    yield counted
    dynamodb.meta.events.unregister("before-call.dynamodb", note)


# --- Totals --------------------------------------------------------------------------------------


def test_pages_lead_through_all_totals_once(client, dynamodb):
    products = [f"Product {number}" for number in range(7)] + ["a/b", "50% & more", "筆記本"]
    for product in products:
        dynamodb.put_item(TableName="AggregateTable", Item=total(product, 5))
    seen, pages, path = [], 0, "/totals?limit=3"
    while path:
        page = ask(client, path)
        seen += [each["product"] for each in page["totals"]]
        pages += 1
        path = page["cursor"] and f"/totals?limit=3&cursor={quote(page['cursor'])}"
    assert sorted(seen) == sorted(products)
    assert pages == 4


def test_the_top_is_by_quantity_and_ties_by_name(client, dynamodb):
    for product, quantity in (("c", 5), ("b", 9), ("a", 5), ("d", 1)):
        dynamodb.put_item(TableName="AggregateTable", Item=total(product, quantity))
    top = ask(client, "/totals?top=3")
    assert [each["product"] for each in top["totals"]] == ["b", "a", "c"]
    assert "cursor" not in top


@pytest.mark.parametrize("cursor", ["x", "AAAAAFBlbg", quote('{"product":{"S":"Pen"}}')])
def test_a_cursor_that_was_never_given_is_refused(client, cursor):
    refused = ask(client, f"/totals?cursor={cursor}", 400)
    assert set(refused["problems"]) == {"cursor"}


def test_a_page_costs_two_requests_however_many_products_there_are(client, dynamodb, requests):
    for number in range(150):
        dynamodb.put_item(TableName="AggregateTable", Item=total(f"Product {number}", 1))
    requests.clear()
    ask(client, "/totals?limit=100")
    assert requests == {"Scan": 1, "GetItem": 1}


@pytest.mark.slow
def test_the_top_costs_a_request_for_each_megabyte_of_totals(client, dynamodb, requests):
    products = 2600  # Of more than 512 and less than 700 bytes each: more than 1 MB, less than 2.
    puts = [{"PutRequest": {"Item": total(f"{number:04}".ljust(512, "x"), number)}} for number in range(products)]
    for start in range(0, products, 25):
        dynamodb.batch_write_item(RequestItems={"AggregateTable": puts[start : start + 25]})
    requests.clear()
    top = ask(client, "/totals?top=1")
    assert top["totals"][0]["totalQuantity"] == products - 1
    assert requests == {"Scan": 2, "GetItem": 1}


@pytest.mark.parametrize("path", ["/totals/A5%20notebook", "/totals/A5%20notebook/trend"])
def test_a_total_that_is_not_there_says_that_nothing_has_been_counted_yet(client, path):
    assert client.http.post("/orders", body=b'{"product": "A5 notebook", "quantity": 5}').status_code == 201
    assert ask(client, path, 404) == {
        "Code": "NotFoundError",
        "Message": "Nothing has been counted for A5 notebook yet.",
    }


# --- Trends --------------------------------------------------------------------------------------


def test_a_trend_has_every_day_and_hour_up_to_today(client, dynamodb):
    now = datetime.now(UTC)
    three_days_ago = now - timedelta(days=3)
    count(
        client,
        dynamodb,
        item("today", "Pen", 5),
        item("then", "Pen", 2, PlacedAt={"S": three_days_ago.isoformat()}),
        item("long ago", "Pen", 9, PlacedAt={"S": "2020-01-01T00:00:00Z"}),
        item("another", "Ink", 1),
    )
    trend = ask(client, "/totals/Pen/trend")
    by_day = {day["day"]: day for day in trend["days"]}
    assert (trend["product"], trend["total"], len(by_day)) == ("Pen", 7, 7)
    assert list(by_day) == sorted(by_day)
    assert by_day[three_days_ago.date().isoformat()]["hours"][three_days_ago.hour] == 2
    assert [day["total"] for day in trend["days"][-4:]] == [2, 0, 0, 5]
    assert all(len(day["hours"]) == 24 and sum(day["hours"]) == day["total"] for day in trend["days"])


@pytest.mark.parametrize("days", [1, 90])
def test_a_trend_has_as_many_days_as_are_asked_for(client, dynamodb, requests, days):
    count(client, dynamodb, item("o", "a / b", 5))
    requests.clear()
    trend = ask(client, f"/totals/a%20%2F%20b/trend?days={days}")
    assert len(trend["days"]) == days
    assert trend["total"] == 5
    assert requests == {"GetItem": 1, "Query": 1}


def test_a_product_whose_orders_are_all_cancelled_has_a_trend_of_zeros(client, dynamodb):
    told = Stream(started=int(datetime.now(UTC).timestamp()))
    told.put(item("o", "Pen", 5))
    told.remove("o")
    client.lambda_.invoke("aggregate", {"Records": told.records[:1]})
    client.lambda_.invoke("aggregate", {"Records": told.records[1:]})
    assert ask(client, "/totals/Pen/trend")["total"] == 0


# --- Freshness -----------------------------------------------------------------------------------


def test_before_any_order_nothing_is_said_of_freshness(client):
    assert ask(client, "/totals")["freshness"] is None


@pytest.fixture
def pace(shell: Any) -> stream_lag.WriteThrottle:
    """The pace of a container just started."""
    started: stream_lag.WriteThrottle = shell.lag_throttle
    return started


def test_totals_say_how_far_the_stream_was_behind(client, dynamodb, pace):
    count(client, dynamodb, item("o"), started=int(datetime.now(UTC).timestamp()) - 120)
    for path in ("/totals", "/totals?top=1"):
        told = ask(client, path)["freshness"]
        assert 120 <= told["lagSeconds"] < 150
        assert told["measuredAt"].endswith("Z")


def test_freshness_is_written_once_for_many_batches(client, dynamodb, pace, requests):
    for number in range(10):
        count(client, dynamodb, item(f"o-{number}"))
    assert requests["UpdateItem"] == 1


def test_an_empty_batch_reports_nothing(client, pace):
    client.lambda_.invoke("aggregate", {"Records": []})
    assert ask(client, "/totals")["freshness"] is None


def test_a_full_batch_of_late_records_reports_a_backlog(client, pace):
    told = Stream(started=int(datetime.now(UTC).timestamp()) - 7200)  # Its records are a second apart.
    for _ in range(stream_lag.BATCH_SIZE):
        told.put(item("o"))
    client.lambda_.invoke("aggregate", {"Records": told.records})
    assert ask(client, "/totals")["freshness"]["state"] == "catchingUp"


def test_a_full_batch_is_as_large_as_the_handler_takes(shell):
    (source,) = [each for each in shell.app.event_sources if each.name == "aggregate"]
    assert source.batch_size == stream_lag.BATCH_SIZE


def test_failing_batches_report_since_when_until_one_is_counted(client, dynamodb, pace, shell, monkeypatch):
    def refuse(**_parameters: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "TransactWriteItems")

    started = datetime.now(UTC)
    told = Stream(started=int(started.timestamp()) - 60)
    told.put(item("o"))
    with monkeypatch.context() as broken:
        broken.setattr(shell.dynamodb, "transact_write_items", refuse)
        for minutes in range(2):
            # A new container each time, and a minute later.
            broken.setattr(shell, "lag_throttle", stream_lag.WriteThrottle())
            broken.setattr(shell.timestamps, "from_epoch", lambda seconds, m=minutes: f"2026-11-23T18:0{m}:05Z")
            with pytest.raises(ClientError):
                client.lambda_.invoke("aggregate", {"Records": told.records})
    reported = ask(client, "/totals")["freshness"]
    assert reported.pop("lagSeconds") >= 60
    assert reported == {
        "measuredAt": "2026-11-23T18:01:05Z",
        "state": "failing",
        "failingSince": "2026-11-23T18:00:05Z",
    }
    client.lambda_.invoke("aggregate", {"Records": told.records})
    reported = ask(client, "/totals")["freshness"]
    assert (reported["state"], reported["failingSince"]) == ("current", None)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateItem"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    ],
    ids=["refused", "unreachable"],
)
def test_freshness_that_cannot_be_written_is_logged_and_fails_no_batch(
    client, dynamodb, pace, shell, monkeypatch, caplog, capsys, error
):
    def refuse(**_parameters: Any) -> None:
        raise error

    told = Stream()
    told.put(item("o"))
    monkeypatch.setattr(shell.dynamodb, "update_item", refuse)
    client.lambda_.invoke("aggregate", {"Records": told.records})
    assert [record.levelname for record in caplog.records if record.message == "Lag not reported"] == ["ERROR"]
    assert any("lagNotReported" in json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ask(client, "/totals/Notebook")["totalQuantity"] == 5
