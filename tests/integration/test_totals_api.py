"""Tests for totals and trends over HTTP, `freshness`, and the number of DynamoDB requests."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib import stream_lag
from tests.streams import Stream, item


def get(client: Any, path: str, status: int = 200) -> Any:
    response = client.http.get(path)
    assert response.status_code == status
    return response.json_body


def count(client: Any, dynamodb: Any, *orders: dict[str, Any], started: int | None = None) -> None:
    """Write orders to OrdersTable and count them."""
    stream = Stream(started=int(datetime.now(UTC).timestamp()) if started is None else started)
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        stream.put(order)
    client.lambda_.invoke("aggregate", {"Records": stream.records})


def total(product: str, quantity: int) -> dict[str, Any]:
    amounts = {"totalQuantity": quantity, "orderCount": 1, "revision": 1}
    item: dict[str, Any] = {name: {"N": str(amount)} for name, amount in amounts.items()}
    return {**item, "product": {"S": product}, "updatedAt": {"S": "2026-11-23T18:13:05Z"}}


@pytest.fixture
def requests(dynamodb: Any) -> Iterator[Counter[str]]:
    """Yield the number of DynamoDB requests by operation."""
    counts: Counter[str] = Counter()

    def increment(model: Any, **_more: Any) -> None:
        counts[model.name] += 1

    dynamodb.meta.events.register("before-call.dynamodb", increment)
    yield counts
    dynamodb.meta.events.unregister("before-call.dynamodb", increment)


# --- Totals --------------------------------------------------------------------------------------


def test_pages_contain_every_total_once(client, dynamodb):
    products = [f"Product {number}" for number in range(7)] + ["a/b", "50% & more", "筆記本"]
    for product in products:
        dynamodb.put_item(TableName="AggregateTable", Item=total(product, 5))
    seen, pages, path = [], 0, "/totals?limit=3"
    while path:
        page = get(client, path)
        seen += [each["product"] for each in page["totals"]]
        pages += 1
        path = page["cursor"] and f"/totals?limit=3&cursor={quote(page['cursor'])}"
    assert sorted(seen) == sorted(products)
    assert pages == 4


def test_largest_totals_are_ordered_by_quantity_then_product(client, dynamodb):
    for product, quantity in (("c", 5), ("b", 9), ("a", 5), ("d", 1)):
        dynamodb.put_item(TableName="AggregateTable", Item=total(product, quantity))
    top = get(client, "/totals?top=3")
    assert [each["product"] for each in top["totals"]] == ["b", "a", "c"]
    assert "cursor" not in top


@pytest.fixture
def clock(shell: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stop the app's clock at `now`, in epoch seconds."""
    result = SimpleNamespace(now=1_795_003_200.9)
    monkeypatch.setattr(shell, "time", SimpleNamespace(**{**vars(time), "time": lambda: result.now}))
    return result


def test_largest_totals_say_when_they_were_read(client, dynamodb, clock):
    dynamodb.put_item(TableName="AggregateTable", Item=total("Pen", 5))
    assert get(client, "/totals?top=3")["asOf"] == "2026-11-18T12:00:00Z"
    dynamodb.put_item(TableName="AggregateTable", Item=total("Ink", 9))
    clock.now += 0.9
    assert [each["product"] for each in get(client, "/totals?top=3")["totals"]] == ["Pen"]
    clock.now += 0.4
    later = get(client, "/totals?top=3")
    assert [each["product"] for each in later["totals"]] == ["Ink", "Pen"]
    assert (later["asOf"], later["complete"]) == ("2026-11-18T12:00:02Z", True)


@pytest.mark.slow
def test_schedule_lists_the_totals_of_a_table_that_a_request_cannot_scan(
    client, dynamodb, clock, requests, monkeypatch
):
    monkeypatch.setattr("chalicelib.api.top_list.PAGES_MAX", 1)
    products = write_two_megabytes(dynamodb)
    requests.clear()
    assert get(client, "/totals?top=1")["complete"] is False
    assert requests["Scan"] == 1
    clock.now += 1
    refresh(client)
    found = get(client, "/totals?top=1")
    assert (found["complete"], found["totals"][0]["totalQuantity"]) == (True, products - 1)
    requests.clear()
    refresh(client)
    assert requests == {"BatchGetItem": 1}


def refresh(client: Any) -> None:
    """Invoke the scheduled refresh of the top lists."""
    event = client.events.generate_cw_event(source="aws.events", detail_type="", detail={}, resources=[])
    client.lambda_.invoke("refresh_top_lists", event)


def test_trend_of_a_product_comes_with_the_largest_totals(client, dynamodb, requests):
    count(client, dynamodb, item("o", "a / b", 5))
    get(client, "/totals?top=1")
    requests.clear()
    both = get(client, "/totals?top=1&trend=a%20%2F%20b&days=30")
    assert requests == {"GetItem": 1, "BatchGetItem": 1, "Query": 1}
    assert both["trend"] == get(client, "/totals/a%20%2F%20b/trend?days=30")
    assert both["totals"][0]["product"] == "a / b"


