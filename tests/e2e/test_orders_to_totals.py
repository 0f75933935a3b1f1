"""Tests that totals of placed orders are exact, on the deployed app with IAM enforced and on `chalice local`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from localcloud.stack import Stack
from tests.e2e.http import Api

# Product names. Each test appends a unique suffix.
NAMES = [
    "A5 notebook", "C++", "a/b", "50% off", "100%25", 'say "hi"', "it's", "<img src=x onerror=alert(1)>", "naïve café",
    "筆記本", "📓", "?x=1&y#z", "a=b:c@d,e", "~*!()", "..", "\\", "{}[]|^`",
]  # fmt: skip


def total(api: Api, product: str) -> tuple[int, int] | None:
    response = api.get(f"/totals/{quote(product, safe='')}")
    if response.status == 404:
        return None
    return response.json["totalQuantity"], response.json["orderCount"]


@pytest.mark.parametrize("name", NAMES)
def test_product_with_any_name_can_be_ordered_and_found(
    api: Api, unique: str, eventually: Callable[..., Any], name: str
):
    product = f"{name} {unique}"
    placed = api.post("/orders", {"product": product, "quantity": 5})
    assert (placed.status, placed.json["product"]) == (201, product)
    assert eventually(lambda: total(api, product), (5, 1)) == (5, 1)


def test_location_header_leads_to_the_order(api: Api, unique: str):
    placed = api.post("/orders", {"product": unique, "quantity": 1})
    location = placed.headers["location"]
    assert api.url.endswith(location.removesuffix(f"/orders/{placed.json['orderId']}"))
    assert api.get(f"/orders/{location.rpartition('/')[2]}").status == 200


def test_orders_are_amended_moved_and_cancelled(api: Api, unique: str, eventually: Callable[..., Any]):
    pen, pencil = f"Pen {unique}", f"Pencil {unique}"
    for order_id in "ab":
        assert api.post("/orders", {"orderId": f"{unique}-{order_id}", "product": pen, "quantity": 5}).status == 201
    assert eventually(lambda: total(api, pen), (10, 2)) == (10, 2)
    assert api.put(f"/orders/{unique}-a", {"product": pen, "quantity": 8}).status == 200
    assert eventually(lambda: total(api, pen), (13, 2)) == (13, 2)
    assert api.put(f"/orders/{unique}-a", {"product": pencil, "quantity": 8}).status == 200
    assert eventually(lambda: (total(api, pen), total(api, pencil)), ((5, 1), (8, 1))) == ((5, 1), (8, 1))
    assert api.delete(f"/orders/{unique}-a").status == 204
    assert eventually(lambda: total(api, pencil), (0, 0)) == (0, 0)
    assert total(api, pen) == (5, 1)


def test_repeated_order_counts_once(api: Api, unique: str, eventually: Callable[..., Any]):
    order = {"orderId": unique, "product": unique, "quantity": 5}
    assert [api.post("/orders", order).status for _ in range(3)] == [201, 200, 200]
    assert api.post("/orders", {**order, "quantity": 6}).status == 409
    assert eventually(lambda: total(api, unique), (5, 1)) == (5, 1)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ({"product": "", "quantity": "5"}, "application/json", 400),
        (b'{"product": "Pen", "quantity": NaN}', "application/json", 400),
        (b'{"a":' * 3000, "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        ({"product": "Pen", "quantity": 5}, "text/plain", 415),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bad_input_is_rejected_and_writes_nothing(
    api: Api, stack: Stack, dynamodb: Any, unique: str, body: Any, content_type: str, status: int
):
    body = {**body, "orderId": unique} if isinstance(body, dict) else body
    assert api.post("/orders", body, content_type=content_type).status == status
    key = {"OrderID": {"S": unique}}
    assert "Item" not in dynamodb.get_item(TableName=stack.tables["OrdersTable"], Key=key)


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_content_types_that_curl_sends_are_accepted_as_json(api: Api, unique: str, content_type: str | None):
    body = f'{{"product": "{unique}", "quantity": 5}}'.encode()
    assert api.post("/orders", body, content_type=content_type).status == 201


def test_invalid_order_blocks_nothing_and_is_reported_everywhere(
    api: Api, stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any]
):
    bad = {"OrderID": {"S": f"{unique}-bad"}, "Product": {"N": "5"}, "Quantity": {"S": "many"}}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=bad)
    api.post("/orders", {"product": unique, "quantity": 5})
    assert eventually(lambda: total(api, unique), (5, 1)) == (5, 1)

    def entry() -> Any:
        key = {"OrderID": bad["OrderID"]}
        return dynamodb.get_item(TableName=stack.tables["LedgerTable"], Key=key).get("Item", {}).get("status")

    assert eventually(entry, {"S": "rejected"}) == {"S": "rejected"}
    assert set(api.get(f"/orders/{unique}-bad").json["rejected"]) == {"product", "quantity"}

    def logged() -> bool:
        return any(line.get("orderId") == f"{unique}-bad" for line in stack.log_entries("Aggregate"))

    assert eventually(logged, True)
    good = {"OrderID": bad["OrderID"], "Product": {"S": unique}, "Quantity": {"N": "2"}}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=good)
    assert eventually(lambda: total(api, unique), (7, 2)) == (7, 2)


def test_many_orders_at_once_are_counted_exactly(
    api: Api, stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any]
):
    for start in range(0, 1000, 25):
        requests = [
            {
                "PutRequest": {
                    "Item": {
                        "OrderID": {"S": f"{unique}-{number}"},
                        "Product": {"S": f"{unique} {number % 10}"},
                        "Quantity": {"N": str(number + 1)},
                    }
                }
            }
            for number in range(start, start + 25)
        ]
        dynamodb.batch_write_item(RequestItems={stack.tables["OrdersTable"]: requests})
    expected = {n: (sum(range(n + 1, 1001, 10)), 100) for n in range(10)}

    def totals() -> Any:
        return {n: total(api, f"{unique} {n}") for n in range(10)}

    assert eventually(totals, expected, 60) == expected


def test_backfill_counts_an_order_that_the_stream_lost(
    stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any], api_url: str
):
    api = Api(api_url)
    api.post("/orders", {"orderId": unique, "product": unique, "quantity": 5})
    assert eventually(lambda: total(api, unique), (5, 1)) == (5, 1)
    delete_counts(stack, dynamodb, unique)
    assert total(api, unique) is None
    response = stack.invoke("Backfill")
    while response["cursor"]:
        response = stack.invoke("Backfill", {"cursor": response["cursor"]})
    assert total(api, unique) == (5, 1)


def delete_counts(stack: Stack, dynamodb: Any, order_id: str) -> None:
    """Delete an order's entry and its product's total, as if the stream had never delivered the order.

    The order must be its product's only order, and the product's name must be the order's id.
    """
    dynamodb.delete_item(TableName=stack.tables["LedgerTable"], Key={"OrderID": {"S": order_id}})
    dynamodb.delete_item(TableName=stack.tables["AggregateTable"], Key={"product": {"S": order_id}})
