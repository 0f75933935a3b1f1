"""Orders: validate them, and convert them from and to JSON and OrdersTable items.

The same rules apply to an order from the API and to an item that somebody wrote to the table directly. They follow from
the fields in model.py.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, NoReturn

from chalicelib import fields, timestamps
from chalicelib.fields import Examples, Field, FieldType, InvalidValueError, Text
from chalicelib.fields import Item as Item
from chalicelib.model import Order as Order

KEY_MAX_BYTES = 2048  # DynamoDB's limit for a partition key (Developer Guide, "Quotas in Amazon DynamoDB").
ORDER_ID_MAX_CHARACTERS = 128


class FieldErrors(dict[str, str]):
    """The errors in an input, by field: `{"quantity": "must be a whole number from 1 to 1000000000"}`.

    Functions return this and do not raise it: the ledger stores invalid orders, and the API shows them.
    """


class OrderInput(NamedTuple):
    """A valid order from a request body. `order_id` is None if the body has none."""

    values: tuple[Any, ...]  # In the order of FIELDS; None for an optional field without a value.
    order_id: str | None


class MalformedBodyError(ValueError):
    """The request body is not a JSON object. The message tells the client what is wrong."""


# --- Fields --------------------------------------------------------------------------------------


class _OrderId(FieldType):
    """The field type of an order id."""

    _CHARACTERS = r"A-Za-z0-9._:\-"
    rule = f"must be 1 to {ORDER_ID_MAX_CHARACTERS} characters of A-Z a-z 0-9 . _ : -"
    schema: Mapping[str, Any] = {
        "type": "string",
        "minLength": 1,
        "maxLength": ORDER_ID_MAX_CHARACTERS,
        "pattern": f"^{fields.NO_DOT_SEGMENT}[{_CHARACTERS}]+$",
    }
    _matches = re.compile(f"[{_CHARACTERS}]{{1,{ORDER_ID_MAX_CHARACTERS}}}").fullmatch

    def check(self, value: object) -> str:
        """Return the id if it is valid."""
        if value in fields.DOT_SEGMENTS:
            raise InvalidValueError(fields.DOT_SEGMENTS_RULE)
        if isinstance(value, str) and self._matches(value):
            return value
        raise InvalidValueError(self.rule)


FIELDS = fields.declared(Order)
"""The fields that model.py declares, without the order id and `PlacedAt`."""

ORDER_ID = Field("order_id", "orderId", "OrderID", _OrderId(), True, Examples("order-1"))
PLACED_AT = Field("placed_at", "placedAt", "PlacedAt", Text(), True, Examples("2026-11-23T18:13:05.250Z"))
STORED_FIELDS = (ORDER_ID, *FIELDS, PLACED_AT)

_BY_NAME = {field.name: field for field in (*FIELDS, ORDER_ID)}
CREATE_FIELDS = tuple(_BY_NAME)
UPDATE_FIELDS = CREATE_FIELDS[:-1]

EXAMPLE = {field.name: field.examples.new for field in FIELDS if field.required}
"""The request body of an example order."""

# Large enough for the largest valid order, even if every character is a \uXXXX escape.
BODY_MAX_BYTES = max(16_384, sum(1_024 + 8 * getattr(field.type, "max_bytes", 0) for field in FIELDS))


# --- JSON ----------------------------------------------------------------------------------------


def parse_order(body: bytes, names: Sequence[str]) -> OrderInput | FieldErrors:
    """Return the order in a request body, or all its errors.

    `names` are the fields that the body may have: CREATE_FIELDS, or UPDATE_FIELDS if the path has the order id.
    Raise MalformedBodyError if the body is not a JSON object.
    """
    content = _parse_json_object(body)
    values = {}
    errors = FieldErrors()
    for name in names:
        field = _BY_NAME[name]
        spellings = dict.fromkeys((name, field.attribute))
        try:
            values[name] = _check_field(field, [content.pop(each) for each in spellings if each in content])
        except InvalidValueError as error:
            errors[name] = str(error)
    for unknown in content:
        errors[_printable(unknown)] = f"is not a known field; the fields are {', '.join(names)}"
    return errors or OrderInput(tuple(values[name] for name in UPDATE_FIELDS), values.get(ORDER_ID.name))


def _check_field(field: Field, given: Sequence[object]) -> Any:
    """Validate a field and return its value. `given` has its values in the body, one for each name that is used."""
    if len(given) > 1:
        raise InvalidValueError(f"is given twice, as {field.name} and as {field.attribute}; send one of them")
    if not given and field.required and field is not ORDER_ID:
        raise InvalidValueError("is missing")
    if not given or (given[0] is None and not field.required):
        return None
    return field.type.check(given[0])


def _parse_json_object(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_MAX_BYTES:
        raise MalformedBodyError(f"The body is larger than {BODY_MAX_BYTES} bytes.")
    try:
        value = json.loads(
            body.decode(),
            parse_float=_parse_decimal,
            parse_constant=_reject_constant,
            object_pairs_hook=_reject_duplicates,
        )
    except UnicodeDecodeError:
        raise MalformedBodyError("The body is not UTF-8. Encode it as UTF-8.") from None
    except RecursionError:
        raise MalformedBodyError("The body is nested too deeply. Send a flat JSON object.") from None
    except ValueError as error:
        raise MalformedBodyError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise MalformedBodyError(f"The body must be a JSON object such as {json.dumps(EXAMPLE)}.")
    return value


def _parse_decimal(digits: str) -> Decimal:
    """Return a JSON number exactly, or infinity if its exponent is too large. Every field rejects infinity."""
    try:
        return Decimal(digits)
    except InvalidOperation:  # The exponent has more than 18 digits.
        return Decimal("Infinity")


def _reject_constant(name: str) -> NoReturn:
    # Python's parser accepts NaN and Infinity, which are not JSON (RFC 8259, section 6).
    raise ValueError(f"{name} is not a JSON value")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("an object has the same name twice")
    return fields


def _printable(name: str, max_characters: int = 64) -> str:
    """Return a field name from a request in a form that a response can contain: short and valid Unicode."""
    return name[:max_characters].encode(errors="replace").decode()


def to_json(item: Item) -> dict[str, Any]:
    """Return an order's item as the API shows it, without absent attributes. The order may be invalid."""
    return {
        field.name: field.type.show(item[field.attribute])
        for field in STORED_FIELDS
        if field.attribute in item and not field.is_absent(item)
    }


