"""Orders: what a valid one is, and its forms: JSON as people send it, the item as OrdersTable has it.

All rules about an order's fields live here, for both ways in (HTTP, and writing the table directly).
What an order adds to the totals does not: that is views.py.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

from chalicelib import timestamps

_KEY_MAX_BYTES = 2048  # Of a partition key (Developer Guide, "Quotas in Amazon DynamoDB").
# Half of that leaves a view room to make a key of a product and something more.
PRODUCT_MAX_BYTES = 1024
QUANTITY_MAX = 1_000_000_000
ORDER_ID_MAX_CHARACTERS = 128
# The largest valid order is below 8 KB, also with each of its characters written as a \uXXXX escape.
BODY_MAX_BYTES = 16_384

Item = Mapping[str, Any]
"""An item, or a stream record's image of one, in DynamoDB's own form: `{"Quantity": {"N": "5"}}`."""

FieldErrors = dict[str, str]
"""What is wrong, by field: `{"quantity": "must be a whole number from 1 to 1000000000"}`."""


class Order(NamedTuple):
    """A valid order. `placed_at` is an instant as timestamps.py has it."""

    order_id: str
    product: str
    quantity: int
    placed_at: str


class OrderInput(NamedTuple):
    """A valid order as a request body states it; `order_id` is None where the sender gave none."""

    product: str
    quantity: int
    order_id: str | None


class MalformedBodyError(ValueError):
    """A request body that is no JSON object; its text tells the sender why."""


# --- The rules: each answers what is wrong with a value, or None ---------------------------------

# As regular expressions have them between brackets; openapi.py puts them into the API's description.
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"
ORDER_ID_CHARACTERS = r"A-Za-z0-9._:\-"

# Clients and servers resolve these in a URL's path (RFC 3986, section 5.2.4), also percent-encoded, so that no request
# could name such an order or product.
_DOT_SEGMENTS = (".", "..")

_CONTROL_CHARACTER = re.compile(f"[{CONTROL_CHARACTERS}]")
_ORDER_ID = re.compile(f"[{ORDER_ID_CHARACTERS}]{{1,{ORDER_ID_MAX_CHARACTERS}}}")

_PRODUCT_RULE = f"must be a non-blank string of at most {PRODUCT_MAX_BYTES} UTF-8 bytes without control characters"
_QUANTITY_RULE = f"must be a whole number from 1 to {QUANTITY_MAX}"
_ORDER_ID_RULE = f"must be 1 to {ORDER_ID_MAX_CHARACTERS} characters of A-Z a-z 0-9 . _ : -"
_DOT_SEGMENTS_RULE = "must not be . or .., because a URL path cannot name it"


def validate_product(value: object) -> str | None:
    """What is wrong with a product's name."""
    if not isinstance(value, str) or not value.strip() or _CONTROL_CHARACTER.search(value):
        return _PRODUCT_RULE
    if value in _DOT_SEGMENTS:
        return _DOT_SEGMENTS_RULE
    if value.isascii():
        return _PRODUCT_RULE if len(value) > PRODUCT_MAX_BYTES else None
    try:
        return _PRODUCT_RULE if len(value.encode()) > PRODUCT_MAX_BYTES else None
    except UnicodeEncodeError:  # Half of a surrogate pair, which JSON can spell as "\ud800".
        return "must be valid Unicode"


def validate_quantity(value: object) -> str | None:
    """What is wrong with a quantity; a bool and a float are none."""
    return None if type(value) is int and 1 <= value <= QUANTITY_MAX else _QUANTITY_RULE


def validate_order_id(value: object) -> str | None:
    """What is wrong with an order's id."""
    if value in _DOT_SEGMENTS:
        return _DOT_SEGMENTS_RULE
    return None if isinstance(value, str) and _ORDER_ID.fullmatch(value) else _ORDER_ID_RULE


# --- JSON, as people send and read it ------------------------------------------------------------


class _Field(NamedTuple):
    attribute: str  # The table's own spelling, taken in too, so that an item's attributes can be sent.
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
    """The order that a request body states, or all that is wrong with it.

    `fields` are those that the body may have: CREATE_FIELDS, or UPDATE_FIELDS where the path names the order.
    Raises MalformedBodyError if the body is no JSON object.
    """
    sent = _json_object(body)
    values = {}
    problems = {}
    for name in fields:
        field = _FIELDS[name]
        spellings = [spelling for spelling in (name, field.attribute) if spelling in sent]
        given = [sent.pop(spelling) for spelling in spellings]
        problem = _validate_field(name, field, given)
        if problem:
            problems[name] = problem
        elif given:
            values[name] = given[0]
    for name in sent:
        problems[_shown(name)] = f"is not a field here; the fields are {', '.join(fields)}"
    return problems or OrderInput(values["product"], values["quantity"], values.get("orderId"))