@pytest.mark.parametrize("product", ["Ink", "", "x" * 3000])
def test_trend_of_a_product_without_a_total_is_null(client, product):
    assert get(client, f"/totals?top=1&trend={product}")["trend"] is None


@pytest.mark.parametrize("cursor", ["x", "AAAAAFBlbg", quote('{"product":{"S":"Pen"}}')])
def test_cursor_from_elsewhere_is_rejected(client, cursor):
    response = get(client, f"/totals?cursor={cursor}", 400)
    assert set(response["problems"]) == {"cursor"}


def test_page_takes_two_requests_with_any_number_of_products(client, dynamodb, requests):
    for number in range(150):
        dynamodb.put_item(TableName="AggregateTable", Item=total(f"Product {number}", 1))
    requests.clear()
    get(client, "/totals?limit=100")
    assert requests == {"Scan": 1, "GetItem": 1}


@pytest.mark.slow
def test_largest_totals_are_scanned_once_for_many_readers(client, dynamodb, clock, requests):
    products = write_two_megabytes(dynamodb)
    requests.clear()
    top = get(client, "/totals?top=1")
    assert top["totals"][0]["totalQuantity"] == products - 1
    assert requests == {"Scan": 2, "GetItem": 1, "BatchGetItem": 1, "UpdateItem": 2}
    requests.clear()
    for _ in range(100):
        assert get(client, "/totals?top=1") == top
    assert requests == {"GetItem": 100, "BatchGetItem": 100}


def write_two_megabytes(dynamodb: Any) -> int:
    """Write 1 to 2 MB of totals, so that a Scan needs two pages. Return the number of products."""
    products = 2600  # Each item is 512 to 700 bytes.
    puts = [{"PutRequest": {"Item": total(f"{number:04}".ljust(512, "x"), number)}} for number in range(products)]
    for start in range(0, products, 25):
        dynamodb.batch_write_item(RequestItems={"AggregateTable": puts[start : start + 25]})
    return products


@pytest.mark.parametrize("path", ["/totals/A5%20notebook", "/totals/A5%20notebook/trend"])
def test_missing_total_is_not_found(client, path):
    assert client.http.post("/orders", body=b'{"product": "A5 notebook", "quantity": 5}').status_code == 201
    assert get(client, path, 404) == {
        "Code": "NotFoundError",
        "Message": "Nothing has been counted for A5 notebook yet.",
    }


# --- Trends --------------------------------------------------------------------------------------


def test_trend_has_every_day_and_hour_up_to_today(client, dynamodb):
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
    trend = get(client, "/totals/Pen/trend")
    by_day = {day["day"]: day for day in trend["days"]}
    assert (trend["product"], trend["total"], len(by_day)) == ("Pen", 7, 7)
    assert list(by_day) == sorted(by_day)
    assert by_day[three_days_ago.date().isoformat()]["hours"][three_days_ago.hour] == 2
    assert [day["total"] for day in trend["days"][-4:]] == [2, 0, 0, 5]
    assert all(len(day["hours"]) == 24 and sum(day["hours"]) == day["total"] for day in trend["days"])


@pytest.mark.parametrize("days", [1, 90])
def test_days_sets_the_length_of_the_trend(client, dynamodb, requests, days):
    count(client, dynamodb, item("o", "a / b", 5))
    requests.clear()
    trend = get(client, f"/totals/a%20%2F%20b/trend?days={days}")
    assert len(trend["days"]) == days
    assert trend["total"] == 5
    assert requests == {"Query": 1}


def test_trend_of_a_product_with_only_cancelled_orders_is_zero(client, dynamodb):
    stream = Stream(started=int(datetime.now(UTC).timestamp()))
    stream.put(item("o", "Pen", 5))
    stream.remove("o")
    client.lambda_.invoke("aggregate", {"Records": stream.records[:1]})
    client.lambda_.invoke("aggregate", {"Records": stream.records[1:]})
    assert get(client, "/totals/Pen/trend")["total"] == 0


# --- All rows, and the latest orders --------------------------------------------------------------


def test_largest_totals_come_with_the_sums_of_all(client, dynamodb):
    for number in range(3):
        dynamodb.put_item(TableName="AggregateTable", Item=total(f"Product {number}", 5 + number))
    listed = get(client, "/totals?top=1")
    assert [each["product"] for each in listed["totals"]] == ["Product 2"]
    assert listed["all"] == {"rows": 3, "amounts": {"totalQuantity": 18, "orderCount": 3}}
    assert get(client, "/totals?top=2")["all"] == listed["all"]  # From the shared list.
    assert get(client, "/views/totals?top=1")["all"] == listed["all"]
    assert "all" not in get(client, "/totals")


