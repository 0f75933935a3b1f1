"""Tests for reads other than single orders and totals, on the deployed app and on `chalice local`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from localcloud.stack import Stack
from tests.e2e.http import Api


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/totals?limit=1", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/totals?limit=0", 400),
        ("POST", "/orders", 400),
        ("GET", "/orders/none", 404),
        ("GET", "/totals/none", 404),
    ],
)
def test_json_ends_with_a_newline(api: Api, method: str, path: str, status: int):
    response = api(method, path, b"{" if method == "POST" else None)
    assert (response.status, response.body[-2:]) == (status, b"}\n")


def test_chalices_own_errors_end_with_a_newline(api: Api):
    assert api.post("/orders", {}, content_type="text/plain").body.endswith(b"}\n")


def test_order_with_binary_attributes_can_be_read_amended_and_repeated(
    api: Api, stack: Stack, dynamodb: Any, unique: str
):
    binary = {"L": [{"B": b"\x00\x01"}, {"BS": [b"\xff"]}]}
    item = {"OrderID": {"S": unique}, "Product": binary, "Quantity": binary, "PlacedAt": binary}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=item)
    shown = {"L": [{"B": "AAE="}, {"BS": ["/w=="]}]}
    order = api.get(f"/orders/{unique}").json
    assert (order["product"], order["quantity"], order["placedAt"]) == (shown, shown, shown)
    content = {"product": unique, "quantity": 1}
    assert api.post("/orders", {**content, "orderId": unique}).status == 409
    amended = {**content, "orderId": unique, "placedAt": shown}
    assert api.put(f"/orders/{unique}", content).json == amended
    again = api.post("/orders", {**content, "orderId": unique})
    assert (again.status, again.json) == (200, amended)


@pytest.fixture
def ordered(api: Api, unique: str, eventually: Callable[..., Any]) -> str:
    """Place an order for five units, wait until it is counted, and return its product."""
    api.post("/orders", {"product": unique, "quantity": 5})
    assert eventually(lambda: api.get(f"/totals/{unique}").status, 200) == 200
    return unique


def test_trend_shows_an_order_in_its_hour(api: Api, ordered: str):
    response = api.get(f"/totals/{ordered}/trend?days=2")
    assert response.status == 200
    trend = response.json
    assert [len(day["hours"]) for day in trend["days"]] == [24, 24]
    assert sum(sum(day["hours"]) for day in trend["days"]) == trend["total"] == 5


def test_amending_moving_and_cancelling_change_the_hour_of_placement(
    api: Api, stack: Stack, dynamodb: Any, unique: str, eventually: Callable[..., Any]
):
    def hours(product: str) -> dict[str, Any]:
        key = {":product": {"S": product}}
        found = dynamodb.query(
            TableName=stack.tables["TrendTable"],
            KeyConditionExpression="product = :product",
            ExpressionAttributeValues=key,
        )["Items"]
        return {item["day"]["S"]: (item["h21"]["N"], item["total"]["N"]) for item in found}

    order = {"OrderID": {"S": unique}, "Product": {"S": unique}, "Quantity": {"N": "5"}}
    order["PlacedAt"] = {"S": "2026-03-01T23:30:00+02:00"}
    dynamodb.put_item(TableName=stack.tables["OrdersTable"], Item=order)
    assert eventually(lambda: hours(unique), {"2026-03-01": ("5", "5")})
    api.put(f"/orders/{unique}", {"product": unique, "quantity": 7})
    expected = {"2026-03-01": ("7", "7")}
    assert eventually(lambda: hours(unique), expected) == expected
    api.put(f"/orders/{unique}", {"product": f"{unique} 2", "quantity": 7})
    assert eventually(lambda: hours(f"{unique} 2"), expected) == expected
    assert hours(unique) == {"2026-03-01": ("0", "0")}
    api.delete(f"/orders/{unique}")
    expected = {"2026-03-01": ("0", "0")}
    assert eventually(lambda: hours(f"{unique} 2"), expected) == expected


def test_totals_report_the_lag(api: Api, ordered: str, stack: Stack):
    lag = api.get("/totals?top=1").json["freshness"]
    assert lag["lagSeconds"] >= 0
    assert lag["measuredAt"].endswith("Z")
    assert [each for each in stack.log_entries("Aggregate") if each["message"] == "Lag not reported"] == []


def test_dashboard_is_an_html_page(api: Api):
    response = api.get("/")
    assert response.status == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in response.headers["content-security-policy"]
    assert response.body.decode().startswith("<!doctype html>")


def test_description_has_the_url_of_the_routes(api: Api):
    response = api.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    (server,) = response.json["servers"]
    assert server["url"] in (urlsplit(api.url).path or "/", "/api")
