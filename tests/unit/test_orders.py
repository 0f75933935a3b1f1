"""What a valid order is, over HTTP and in the table; nothing that comes in may end in anything but an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import orders
from chalicelib.orders import CREATE_FIELDS, UPDATE_FIELDS, MalformedBodyError, Order, OrderInput
from tests.streams import item

NAMES = [
    "Notebook", "A5 notebook, ruled", "C++", "50% off", "a/b", 'say "hi"', "naïve", "筆記本", "📓", "...", ". .",
    "a" * 1024,
]  # fmt: skip
NO_NAMES = [
    "", " ", ".", "..", "\t", "\u3000", "a\nb", "a\x00", "a\x7f", "a\x85", "a" * 1025, "é" * 513, 5, 5.0, None, [], {},
]  # fmt: skip
NO_QUANTITIES = [0, -1, 1_000_000_001, 10**400, 5.0, 1e3, "5", "", None, True, False, [5], {"N": "5"}]
NO_IDS = ["", " ", ".", "..", "a b", "a/b", "ä", "a" * 129, "a\n", 5, None, True, ["a"]]


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_is(name: str):
    assert orders.parse_order(body(product=name, quantity=1), CREATE_FIELDS) == OrderInput(name, 1, None)


@pytest.mark.parametrize("quantity", [1, 5, 1_000_000_000])
def test_a_whole_quantity_is_taken(quantity: int):
    assert orders.parse_order(body(product="Pen", quantity=quantity), CREATE_FIELDS) == OrderInput(
        "Pen", quantity, None
    )


@pytest.mark.parametrize("order_id", ["o", "order-1", "A.b_c:d-9", "...", ".a", "a" * 128])
def test_an_id_may_be_given(order_id: str):
    assert orders.parse_order(body(product="Pen", quantity=1, orderId=order_id), CREATE_FIELDS) == OrderInput(
        "Pen", 1, order_id
    )


def test_the_tables_own_spelling_is_taken_too():
    assert orders.parse_order(body(Product="Pen", Quantity=1, OrderID="o"), CREATE_FIELDS) == OrderInput("Pen", 1, "o")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("product", value) for value in NO_NAMES),
        *(("quantity", value) for value in NO_QUANTITIES),
        *(("orderId", value) for value in NO_IDS),
    ],
    ids=repr,
)
def test_a_wrong_value_is_refused_by_its_fields_name(field: str, value: object):
    fields = {"product": "Pen", "quantity": 1, field: value}
    assert list(orders.parse_order(body(**fields), CREATE_FIELDS)) == [field]


def test_everything_that_is_wrong_is_said_at_once():
    answer = orders.parse_order(b'{"product": "", "quantity": 0, "orderId": "a b", "colour": "red"}', CREATE_FIELDS)
    assert isinstance(answer, dict)
    assert set(answer) == {"product", "quantity", "orderId", "colour"}


def test_what_is_missing_is_said():
    assert orders.parse_order(b"{}", CREATE_FIELDS) == {"product": "is missing", "quantity": "is missing"}


def test_a_field_may_be_given_in_one_spelling_only():
    answer = orders.parse_order(body(product="Pen", Product="Pen", quantity=1), CREATE_FIELDS)
    assert answer == {"product": "is given twice, as product and as Product"}


def test_an_amendment_does_not_name_its_order():
    answer = orders.parse_order(body(product="Pen", quantity=1, orderId="o"), UPDATE_FIELDS)
    assert answer == {"orderId": "is not a field here; the fields are product, quantity"}


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "not JSON"),
        (b"product=Pen&quantity=1", "not JSON"),
        (b'{"product": "Pen", "quantity": NaN}', "NaN"),
        (b'{"product": "Pen", "quantity": -Infinity}', "-Infinity"),
        (b'{"product": "Pen", "quantity": 1, "quantity": 2}', "twice"),
        (b'{"quantity": ' + b"9" * 5000 + b"}", "not JSON"),
        # How deep is too deep depends on Python: what can still be read turns out not to end.
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
def test_what_is_no_json_object_is_refused_with_a_reason(sent: bytes, says: str):
    with pytest.raises(MalformedBodyError, match=says):
        orders.parse_order(sent, CREATE_FIELDS)


def test_half_of_a_surrogate_pair_is_no_name_and_no_fields_name():
    answer = orders.parse_order(b'{"product": "\\ud800", "quantity": 1, "\\udc00": 1}', CREATE_FIELDS)
    assert isinstance(answer, dict)
    assert answer["product"] == "must be valid Unicode"
    json.dumps(answer, ensure_ascii=False).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["product", "quantity", "orderId", "Product", "Quantity", "OrderID", "placedAt"])


@given(st.dictionaries(FIELDS | st.text(), JSON, max_size=6).map(lambda sent: json.dumps(sent).encode()) | st.binary())
def test_whatever_is_sent_gets_a_draft_or_problems_or_is_unreadable(sent: bytes):
    try:
        answer = orders.parse_order(sent, CREATE_FIELDS)
    except MalformedBodyError:
        return
    if isinstance(answer, OrderInput):
        placed = orders.to_item(answer.order_id or "o", answer, "2026-11-23T10:00:00.250Z")
        assert isinstance(orders.from_item(placed, ""), Order)
    else:
        assert answer


# --- Items ---------------------------------------------------------------------------------------


def test_an_item_written_by_hand_is_a_full_order():
    by_hand = json.loads('{"OrderID":{"S":"order-1"},"Product":{"S":"Notebook"},"Quantity":{"N":"5"}}')
    assert orders.from_item(by_hand, "2026-11-23T10:00:00Z") == Order("order-1", "Notebook", 5, "2026-11-23T10:00:00Z")


@pytest.mark.parametrize("digits", ["5", "5.0", "5E0", "0.5E1", "+5", "005"])
def test_a_whole_number_is_one_however_it_is_written(digits: str):
    order = orders.from_item(item("o", quantity=0) | {"Quantity": {"N": digits}}, "")
    assert isinstance(order, Order)
    assert order.quantity == 5


@pytest.mark.parametrize(
    "digits", ["0", "-1", "5.5", "1000000001", "1E+125", "-1E+125", "1E-130", "9" * 38, "NaN", "x", "²"]
)
def test_other_numbers_are_no_quantity(digits: str):
    assert list(orders.from_item(item("o") | {"Quantity": {"N": digits}}, "")) == ["quantity"]


@pytest.mark.parametrize(
    "value", [{"S": "5"}, {"NULL": True}, {"BOOL": True}, {"L": []}, {"M": {}}, {"B": b"5"}, {"NS": ["5"]}]
)
def test_attributes_of_wrong_types_are_problems(value: dict[str, Any]):
    assert list(orders.from_item(item("o") | {"Quantity": value}, "")) == ["quantity"]
    if "S" not in value:
        assert list(orders.from_item(item("o") | {"Product": value}, "")) == ["product"]


@pytest.mark.parametrize("text", [".", ".."])
def test_an_item_that_no_url_can_name_is_not_valid(text: str):
    problem = "must not be . or .., because a URL path cannot name it"
    assert orders.from_item(item(text, text), "") == {"orderId": problem, "product": problem}


def test_missing_attributes_are_said_to_be_missing():
    assert orders.from_item({"OrderID": {"S": "o"}}, "") == {"product": "is missing", "quantity": "is missing"}


@pytest.mark.parametrize(
    ("placed_at", "instant"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
        ("2026-11-23T10:00:00.999Z", "2026-11-23T10:00:00Z"),
        ("2026-11-23T10:00:00", "2026-11-23T10:00:00Z"),
        ("2026-11-23 10:00", "2026-11-23T10:00:00Z"),
        ("2026-11-23T01:30:00+02:00", "2026-11-22T23:30:00Z"),
        ("20261123T100000Z", "2026-11-23T10:00:00Z"),
    ],
)
def test_placed_at_is_honoured(placed_at: str, instant: str):
    order = orders.from_item(item("o", PlacedAt={"S": placed_at}), "first seen")
    assert isinstance(order, Order)
    assert order.placed_at == instant


@pytest.mark.parametrize(
    "placed_at", ["", "yesterday", "2026-11-23", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+01:00", "9" * 400]
)
def test_a_placed_at_that_is_no_instant_leaves_the_first_record_to_say_it(placed_at: str):
    order = orders.from_item(item("o", PlacedAt={"S": placed_at}), "first seen")
    assert isinstance(order, Order)
    assert order.placed_at == "first seen"


def test_an_order_is_shown_as_it_is_also_if_it_is_not_valid():
    assert orders.to_json(item("o", 5, "x", PlacedAt={"S": "now"})) == {
        "orderId": "o", "product": 5, "quantity": "x", "placedAt": "now",
    }  # fmt: skip
    assert orders.to_json({"OrderID": {"S": "o"}, "Quantity": {"N": "5.5"}}) == {
        "orderId": "o",
        "quantity": {"N": "5.5"},
    }


# --- Retries and ids -----------------------------------------------------------------------------


def test_the_same_content_is_a_retry_and_other_content_is_not():
    there = orders.to_item("o", OrderInput("Pen", 5, None), "2026-11-23T10:00:00.250Z")
    assert orders.same_content(there, OrderInput("Pen", 5, "o"))
    assert not orders.same_content(there, OrderInput("Pen", 6, "o"))
    assert not orders.same_content(there, OrderInput("Pencil", 5, "o"))
    assert not orders.same_content({"OrderID": {"S": "o"}}, OrderInput("Pen", 5, "o"))


def test_made_ids_are_valid_and_sort_by_time():
    early = orders.make_order_id(1_795_000_000_000, b"\xff" * 10)
    late = orders.make_order_id(1_795_000_000_001, b"\x00" * 10)
    assert early < late
    assert orders.validate_order_id(early) is None
    assert orders.make_order_id(1469918176385, bytes(10)) == "01ARYZ6S410000000000000000"


@pytest.mark.parametrize(("order_id", "could"), [("", False), ("a b", True), ("é" * 1024, True), ("é" * 1025, False)])
def test_what_could_be_a_key_of_the_table(order_id: str, could: bool):
    assert orders.can_be_key(order_id) is could
