"""Smoke tests: an order is placed, and its product's total includes it."""

from collections.abc import Callable
from typing import Any

from localcloud.stack import Stack
from tests.e2e.http import Api


def test_order_placed_over_http_is_in_the_total(api: Api, unique: str, eventually: Callable[..., Any]):
    placed = api.post("/orders", {"product": unique, "quantity": 5})
    assert placed.status == 201
    total = eventually(lambda: api.get(f"/totals/{unique}").json.get("totalQuantity"), 5)
    assert total == 5
    assert eventually(lambda: api.get(f"/orders/{placed.json['orderId']}").json["counted"], True) is True


def test_item_written_to_the_table_is_counted(stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any]):
    item = {"OrderID": {"S": f"order-{unique}"}, "Product": {"S": unique}, "Quantity": {"N": "5"}}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=item)

    def total() -> Any:
        key = {"product": {"S": unique}}
        return dynamodb.get_item(TableName=stack.tables["AggregateTable"], Key=key).get("Item", {}).get("totalQuantity")

    assert eventually(total, {"N": "5"}) == {"N": "5"}


def test_stream_handler_logs_batches_and_metrics(
    stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any]
):
    item = {"OrderID": {"S": unique}, "Product": {"S": unique}, "Quantity": {"N": "1"}}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=item)
    assert eventually(lambda: any(entry.get("applied") for entry in stack.log_entries("Aggregate")), True)
    assert any("applied" in metric for metric in stack.metrics("Aggregate"))