def test_latest_orders_are_listed_with_how_long_each_took(client, dynamodb, requests):
    assert get(client, "/orders?recent=20") == {"orders": [], "freshness": None}
    started = int(datetime.now(UTC).timestamp())
    count(client, dynamodb, item("first"), started=started - 60)
    count(client, dynamodb, item("second", "Pen", 2), started=started)
    requests.clear()
    listed = get(client, "/orders")
    assert requests == {"GetItem": 1}
    assert [each["orderId"] for each in listed["orders"]] == ["second", "first"]
    newest = listed["orders"][0]
    assert (newest["product"], newest["quantity"], newest["countedAt"][-1]) == ("Pen", 2, "Z")
    assert 0 <= newest["lagSeconds"] < 30 < 60 <= listed["orders"][1]["lagSeconds"] < 90
    assert get(client, "/orders?recent=1")["orders"] == [newest]
    for path in ("/totals?top=1&recent=1", "/totals?recent=1", "/views/trend?recent=1"):
        assert get(client, path)["recentOrders"] == [newest], path


def test_latest_orders_cost_a_batch_no_request_of_their_own(client, dynamodb, requests):
    count(client, dynamodb, item("o"))
    assert requests == {"PutItem": 1, "TransactWriteItems": 1, "UpdateItem": 1}


@pytest.mark.parametrize("query", ["recent=0", "recent=21", "recent=x", "recent=1&size=2"])
def test_invalid_number_of_latest_orders_is_refused(client, query):
    assert get(client, f"/orders?{query}", 400)["problems"].keys() <= {"recent", "size"}


# --- Freshness -----------------------------------------------------------------------------------


def test_freshness_is_null_before_the_first_batch(client):
    assert get(client, "/totals")["freshness"] is None


@pytest.fixture
def reporter(shell: Any) -> stream_lag.Reporter:
    """Return the reporter of a new container."""
    result: stream_lag.Reporter = shell.lag_reporter
    return result


def test_totals_include_the_lag_of_the_stream(client, dynamodb, reporter):
    count(client, dynamodb, item("o"), started=int(datetime.now(UTC).timestamp()) - 120)
    for path in ("/totals", "/totals?top=1"):
        freshness = get(client, path)["freshness"]
        assert 120 <= freshness["lagSeconds"] < 150
        assert freshness["measuredAt"].endswith("Z")


def test_lag_is_written_for_few_of_many_batches(client, dynamodb, reporter, requests):
    for number in range(20):
        count(client, dynamodb, item(f"o-{number}"))
    assert requests["UpdateItem"] == 10


def test_empty_batch_reports_nothing(client, reporter):
    client.lambda_.invoke("aggregate", {"Records": []})
    assert get(client, "/totals")["freshness"] is None


def test_full_batch_of_late_records_reports_a_backlog(client, reporter):
    stream = Stream(started=int(datetime.now(UTC).timestamp()) - 7200)  # Records are one second apart.
    for _ in range(stream_lag.BATCH_SIZE):
        stream.put(item("o"))
    client.lambda_.invoke("aggregate", {"Records": stream.records})
    assert get(client, "/totals")["freshness"]["state"] == "catchingUp"


def test_batch_size_is_that_of_the_event_source_mapping(shell):
    (source,) = [each for each in shell.app.event_sources if each.name == "aggregate"]
    assert source.batch_size == stream_lag.BATCH_SIZE


def test_failing_since_is_kept_until_a_batch_is_counted(client, dynamodb, reporter, shell, monkeypatch):
    def fail(**_parameters: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "TransactWriteItems")

    started = datetime.now(UTC)
    stream = Stream(started=int(started.timestamp()) - 60)
    stream.put(item("o"))
    with monkeypatch.context() as broken:
        broken.setattr(shell.dynamodb, "transact_write_items", fail)
        for minutes in range(2):
            # Each delivery happens a minute later, in a new container.
            broken.setattr(shell, "lag_reporter", stream_lag.Reporter())
            broken.setattr(shell.timestamps, "from_epoch", lambda seconds, m=minutes: f"2026-11-23T18:0{m}:05Z")
            with pytest.raises(ClientError):
                client.lambda_.invoke("aggregate", {"Records": stream.records})
    reported = get(client, "/totals")["freshness"]
    assert reported.pop("lagSeconds") >= 60
    assert reported == {
        "measuredAt": "2026-11-23T18:01:05Z",
        "state": "failing",
        "failingSince": "2026-11-23T18:00:05Z",
    }
    client.lambda_.invoke("aggregate", {"Records": stream.records})
    reported = get(client, "/totals")["freshness"]
    assert (reported["state"], reported["failingSince"]) == ("current", None)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateItem"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    ],
    ids=["denied", "unreachable"],
)
def test_failed_lag_write_is_logged_and_the_batch_is_counted(
    client, dynamodb, reporter, shell, monkeypatch, caplog, capsys, error
):
    def fail(**_parameters: Any) -> None:
        raise error

    stream = Stream()
    stream.put(item("o"))
    monkeypatch.setattr(shell.dynamodb, "update_item", fail)
    client.lambda_.invoke("aggregate", {"Records": stream.records})
    assert [record.levelname for record in caplog.records if record.message == "Lag not reported"] == ["ERROR"]
    assert any("lagNotReported" in json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert get(client, "/totals/Notebook")["totalQuantity"] == 5