def _validate_field(name: str, field: _Field, given: list[object]) -> str | None:
    if not given:
        return "is missing" if field.required else None
    if len(given) > 1:
        return f"is given twice, as {name} and as {field.attribute}"
    return field.validate(given[0])


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_MAX_BYTES:
        raise MalformedBodyError(f"The body is larger than {BODY_MAX_BYTES} bytes.")
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_object_without_repeats)
    except UnicodeDecodeError:
        raise MalformedBodyError("The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedBodyError("The body is nested too deeply.") from None
    except ValueError as error:
        raise MalformedBodyError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise MalformedBodyError('The body must be a JSON object such as {"product": "Notebook", "quantity": 5}.')
    return value


def _refuse_constant(name: str) -> NoReturn:
    # Python's parser takes NaN and Infinity, which JSON (RFC 8259, section 6) does not have.
    raise ValueError(f"{name} is not a JSON value")


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return fields


def _shown(name: str, most_characters: int = 64) -> str:
    """A field's name from outside, short and valid enough to be put into an answer."""
    return name[:most_characters].encode(errors="replace").decode()


def to_json(item: Item) -> dict[str, Any]:
    """Return an order's item, valid or not, as the API shows it; absent attributes stay absent."""
    names = {"orderId": "OrderID", "product": "Product", "quantity": "Quantity", "placedAt": "PlacedAt"}
    return {name: _plain(item[attribute]) for name, attribute in names.items() if attribute in item}


def _plain(value: Mapping[str, Any]) -> Any:
    """Return a string or whole number as JSON has it, and any other attribute in DynamoDB's JSON form."""
    if "S" in value:
        return value["S"]
    whole = _whole_number(value["N"]) if "N" in value else None
    return _with_base64(value) if whole is None else whole


def _with_base64(value: Any) -> Any:
    """Return an attribute in DynamoDB's JSON form: binary, at any depth, becomes base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _with_base64(each) for name, each in value.items()}
    return value


# --- The item, as OrdersTable has it -------------------------------------------------------------


def to_item(order_id: str, draft: OrderInput, placed_at: str) -> dict[str, Any]:
    """The item of a new order."""
    return {
        "OrderID": {"S": order_id},
        "Product": {"S": draft.product},
        "Quantity": {"N": str(draft.quantity)},
        "PlacedAt": {"S": placed_at},
    }


def from_item(item: Item, first_seen: str) -> Order | FieldErrors:
    """The order that an item is, or all that is wrong with it.

    It was placed at its `PlacedAt` where that names an instant, or else at `first_seen`.
    """
    order_id = item.get("OrderID", _NOTHING).get("S")
    product = item.get("Product", _NOTHING).get("S")
    quantity = _whole_number(item.get("Quantity", _NOTHING).get("N"))
    placed_at = item.get("PlacedAt", _NOTHING).get("S")
    wrong = validate_order_id(order_id) or validate_product(product) or validate_quantity(quantity)
    if wrong or quantity is None:
        return _problems(item, {"orderId": order_id, "product": product, "quantity": quantity})
    return Order(order_id, product, quantity, (placed_at and timestamps.parse(placed_at)) or first_seen)


def _problems(item: Item, values: Mapping[str, object]) -> FieldErrors:
    """All that is wrong with the values that were found in an item."""
    problems = {}
    for name, value in values.items():
        field = _FIELDS[name]
        problem = field.validate(value)
        if problem:
            problems[name] = problem if field.attribute in item else "is missing"
    return problems


_NOTHING: Mapping[str, Any] = {}


def _whole_number(digits: str | None) -> int | None:
    """A DynamoDB number as an int where it is whole and may be a quantity, else None."""
    if digits is None:
        return None
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(QUANTITY_MAX)):
        return int(digits)
    try:
        number = Decimal(digits)
        # Bounded first: int() of a number such as 1E+125 would be a long one for nothing.
        return int(number) if abs(number) <= QUANTITY_MAX and number == number.to_integral_value() else None
    except InvalidOperation:
        return None


def can_be_key(text: str) -> bool:
    """Return whether a table's partition key can be this text; a valid order id or product is not required."""
    return 1 <= len(text.encode()) <= _KEY_MAX_BYTES


def same_content(item: Item, draft: OrderInput) -> bool:
    """Whether an order's item has the content that a request states, so that the request is a retry."""
    attributes = to_item("", draft, "")
    return all(item.get(name) == attributes[name] for name in ("Product", "Quantity"))


# --- Ids -----------------------------------------------------------------------------------------

_CROCKFORD_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_order_id(epoch_milliseconds: int, randomness: bytes) -> str:
    """A ULID (github.com/ulid/spec): 26 characters, sortable by time; `randomness` is 10 bytes."""
    number = (epoch_milliseconds << 80) | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD_BASE32[(number >> shift) & 31] for shift in range(125, -1, -5))