# --- Items of OrdersTable ------------------------------------------------------------------------


def to_item(order_id: str, order: OrderInput, placed_at: str) -> dict[str, Any]:
    """Return the item of a new order."""
    return {"OrderID": {"S": order_id}, **_attributes(order), "PlacedAt": {"S": placed_at}}


def _attributes(order: OrderInput) -> dict[str, Any]:
    fields_and_values = zip(FIELDS, order.values, strict=True)
    return {field.attribute: field.type.write(value) for field, value in fields_and_values if value is not None}


def replacement(order: OrderInput) -> dict[str, Any]:
    """Return the UpdateItem parameters that replace an order's content, including the removal of absent fields."""
    attributes = _attributes(order)
    names = {f"#{number}": field.attribute for number, field in enumerate(FIELDS)}
    values = {f":{name[1:]}": attributes[attribute] for name, attribute in names.items() if attribute in attributes}
    assignments = [f"{name.replace(':', '#')} = {name}" for name in values]
    removals = [name for name, attribute in names.items() if attribute not in attributes]
    clauses = {"SET": assignments, "REMOVE": removals}
    return {
        "UpdateExpression": " ".join(f"{verb} {', '.join(some)}" for verb, some in clauses.items() if some),
        "ExpressionAttributeNames": names,
        **({"ExpressionAttributeValues": values} if values else {}),
    }


def from_item(item: Item, first_seen: str) -> Order | FieldErrors:
    """Return the order in an item, or all its errors.

    `placed_at` is the item's `PlacedAt` if that is a timestamp, and `first_seen` otherwise.
    """
    try:
        values = [read(item) for read in _READERS]
    except InvalidValueError:
        return _item_errors(item)
    values[_PLACED_AT_INDEX] = values[_PLACED_AT_INDEX] or first_seen
    return Order._make(values)


def _reader(field: Field) -> Callable[[Item], Any]:
    """Return a function that reads a field from an item. It does the same as `field.read`, but faster."""
    if field is PLACED_AT:
        return _read_placed_at
    if not field.required:
        return field.read
    attribute, kind, read, check = field.attribute, field.type.attribute_type, field.type.read, field.type.check
    if type(field.type).read is FieldType.read:
        return lambda item: check(item.get(attribute, _NO_VALUE).get(kind))
    return lambda item: read(item.get(attribute, _NO_VALUE))


def _read_placed_at(item: Item) -> str | None:
    text: str | None = item.get("PlacedAt", _NO_VALUE).get("S")
    return timestamps.parse(text) if text else None


def has_placed_at(item: Item) -> bool:
    """Return whether an item has a valid `PlacedAt`."""
    return _read_placed_at(item) is not None


_NO_VALUE: Item = {}
_PLACED_AT_INDEX = Order._fields.index("placed_at")
_READERS = [_reader(field) for name in Order._fields for field in STORED_FIELDS if field.python_name == name]


def _item_errors(item: Item) -> FieldErrors:
    """Return all errors in an order's item."""
    errors = FieldErrors()
    for field in (ORDER_ID, *FIELDS):
        try:
            field.read(item)
        except InvalidValueError as error:
            errors[field.name] = str(error) if field.attribute in item else "is missing"
    return errors


def can_be_key(text: str) -> bool:
    """Return whether DynamoDB accepts this text as a partition key, valid order id or not."""
    return fields.fits(text, KEY_MAX_BYTES)


def same_content(item: Item, order: OrderInput) -> bool:
    """Return whether an item has the same content as a request, which is then treated as a retry."""
    try:
        return tuple(field.read(item) for field in FIELDS) == order.values
    except InvalidValueError:
        return False
