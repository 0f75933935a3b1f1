"""Tests for the validation of orders in request bodies and in items of OrdersTable."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import orders
from chalicelib.orders import CREATE_FIELDS, UPDATE_FIELDS, FieldErrors, MalformedBodyError, Order, OrderInput
from tests.streams import item

VALID_NAMES = [
    "Notebook", "A5 notebook, ruled", "C++", "50% off", "a/b", 'say "hi"', "naïve", "筆記本", "📓", "...", ". .",
    "a" * 1024,
]  # fmt: skip
INVALID_NAMES = [
    "", " ", ".", "..", "\t", "\u3000", "a\nb", "a\x00", "a\x7f", "a\x85", "a" * 1025, "é" * 513, 5, 5.0, None, [], {},
]  # fmt: skip
INVALID_QUANTITIES = [0, -1, 1_000_000_001, 10**400, 5.0, 1e3, "5", "", None, True, False, [5], {"N": "5"}]
INVALID_IDS = ["", " ", ".", "..", "a b", "a/b", "ä", "a" * 129, "a\n", 5, None, True, ["a"]]


def to_body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALID_NAMES)
def test_valid_product_name_is_kept_unchanged(name: str):
    assert orders.parse_order(to_body(product=name, quantity=1), CREATE_FIELDS) == OrderInput((name, 1), None)


@pytest.mark.parametrize("quantity", [1, 5, 1_000_000_000])
def test_whole_quantity_is_valid(quantity: int):
    assert orders.parse_order(to_body(product="Pen", quantity=quantity), CREATE_FIELDS) == OrderInput(
        ("Pen", quantity), None
    )


@pytest.mark.parametrize("order_id", ["o", "order-1", "A.b_c:d-9", "...", ".a", "a" * 128])
def test_order_id_can_be_given(order_id: str):
    assert orders.parse_order(to_body(product="Pen", quantity=1, orderId=order_id), CREATE_FIELDS) == OrderInput(
        ("Pen", 1), order_id
    )


def test_attribute_names_are_accepted_as_field_names():
    assert orders.parse_order(to_body(Product="Pen", Quantity=1, OrderID="o"), CREATE_FIELDS) == OrderInput(
        ("Pen", 1), "o"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("product", value) for value in INVALID_NAMES),
        *(("quantity", value) for value in INVALID_QUANTITIES),
        *(("orderId", value) for value in INVALID_IDS),
    ],
    ids=repr,
)
def test_invalid_value_is_reported_for_its_field(field: str, value: object):
    fields = {"product": "Pen", "quantity": 1, field: value}
    errors = orders.parse_order(to_body(**fields), CREATE_FIELDS)
    assert isinstance(errors, FieldErrors)
    assert list(errors) == [field]


def test_all_errors_are_reported_together():
    errors = orders.parse_order(b'{"product": "", "quantity": 0, "orderId": "a b", "colour": "red"}', CREATE_FIELDS)
    assert isinstance(errors, FieldErrors)
    assert set(errors) == {"product", "quantity", "orderId", "colour"}


def test_missing_fields_are_reported():
    assert orders.parse_order(b"{}", CREATE_FIELDS) == {"product": "is missing", "quantity": "is missing"}


def test_field_given_under_both_names_is_an_error():
    errors = orders.parse_order(to_body(product="Pen", Product="Pen", quantity=1), CREATE_FIELDS)
    assert errors == {"product": "is given twice, as product and as Product; send one of them"}


def test_amendment_has_no_order_id():
    errors = orders.parse_order(to_body(product="Pen", quantity=1, orderId="o"), UPDATE_FIELDS)
    assert errors == {"orderId": "is not a known field; the fields are product, quantity"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"product=Pen&quantity=1", "not JSON"),
        (b'{"product": "Pen", "quantity": NaN}', "NaN"),
        (b'{"product": "Pen", "quantity": -Infinity}', "-Infinity"),
        (b'{"product": "Pen", "quantity": 1, "quantity": 2}', "twice"),
        (b'{"quantity": ' + b"9" * 5000 + b"}", "not JSON"),
        # The depth limit depends on the Python version. Below it, these bodies fail because they are incomplete.
        (b'{"a": ' * 2000, "nested too deeply|not JSON"),
        (b"[" * 8000, "nested too deeply|not JSON"),
        (b" " * 20_000, "larger than"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"Pen"', "must be a JSON object"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"product": "\xff"}', "not UTF-8"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_body_that_is_not_a_json_object_is_malformed(body: bytes, message: str):
    with pytest.raises(MalformedBodyError, match=message):
        orders.parse_order(body, CREATE_FIELDS)


def test_half_of_a_surrogate_pair_is_not_a_valid_name():
    errors = orders.parse_order(b'{"product": "\\ud800", "quantity": 1, "\\udc00": 1}', CREATE_FIELDS)
    assert isinstance(errors, FieldErrors)
    assert errors["product"] == "must be valid Unicode"
    json.dumps(errors, ensure_ascii=False).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["product", "quantity", "orderId", "Product", "Quantity", "OrderID", "placedAt"])


@given(
    st.dictionaries(FIELDS | st.text(), JSON, max_size=6).map(lambda fields: json.dumps(fields).encode()) | st.binary()
)
def test_any_body_is_a_valid_order_or_has_errors_or_is_malformed(body: bytes):
    try:
        result = orders.parse_order(body, CREATE_FIELDS)
    except MalformedBodyError:
        return
    if isinstance(result, OrderInput):
        placed = orders.to_item(result.order_id or "o", result, "2026-11-23T10:00:00.250Z")
        assert isinstance(orders.from_item(placed, ""), Order)
    else:
        assert result


# --- Items ---------------------------------------------------------------------------------------


def invalid_fields(order_item: dict[str, Any]) -> list[str]:
    errors = orders.from_item(order_item, "")
    assert isinstance(errors, FieldErrors)
    return list(errors)


def test_item_written_to_the_table_directly_is_an_order():
    by_hand = json.loads('{"OrderID":{"S":"order-1"},"Product":{"S":"Notebook"},"Quantity":{"N":"5"}}')
    assert orders.from_item(by_hand, "2026-11-23T10:00:00Z") == Order("order-1", "Notebook", 5, "2026-11-23T10:00:00Z")


@pytest.mark.parametrize("digits", ["5", "5.0", "5E0", "0.5E1", "+5", "005"])
def test_whole_number_is_valid_in_every_notation(digits: str):
    order = orders.from_item(item("o", quantity=0) | {"Quantity": {"N": digits}}, "")
    assert isinstance(order, Order)
    assert order.quantity == 5


@pytest.mark.parametrize(
    "digits", ["0", "-1", "5.5", "1000000001", "1E+125", "-1E+125", "1E-130", "9" * 38, "NaN", "x", "²"]
)
def test_other_numbers_are_invalid_quantities(digits: str):
    assert invalid_fields(item("o") | {"Quantity": {"N": digits}}) == ["quantity"]


@pytest.mark.parametrize(
    "value", [{"S": "5"}, {"NULL": True}, {"BOOL": True}, {"L": []}, {"M": {}}, {"B": b"5"}, {"NS": ["5"]}]
)
def test_attributes_of_wrong_types_are_invalid(value: dict[str, Any]):
    assert invalid_fields(item("o") | {"Quantity": value}) == ["quantity"]
    if "S" not in value:
        assert invalid_fields(item("o") | {"Product": value}) == ["product"]


@pytest.mark.parametrize("text", [".", ".."])
def test_dot_segment_is_not_a_valid_id_or_product(text: str):
    error = "must not be . or .., because a URL path cannot contain it"
    assert orders.from_item(item(text, text), "") == {"orderId": error, "product": error}


def test_missing_attributes_are_reported():
    assert orders.from_item({"OrderID": {"S": "o"}}, "") == {"product": "is missing", "quantity": "is missing"}


@pytest.mark.parametrize(
    ("placed_at", "timestamp"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
        ("2026-11-23T10:00:00.999Z", "2026-11-23T10:00:00Z"),
        ("2026-11-23T10:00:00", "2026-11-23T10:00:00Z"),
        ("2026-11-23 10:00", "2026-11-23T10:00:00Z"),
        ("2026-11-23T01:30:00+02:00", "2026-11-22T23:30:00Z"),
        ("20261123T100000Z", "2026-11-23T10:00:00Z"),
    ],
)
def test_placed_at_is_converted_to_a_timestamp(placed_at: str, timestamp: str):
    order = orders.from_item(item("o", PlacedAt={"S": placed_at}), "first seen")
    assert isinstance(order, Order)
    assert order.placed_at == timestamp


@pytest.mark.parametrize(
    "placed_at", ["", "yesterday", "2026-11-23", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+01:00", "9" * 400]
)
def test_first_seen_replaces_an_invalid_placed_at(placed_at: str):
    order = orders.from_item(item("o", PlacedAt={"S": placed_at}), "first seen")
    assert isinstance(order, Order)
    assert order.placed_at == "first seen"


def test_invalid_order_is_shown_as_stored():
    assert orders.to_json(item("o", 5, "x", PlacedAt={"S": "now"})) == {
        "orderId": "o", "product": 5, "quantity": "x", "placedAt": "now",
    }  # fmt: skip
    assert orders.to_json({"OrderID": {"S": "o"}, "Quantity": {"N": "5.5"}}) == {
        "orderId": "o",
        "quantity": {"N": "5.5"},
    }


# --- Retries and keys ----------------------------------------------------------------------------


def test_only_the_same_content_is_a_retry():
    existing = orders.to_item("o", OrderInput(("Pen", 5), None), "2026-11-23T10:00:00.250Z")
    assert orders.same_content(existing, OrderInput(("Pen", 5), "o"))
    assert not orders.same_content(existing, OrderInput(("Pen", 6), "o"))
    assert not orders.same_content(existing, OrderInput(("Pencil", 5), "o"))
    assert not orders.same_content({"OrderID": {"S": "o"}}, OrderInput(("Pen", 5), "o"))


@pytest.mark.parametrize(("text", "expected"), [("", False), ("a b", True), ("é" * 1024, True), ("é" * 1025, False)])
def test_key_limits_are_those_of_dynamodb(text: str, expected: bool):
    assert orders.can_be_key(text) is expected
