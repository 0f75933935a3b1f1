"""Orders: the validation rules, and conversion from and to JSON and OrdersTable items.

The same rules apply to an order from the API and to an item that someone wrote to the table directly.
views.py says what an order adds to the totals.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

from chalicelib import timestamps

_KEY_MAX_BYTES = 2048  # DynamoDB's limit for a partition key (Developer Guide, "Quotas in Amazon DynamoDB").
# Half of the key limit, so that a view can build a key from a product and something else.
PRODUCT_MAX_BYTES = 1024
QUANTITY_MAX = 1_000_000_000
ORDER_ID_MAX_CHARACTERS = 128
# The largest valid order takes less than 8 KB, even if every character is written as a \uXXXX escape.
BODY_MAX_BYTES = 16_384

Item = Mapping[str, Any]
"""An item or a stream record's image, in DynamoDB's JSON: `{"Quantity": {"N": "5"}}`."""


class FieldErrors(dict[str, str]):
    """What is wrong with an input, by field: `{"quantity": "must be a whole number from 1 to 1000000000"}`.

    It is returned, not raised: an invalid order is ordinary data that the ledger stores and the API shows.
    """


class Order(NamedTuple):
    """A valid order. `placed_at` is a timestamp in the form of timestamps.py."""

    order_id: str
    product: str
    quantity: int
    placed_at: str


class OrderInput(NamedTuple):
    """A valid order from a request body. `order_id` is None if the body has none."""

    product: str
    quantity: int
    order_id: str | None


class MalformedBodyError(ValueError):
    """The request body is not a JSON object. The message is for the sender."""


# --- Validation rules ----------------------------------------------------------------------------

# Contents of a bracket expression in a regular expression. openapi.py uses them too.
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
ORDER_ID_CHARACTERS = r"A-Za-z0-9._:\-"

# Clients and servers remove these from a URL's path (RFC 3986, section 5.2.4), even percent-encoded. A request could
# not address an order or a product with such a name.
_DOT_SEGMENTS = (".", "..")

_CONTROL_CHARACTER = re.compile(f"[{CONTROL_CHARACTERS}]")
_ORDER_ID = re.compile(f"[{ORDER_ID_CHARACTERS}]{{1,{ORDER_ID_MAX_CHARACTERS}}}")

_PRODUCT_RULE = f"must be a non-blank string of at most {PRODUCT_MAX_BYTES} UTF-8 bytes without control characters"
_QUANTITY_RULE = f"must be a whole number from 1 to {QUANTITY_MAX}"
_ORDER_ID_RULE = f"must be 1 to {ORDER_ID_MAX_CHARACTERS} characters of A-Z a-z 0-9 . _ : -"
_DOT_SEGMENTS_RULE = "must not be . or .., because a URL path cannot contain it"


def validate_product(value: object) -> str | None:
    """Return what is wrong with a product name, or None if it is valid."""
    if not isinstance(value, str) or not value.strip() or _CONTROL_CHARACTER.search(value):
        return _PRODUCT_RULE
    if value in _DOT_SEGMENTS:
        return _DOT_SEGMENTS_RULE
    if value.isascii():
        return _PRODUCT_RULE if len(value) > PRODUCT_MAX_BYTES else None
    try:
        return _PRODUCT_RULE if len(value.encode()) > PRODUCT_MAX_BYTES else None
    except UnicodeEncodeError:  # Half of a surrogate pair, which JSON can contain as "\ud800".
        return "must be valid Unicode"


def validate_quantity(value: object) -> str | None:
    """Return what is wrong with a quantity, or None if it is valid. A bool or a float is not valid."""
    return None if type(value) is int and 1 <= value <= QUANTITY_MAX else _QUANTITY_RULE


def validate_order_id(value: object) -> str | None:
    """Return what is wrong with an order id, or None if it is valid."""
    if value in _DOT_SEGMENTS:
        return _DOT_SEGMENTS_RULE
    return None if isinstance(value, str) and _ORDER_ID.fullmatch(value) else _ORDER_ID_RULE


# --- JSON ----------------------------------------------------------------------------------------


class _Field(NamedTuple):
    attribute: str  # The attribute in OrdersTable. A request body may use this name too.
    validate: Callable[[object], str | None]
    required: bool


_FIELDS = {
    "product": _Field("Product", validate_product, required=True),
    "quantity": _Field("Quantity", validate_quantity, required=True),
    "orderId": _Field("OrderID", validate_order_id, required=False),
}
CREATE_FIELDS = ("product", "quantity", "orderId")
UPDATE_FIELDS = ("product", "quantity")


def parse_order(body: bytes, fields: Sequence[str]) -> OrderInput | FieldErrors:
    """Return the order in a request body, or every error in it.

    The body may have these `fields`: CREATE_FIELDS, or UPDATE_FIELDS if the path has the order id.
    Raise MalformedBodyError if the body is not a JSON object.
    """
    content = _parse_json_object(body)
    values = {}
    errors = FieldErrors()
    for name in fields:
        field = _FIELDS[name]
        found = [content.pop(spelling) for spelling in (name, field.attribute) if spelling in content]
        error = _validate_field(name, field, found)
        if error:
            errors[name] = error
        elif found:
            values[name] = found[0]
    for name in content:
        errors[_printable(name)] = f"is not a known field; the fields are {', '.join(fields)}"
    return errors or OrderInput(values["product"], values["quantity"], values.get("orderId"))


def _validate_field(name: str, field: _Field, values: list[object]) -> str | None:
    if not values:
        return "is missing" if field.required else None
    if len(values) > 1:
        return f"is given twice, as {name} and as {field.attribute}; send one of them"
    return field.validate(values[0])


def _parse_json_object(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_MAX_BYTES:
        raise MalformedBodyError(f"The body is larger than {BODY_MAX_BYTES} bytes.")
    try:
        value = json.loads(body.decode(), parse_constant=_reject_constant, object_pairs_hook=_reject_duplicates)
    except UnicodeDecodeError:
        raise MalformedBodyError("The body is not UTF-8. Encode it as UTF-8.") from None
    except RecursionError:
        raise MalformedBodyError("The body is nested too deeply. Send a flat JSON object.") from None
    except ValueError as error:
        raise MalformedBodyError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise MalformedBodyError('The body must be a JSON object such as {"product": "Notebook", "quantity": 5}.')
    return value


def _reject_constant(name: str) -> NoReturn:
    # Python's parser accepts NaN and Infinity. JSON has neither (RFC 8259, section 6).
    raise ValueError(f"{name} is not a JSON value")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("an object has the same name twice")
    return fields


def _printable(name: str, max_characters: int = 64) -> str:
    """Return a field name from a request, shortened and encodable as UTF-8, so that a response can contain it."""
    return name[:max_characters].encode(errors="replace").decode()


def to_json(item: Item) -> dict[str, Any]:
    """Return an order's item as the API shows it. The order need not be valid; absent attributes are left out."""
    names = {"orderId": "OrderID", "product": "Product", "quantity": "Quantity", "placedAt": "PlacedAt"}
    return {name: _attribute_to_json(item[attribute]) for name, attribute in names.items() if attribute in item}


