"""Tests for eventually consistent reads in the routes, the stream handler and the jobs.

Reads without ConsistentRead go to replica tables, which have only the writes before the last `catch_up()`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib import tables
from infrastructure import tables as provisioned
from tests.streams import Stream, item

SUFFIX = "-replica"
NAMES = [table.name for table in provisioned.all_tables("local")]


@pytest.fixture(autouse=True)
def catch_up(dynamodb: Any) -> Callable[[], None]:
    """Send reads without ConsistentRead to replica tables. Return the function that updates them."""
    for table in provisioned.all_tables("local"):
        dynamodb.create_table(**provisioned.create_parameters(table._replace(name=table.name + SUFFIX)))

    def copy_all() -> None:
        for name in NAMES:
            for old in dynamodb.scan(TableName=name + SUFFIX, ConsistentRead=True)["Items"]:
                key = {attribute: old[attribute] for attribute in tables.KEYS[name]}
                dynamodb.delete_item(TableName=name + SUFFIX, Key=key)
            for each in dynamodb.scan(TableName=name, ConsistentRead=True)["Items"]:
                dynamodb.put_item(TableName=name + SUFFIX, Item=each)

    def redirect(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return params if params.get("ConsistentRead") else {**params, "TableName": params["TableName"] + SUFFIX}

    def redirect_batch(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        requested = params["RequestItems"]
        return {
            "RequestItems": {name + SUFFIX * (not keys.get("ConsistentRead")): keys for name, keys in requested.items()}
        }

    def restore_names(parsed: dict[str, Any], **_: Any) -> None:
        for part in ("Responses", "UnprocessedKeys"):
            parsed[part] = {name.removesuffix(SUFFIX): found for name, found in parsed[part].items()}

    events = dynamodb.meta.events
    for operation in ("GetItem", "Query", "Scan"):
        events.register(f"provide-client-params.dynamodb.{operation}", redirect)
    events.register("provide-client-params.dynamodb.BatchGetItem", redirect_batch)
    events.register("after-call.dynamodb.BatchGetItem", restore_names)
    return copy_all


def count(client: Any, dynamodb: Any, *orders: dict[str, Any]) -> Stream:
    """Write orders to OrdersTable, count them and return their stream."""
    stream = Stream(started=int(datetime.now(UTC).timestamp()))
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        stream.put(order)
    client.lambda_.invoke("aggregate", {"Records": stream.records})
    return stream


def send(client: Any, method: str, path: str, body: str) -> Any:
    return client.http.request(method, path, headers={"Content-Type": "application/json"}, body=body.encode())


def test_replica_misses_writes_since_it_caught_up(dynamodb, catch_up):
    for visible in (0, 1):
        dynamodb.put_item(TableName="OrdersTable", Item=item("o"))
        assert dynamodb.scan(TableName="OrdersTable")["Count"] == visible
        found = dynamodb.batch_get_item(RequestItems={"OrdersTable": {"Keys": [{"OrderID": {"S": "o"}}]}})
        assert len(found["Responses"]["OrdersTable"]) == visible
        assert dynamodb.scan(TableName="OrdersTable", ConsistentRead=True)["Count"] == 1
        catch_up()


# --- Routes --------------------------------------------------------------------------------------


def test_order_shows_a_write_immediately(client, catch_up):
    assert send(client, "POST", "/orders", '{"orderId": "o", "product": "Pen", "quantity": 1}').status_code == 201
    assert client.http.get("/orders/o").json_body["quantity"] == 1
    catch_up()
    assert send(client, "PUT", "/orders/o", '{"product": "Pen", "quantity": 2}').status_code == 200
    assert client.http.get("/orders/o").json_body["quantity"] == 2


def test_order_shows_that_it_is_counted_immediately(client, dynamodb):
    count(client, dynamodb, item("o"))
    assert client.http.get("/orders/o").json_body["counted"] is True


def test_total_and_trend_of_a_product_include_a_counted_order_immediately(client, dynamodb):
    count(client, dynamodb, item("o", "Pen", 5))
    assert client.http.get("/totals/Pen").json_body["totalQuantity"] == 5
    assert client.http.get("/totals/Pen/trend").json_body["total"] == 5


@pytest.mark.parametrize("path", ["/totals", "/totals?top=1"])
def test_list_of_totals_is_eventually_consistent(client, dynamodb, catch_up, path, monkeypatch):
    for name in ("INTERVAL_MIN_SECONDS", "SECONDS_PER_READ_UNIT"):
        monkeypatch.setattr(f"chalicelib.api.top_list.{name}", 0)
    count(client, dynamodb, item("o", "Pen", 5))
    assert client.http.get(path).json_body["totals"] == []
    catch_up()
    count(client, dynamodb, item("another", "Pen", 2))
    assert [total["totalQuantity"] for total in client.http.get(path).json_body["totals"]] == [5]


# --- The stream handler and the jobs -------------------------------------------------------------


def test_stream_handler_reads_the_ledger_consistently(client, dynamodb, catch_up):
    """A stale ledger read would miss the second record's change. The third record would then change nothing."""
    stream = Stream()
    records = [stream.put(item("o", quantity=quantity)) for quantity in (5, 6, 5)]
    for record in records:
        client.lambda_.invoke("aggregate", {"Records": [record]})
        if record is records[0]:
            catch_up()
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 5


def test_backfill_scan_is_eventually_consistent(client, dynamodb, catch_up):
    dynamodb.put_item(TableName="OrdersTable", Item=item("o"))
    assert client.lambda_.invoke("backfill", {}).payload["orders"] == 0
    catch_up()
    assert client.lambda_.invoke("backfill", {}).payload["orders"] == 1


def test_backfill_reads_mismatched_orders_again_consistently(client, dynamodb, catch_up):
    dynamodb.put_item(TableName="OrdersTable", Item=item("o", quantity=6))
    catch_up()
    count(client, dynamodb, item("o", quantity=7))
    result = client.lambda_.invoke("backfill", {}).payload
    assert (result["orders"], result["changed"]) == (1, 0)
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 7


def test_audit_scans_orders_eventually_consistently_and_the_rest_consistently(client, dynamodb, catch_up, monkeypatch):
    monkeypatch.setattr("chalicelib.jobs.audit.counter_audit.PAUSE_SECONDS", 0)
    count(client, dynamodb, item("o"), item("p", "Pen"))
    result = client.lambda_.invoke("audit", {}).payload
    assert (result["orders"]["checked"], result["orders"]["entries"]) == (0, 0)
    assert (result["counters"]["checked"], result["counters"]["unverified"], result["verdict"]) == (4, 0, "clean")
