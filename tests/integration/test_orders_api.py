"""Tests for orders over HTTP: the responses, and that an invalid request writes nothing."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.streams import item

JSON = {"Content-Type": "application/json"}


def send(client: Any, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.http.request(method, path, headers=JSON if headers is None else headers, body=raw)


def place(client: Any, product: str = "Notebook", quantity: int = 5, **more: Any) -> Any:
    return send(client, "POST", "/orders", {"product": product, "quantity": quantity, **more})


def items(dynamodb: Any, table: str = "OrdersTable") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dynamodb.scan(TableName=table)["Items"]
    return found


# --- Placing -------------------------------------------------------------------------------------


def test_order_is_placed_and_shown(client, dynamodb):
    response = place(client)
    assert response.status_code == 201
    order = response.json_body
    assert (order["product"], order["quantity"]) == ("Notebook", 5)
    assert response.headers["Location"] == f"/orders/{order['orderId']}"
    assert client.http.get(response.headers["Location"]).json_body == {**order, "counted": False}
    (stored,) = items(dynamodb)
    assert stored["OrderID"]["S"] == order["orderId"]
    assert stored["PlacedAt"]["S"] == order["placedAt"]


def test_generated_ids_are_unique(client):
    ids = [place(client).json_body["orderId"] for _ in range(3)]
    assert len(set(ids)) == 3


def test_retry_with_the_same_content_changes_nothing(client, dynamodb):
    first = place(client, orderId="o")
    before = items(dynamodb)
    time.sleep(0.002)  # So that a new `PlacedAt`, in milliseconds, would differ.
    again = place(client, orderId="o")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json_body == first.json_body
    assert again.headers["Location"] == first.headers["Location"]
    assert items(dynamodb) == before


def test_same_id_with_other_content_is_a_conflict(client, dynamodb):
    place(client, orderId="o")
    before = items(dynamodb)
    response = place(client, quantity=6, orderId="o")
    assert response.status_code == 409
    assert "PUT /orders/o" in response.json_body["Message"]
    assert items(dynamodb) == before


def test_write_that_the_sdk_repeats_is_still_201(client, shell, dynamodb, monkeypatch):
    real = dynamodb.put_item
    monkeypatch.setattr(dynamodb, "put_item", lambda **request: (real(**request), real(**request))[1])
    assert place(client).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {},
    ],
    ids=str,
)
def test_curl_default_and_missing_content_type_are_read_as_json(client, headers):
    assert send(client, "POST", "/orders", {"product": "Pen", "quantity": 1}, headers).status_code == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_other_content_types_are_rejected(client, dynamodb, content_type):
    response = send(client, "POST", "/orders", {"product": "Pen", "quantity": 1}, {"Content-Type": content_type})
    assert response.status_code == 415
    assert items(dynamodb) == []


BAD_BODIES = {
    b"": "not JSON",
    b"{": "not JSON",
    b"[]": "JSON object",
    b"null": "JSON object",
    b'{"product": "Pen", "quantity": NaN}': "NaN",
    b'{"a":' * 3000: "The body is",  # "nested too deeply" or "not JSON", depending on the Python version.
    b"[" * 16_000: "The body is",
    b'{"a": "' + b"x" * 20_000 + b'"}': "larger than",
    b'{"product": "\xff", "quantity": 1}': "UTF-8",
}


@pytest.mark.parametrize(("method", "path"), [("POST", "/orders"), ("PUT", "/orders/o")])
@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:20]))
def test_malformed_body_writes_nothing(client, dynamodb, body, method, path):
    place(client, orderId="o")
    before = items(dynamodb)
    response = send(client, method, path, body)
    assert response.status_code == 400
    assert BAD_BODIES[body] in response.json_body["Message"]
    assert items(dynamodb) == before


@pytest.mark.parametrize(("method", "path"), [("POST", "/orders"), ("PUT", "/orders/o")])
def test_invalid_order_reports_every_error_and_writes_nothing(client, dynamodb, method, path):
    place(client, orderId="o")
    before = items(dynamodb)
    response = send(client, method, path, {"product": " ", "quantity": "5", "color": 1})
    assert response.status_code == 400
    assert response.json_body["Code"] == "BadRequestError"
    assert set(response.json_body["problems"]) == {"product", "quantity", "color"}
    assert all(field in response.json_body["Message"] for field in ("product", "quantity", "color"))
    assert items(dynamodb) == before


@pytest.mark.parametrize("text", [".", ".."])
def test_dot_segments_are_rejected_as_id_and_product(client, dynamodb, text):
    response = place(client, product=text, orderId=text)
    assert (response.status_code, set(response.json_body["problems"])) == (400, {"product", "orderId"})
    assert items(dynamodb) == []


# --- Showing, amending, cancelling ---------------------------------------------------------------


def test_order_is_amended(client, dynamodb):
    placed = place(client, orderId="o").json_body
    response = send(client, "PUT", "/orders/o", {"product": "Pen", "quantity": 7})
    assert response.status_code == 200
    assert response.json_body == {**placed, "product": "Pen", "quantity": 7}
    assert client.http.get("/orders/o").json_body == {**response.json_body, "counted": False}


def test_order_is_cancelled(client, dynamodb):
    place(client, orderId="o")
    response = client.http.delete("/orders/o")
    assert (response.status_code, response.body) == (204, b"")
    assert items(dynamodb) == []


@pytest.mark.parametrize("order_id", ["none", "a%20b", "%00", "%F0%9F%93%93", "x" * 2049])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_missing_order_is_not_found(client, dynamodb, method, order_id):
    response = send(client, method, f"/orders/{order_id}", {"product": "Pen", "quantity": 1})
    assert response.status_code == 404
    assert "There is no order" in response.json_body["Message"]
    assert items(dynamodb) == []


def test_path_that_is_not_utf8_is_rejected(client):
    assert client.http.get("/orders/%FF").status_code == 400


@pytest.mark.parametrize("order_id", ["order 1", "50%", "a+b", "a/b", "ä", "📓"])
def test_order_with_an_invalid_id_can_be_shown_and_cancelled(client, dynamodb, order_id):
    dynamodb.put_item(TableName="OrdersTable", Item=item(order_id))
    response = client.http.get(f"/orders/{quote(order_id, safe='')}")
    assert response.status_code == 200
    assert list(response.json_body["rejected"]) == ["orderId"]
    assert client.http.delete(f"/orders/{quote(order_id, safe='')}").status_code == 204


def test_invalid_order_in_the_table_is_shown_with_its_errors(client, dynamodb):
    dynamodb.put_item(TableName="OrdersTable", Item={"OrderID": {"S": "o"}, "Quantity": {"N": "0.5"}})
    assert client.http.get("/orders/o").json_body == {
        "orderId": "o",
        "quantity": {"N": "0.5"},
        "counted": False,
        "rejected": {"product": "is missing", "quantity": "must be a whole number from 1 to 1000000000"},
    }