def _attribute_to_json(value: Mapping[str, Any]) -> Any:
    """Return a string or whole number as it is, and any other attribute in DynamoDB's JSON: `{"BOOL": true}`."""
    if "S" in value:
        return value["S"]
    whole = _parse_whole_number(value["N"]) if "N" in value else None
    return _with_base64(value) if whole is None else whole


def _with_base64(value: Any) -> Any:
    """Return an attribute with its binary values, at any depth, as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _with_base64(each) for name, each in value.items()}
    return value


# --- Items of OrdersTable ------------------------------------------------------------------------


def to_item(order_id: str, order: OrderInput, placed_at: str) -> dict[str, Any]:
    """Return the item of a new order."""
    return {
        "OrderID": {"S": order_id},
        "Product": {"S": order.product},
        "Quantity": {"N": str(order.quantity)},
        "PlacedAt": {"S": placed_at},
    }


def replacement(order: OrderInput) -> dict[str, Any]:
    """Return the parameters of the UpdateItem that replaces an order's content."""
    return {
        "UpdateExpression": "SET Product = :product, Quantity = :quantity",
        "ExpressionAttributeValues": {":product": {"S": order.product}, ":quantity": {"N": str(order.quantity)}},
    }


def from_item(item: Item, first_seen: str) -> Order | FieldErrors:
    """Return the order in an item, or every error in it.

    `placed_at` is the item's `PlacedAt` if that is a timestamp, and `first_seen` otherwise.
    """
    order_id = item.get("OrderID", _NO_VALUE).get("S")
    product = item.get("Product", _NO_VALUE).get("S")
    quantity = _parse_whole_number(item.get("Quantity", _NO_VALUE).get("N"))
    placed_at = item.get("PlacedAt", _NO_VALUE).get("S")
    error = validate_order_id(order_id) or validate_product(product) or validate_quantity(quantity)
    if error or quantity is None:
        return _item_errors(item, {"orderId": order_id, "product": product, "quantity": quantity})
    return Order(order_id, product, quantity, (placed_at and timestamps.parse(placed_at)) or first_seen)


def _item_errors(item: Item, values: Mapping[str, object]) -> FieldErrors:
    """Return every error in an item. `values` are its fields, None where the attribute is absent or of a wrong type."""
    errors = FieldErrors()
    for name, value in values.items():
        field = _FIELDS[name]
        error = field.validate(value)
        if error:
            errors[name] = error if field.attribute in item else "is missing"
    return errors


_NO_VALUE: Mapping[str, Any] = {}


def _parse_whole_number(digits: str | None) -> int | None:
    """Return a DynamoDB number as an int, or None if it is not whole or its magnitude exceeds QUANTITY_MAX."""
    if digits is None:
        return None
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(QUANTITY_MAX)):
        return int(digits)
    try:
        number = Decimal(digits)
        # Compare first: int() of a number such as 1E+125 would have 126 digits.
        return int(number) if abs(number) <= QUANTITY_MAX and number == number.to_integral_value() else None
    except InvalidOperation:
        return None


def can_be_key(text: str) -> bool:
    """Return whether DynamoDB accepts this text as a partition key. It need not be a valid order id or product."""
    return 1 <= len(text.encode()) <= _KEY_MAX_BYTES


def same_content(item: Item, order: OrderInput) -> bool:
    """Return whether an item has the product and quantity of a request, which makes the request a retry."""
    attributes = to_item("", order, "")
    return all(item.get(name) == attributes[name] for name in ("Product", "Quantity"))
