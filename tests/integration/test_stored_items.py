"""Tests that routes work with any stored item, because other programs may write to the tables directly."""

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib import stream_lag, timestamps
from chalicelib.fields import Text, is_valid

JSON = {"Content-Type": "application/json"}
PEN = {"product": "Pen", "quantity": 1}

DIGITS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20)
NUMBERS = st.sampled_from(["0", "5", "5.5", "-1", "1E+125", "1E-130"]) | DIGITS.map(str)
TEXTS = st.text(max_size=9) | st.sampled_from(["Pen", "2026-11-23T18:13:05Z"])
BINARIES = st.binary(max_size=9)
SCALARS = st.one_of(
    st.builds(lambda value: {"S": value}, TEXTS),
    st.builds(lambda value: {"N": value}, NUMBERS),
    st.builds(lambda value: {"B": value}, BINARIES),
    st.builds(lambda value: {"BOOL": value}, st.booleans()),
    st.just({"NULL": True}),
)
SETS = st.one_of(
    st.builds(lambda value: {"SS": value}, st.lists(TEXTS, min_size=1, max_size=3, unique=True)),
    st.builds(lambda value: {"NS": value}, st.lists(st.integers().map(str), min_size=1, max_size=3, unique=True)),
    st.builds(lambda value: {"BS": value}, st.lists(BINARIES, min_size=1, max_size=3, unique=True)),
)
ATTRIBUTES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    SCALARS | SETS,
    lambda inner: st.one_of(
        st.builds(lambda value: {"L": value}, st.lists(inner, max_size=3)),
        st.builds(lambda value: {"M": value}, st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)),
    ),
    max_leaves=6,
)

settings_for_any_item = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def attributes(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, ATTRIBUTES))


def send(client: Any, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    raw = b"" if body is None else json.dumps(body).encode()
    return client.http.request(method, path, headers=JSON, body=raw)


@settings_for_any_item
@given(item=attributes("Product", "Quantity", "PlacedAt", "note"))
def test_order_with_any_attributes_can_be_shown_placed_again_and_amended(client, dynamodb, item):
    dynamodb.put_item(TableName="OrdersTable", Item={**item, "OrderID": {"S": "o"}})
    shown = send(client, "GET", "/orders/o")
    assert (shown.status_code, shown.json_body["orderId"]) == (200, "o")
    assert send(client, "POST", "/orders", {**PEN, "orderId": "o"}).status_code in (200, 409)
    amended = send(client, "PUT", "/orders/o", PEN)
    assert (amended.status_code, amended.json_body["quantity"]) == (200, 1)
    again = send(client, "POST", "/orders", {**PEN, "orderId": "o"})
    assert (again.status_code, again.json_body) == (200, amended.json_body)


@settings_for_any_item
@given(
    total=attributes("totalQuantity", "orderCount", "updatedAt", "revision"),
    day=attributes("total", "h00", "h23", "revision"),
    lag=attributes("lagSeconds", "measuredAt", "packedOrders"),
)
def test_counters_with_any_attributes_can_be_shown(client, dynamodb, total, day, lag):
    today = timestamps.from_epoch(int(time.time()))[:10]
    dynamodb.put_item(TableName="AggregateTable", Item={**total, "product": {"S": "Pen"}})
    dynamodb.put_item(TableName="TrendTable", Item={**day, "product": {"S": "Pen"}, "day": {"S": today}})
    dynamodb.put_item(TableName="StateTable", Item={**lag, **stream_lag.KEY})
    for path in ("/totals", "/totals?top=1", "/totals/Pen", "/totals/Pen/trend", "/orders"):
        assert send(client, "GET", path).status_code == 200


BINARY = b"\x00\x01\xff"
IN_BASE64 = base64.b64encode(BINARY).decode()


@pytest.mark.parametrize(
    ("attribute", "shown"),
    [
        ({"B": BINARY}, {"B": IN_BASE64}),
        ({"BS": [BINARY]}, {"BS": [IN_BASE64]}),
        ({"L": [{"B": BINARY}, {"S": "a"}]}, {"L": [{"B": IN_BASE64}, {"S": "a"}]}),
        ({"M": {"a": {"L": [{"BS": [BINARY]}]}}}, {"M": {"a": {"L": [{"BS": [IN_BASE64]}]}}}),
    ],
    ids=["binary", "set", "list", "map"],
)
def test_binary_is_shown_as_base64(client, dynamodb, attribute, shown):
    item = {"OrderID": {"S": "o"}, "Product": attribute, "Quantity": attribute, "PlacedAt": attribute}
    dynamodb.put_item(TableName="OrdersTable", Item=item)
    order = send(client, "GET", "/orders/o").json_body
    assert (order["product"], order["quantity"], order["placedAt"]) == (shown, shown, shown)
    assert set(order["rejected"]) == {"product", "quantity"}
    assert send(client, "PUT", "/orders/o", PEN).json_body["placedAt"] == shown


LAST = "\U0010ffff"  # moto sorts by key, so this item is last and needs no cursor.


@pytest.mark.parametrize("product", [" ", "\t", "a\x00b", ".", "x" * 2048, "é" * 1024])
def test_cursor_of_any_product_is_accepted(client, dynamodb, product):
    assert not is_valid(Text(), product)
    for name in ("Ink", product, LAST):
        dynamodb.put_item(TableName="AggregateTable", Item={"product": {"S": name}})
    seen, path = [], "/totals?limit=1"
    while path:
        page = send(client, "GET", path)
        assert page.status_code == 200
        seen += [total["product"] for total in page.json_body["totals"]]
        cursor = page.json_body["cursor"]
        path = f"/totals?limit=1&cursor={cursor}" if cursor else ""
    assert sorted(seen) == sorted(["Ink", product, LAST])


@pytest.mark.parametrize("product", [" ", "a\x00b", "x" * 2048])
def test_every_listed_total_can_be_shown(client, dynamodb, product):
    dynamodb.put_item(TableName="AggregateTable", Item={"product": {"S": product}})
    (listed,) = send(client, "GET", "/totals").json_body["totals"]
    assert send(client, "GET", f"/totals/{quote(product)}").json_body == listed
    assert send(client, "GET", f"/totals/{quote(product)}/trend").json_body["total"] == 0
