"""The field types for model.py, and the fields that its Order class declares.

A field type knows how to validate a value, store it in OrdersTable, show it as JSON, describe it in OpenAPI, and make
an input for it on the dashboard.
"""

import base64
import re
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from chalicelib import timestamps

Item = Mapping[str, Any]
"""An item or a stream record's image, in DynamoDB's JSON: `{"Quantity": {"N": "5"}}`."""

DIGITS_MAX = 28
"""The most digits of a decimal. The sum of 10 billion such numbers fits into the 38 digits of a DynamoDB number."""

WHOLE_NUMBER_MAX = 2**53 - 1
"""The largest whole number that every JSON parser reads exactly (RFC 8259, section 6)."""

TEXT_MAX_BYTES = 10_000
CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f"  # The ranges for a character class in a regular expression.
# Clients and servers remove `.` and `..` from a URL's path (RFC 3986, section 5.2.4), even if they are percent-encoded.
# So no URL could address an order or a counter with such a name.
DOT_SEGMENTS = (".", "..")
DOT_SEGMENTS_RULE = "must not be . or .., because a URL path cannot contain it"
NO_DOT_SEGMENT = r"(?!\.{1,2}$)"  # A regular expression begins with this to reject `.` and `..`.

_CONTROL_CHARACTER = re.compile(f"[{CONTROL_CHARACTERS}]")
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_EXACT = Context(prec=DIGITS_MAX, traps=[Inexact, InvalidOperation])  # Raises an exception instead of rounding.


class InvalidValueError(ValueError):
    """A field does not accept a value. The message completes a sentence that starts with the field's name."""


class DeclarationError(TypeError):
    """The Order class in model.py is wrong. The message says how to correct it."""


# --- Types ---------------------------------------------------------------------------------------


class FieldType:
    """The base class of field types. Its defaults are those of a text."""

    python_type: type = str
    attribute_type = "S"
    rule: str
    """The rule for valid values. It completes a sentence that starts with the field's name."""
    schema: Mapping[str, Any]
    """The JSON schema for responses."""
    request_schema: Mapping[str, Any] | None = None
    """The JSON schema for requests, if they may have more values than responses."""
    form: Mapping[str, Any]
    """The data from which the dashboard's script makes an input: its `kind`, and more for some kinds."""
    example: Any
    invalid_example: Any = ""
    shown_as = ""
    """A sentence for the API's description about the JSON form, if it is not a string or a whole number."""

    def check(self, value: object) -> Any:
        """Validate a JSON value and return the field's value. Raises InvalidValueError."""
        raise NotImplementedError

    def read(self, attribute: Item) -> Any:
        """Return the field's value from a DynamoDB attribute, or from `{}` if absent. Raises InvalidValueError."""
        return self.check(attribute.get(self.attribute_type))

    def write(self, value: Any) -> dict[str, Any]:
        """Return the DynamoDB attribute for a value."""
        return {self.attribute_type: value}

    def show(self, attribute: Item) -> Any:
        """Return an attribute, valid or not, as JSON: a string, a whole number, or otherwise DynamoDB's JSON."""
        if "S" in attribute:
            return attribute["S"]
        whole = _parse_whole_number(attribute["N"]) if "N" in attribute else None
        return _with_base64(attribute) if whole is None else whole


class Text(FieldType):
    """A text of at most `max_bytes` UTF-8 bytes, not blank and without control characters.

    The default is half of DynamoDB's limit for a partition key, so a view can join a text and another value in a key.
    """

    form: Mapping[str, Any] = {"kind": "text"}
    example = "text"

    def __init__(self, max_bytes: int = 1024) -> None:
        if not 1 <= max_bytes <= TEXT_MAX_BYTES:
            raise DeclarationError(f"Text cannot have max_bytes={max_bytes}. Use 1 to {TEXT_MAX_BYTES}.")
        self.max_bytes = max_bytes
        self.rule = f"must be a non-blank string of at most {max_bytes} UTF-8 bytes without control characters"
        no_control = f"[^{CONTROL_CHARACTERS}]*"
        self.schema = {
            "type": "string",
            "description": (
                f"At most {max_bytes} UTF-8 bytes, without control characters; not blank, not `.` and not `..`."
            ),
            "minLength": 1,
            "maxLength": max_bytes,  # Counts characters, because a JSON schema cannot count bytes.
            "pattern": rf"^{NO_DOT_SEGMENT}{no_control}[^\s{CONTROL_CHARACTERS}]{no_control}$",
        }

    def check(self, value: object) -> str:
        """Return the text if it is valid."""
        if not isinstance(value, str) or not value.strip() or _CONTROL_CHARACTER.search(value):
            raise InvalidValueError(self.rule)
        if value in DOT_SEGMENTS:
            raise InvalidValueError(DOT_SEGMENTS_RULE)
        try:
            if (len(value) if value.isascii() else len(value.encode())) <= self.max_bytes:
                return value
        except UnicodeEncodeError:  # The text has a lone surrogate, which JSON can contain as "\ud800".
            raise InvalidValueError("must be valid Unicode") from None
        raise InvalidValueError(self.rule)


class WholeNumber(FieldType):
    """A whole number from `minimum` to `maximum`."""

    python_type = int
    attribute_type = "N"

    def __init__(self, minimum: int, maximum: int) -> None:
        if not -WHOLE_NUMBER_MAX <= minimum <= maximum <= WHOLE_NUMBER_MAX:
            raise DeclarationError(
                f"WholeNumber cannot have the limits {minimum} and {maximum}. Use limits in this order, from"
                f" {-WHOLE_NUMBER_MAX} to {WHOLE_NUMBER_MAX}. For larger numbers, use DecimalNumber(places=0)."
            )
        self.minimum, self.maximum = minimum, maximum
        self.rule = f"must be a whole number from {minimum} to {maximum}"
        self.schema = {
            "type": "integer",
            "description": "A whole number, written without a decimal point.",
            "minimum": minimum,
            "maximum": maximum,
        }
        self.form = {"kind": "whole", "mode": "numeric" if minimum >= 0 else "text", "value": minimum}
        self.example, self.invalid_example = minimum, minimum - 1

    def check(self, value: object) -> int:
        """Return the number if it is valid. A bool is not valid, nor is a number with a decimal point."""
        if type(value) is int and self.minimum <= value <= self.maximum:
            return value
        raise InvalidValueError(self.rule)

    def read(self, attribute: Item) -> int:
        """Return the number in an attribute. It may be written as `5`, `5.0` or `5E0`."""
        return self.check(_parse_whole_number(attribute.get("N")))

    def write(self, value: int) -> dict[str, Any]:
        """Return the DynamoDB attribute for a number."""
        return {"N": str(value)}


class DecimalNumber(FieldType):
    """A decimal number with at most `places` decimal places, from `minimum` to `maximum`. It is never a float.

    Write limits with a decimal point as text: `DecimalNumber(places=2, minimum="0.01")`. A request may send a number or
    a string. A response has a string with all decimal places, such as `"12.50"`.
    """

    python_type = Decimal
    attribute_type = "N"
    shown_as = "A decimal number is a string with all its places. "

    def __init__(self, places: int, minimum: int | str | None = None, maximum: int | str | None = None) -> None:
        if places not in range(DIGITS_MAX + 1):
            raise DeclarationError(f"DecimalNumber cannot have places={places}. Use 0 to {DIGITS_MAX}.")
        self.places = places
        self._step = Decimal(1).scaleb(-places)
        self.minimum = self._limit(f"-{'9' * DIGITS_MAX}E-{places}" if minimum is None else minimum)
        self.maximum = self._limit(f"{'9' * DIGITS_MAX}E-{places}" if maximum is None else maximum)
        if self.minimum > self.maximum:
            raise DeclarationError(f"DecimalNumber has its minimum {minimum} above its maximum {maximum}. Swap them.")
        self.rule = (
            f"must be a decimal number from {self.minimum:f} to {self.maximum:f} with at most {places} decimal places"
        )
        fraction = rf"\.[0-9]{{{places}}}" if places else ""
        self.schema = {"type": "string", "description": f"It {self.rule}.", "pattern": f"^-?[0-9]+{fraction}$"}
        self.request_schema = {
            **self.schema,
            "type": ["string", "number"],
            "description": f"It {self.rule}. Send a string if your JSON library rounds numbers.",
            "pattern": f"^{_PLAIN_DECIMAL.pattern}$",
        }
        self.form = {"kind": "decimal", "mode": "decimal" if self.minimum >= 0 else "text"}
        self.example = f"{min(max(Decimal(0), self.minimum), self.maximum):.{places}f}"
        self.invalid_example = {"N": f"1{'0' * DIGITS_MAX}"}

    def _limit(self, limit: int | str) -> Decimal:
        digits = str(limit) if type(limit) in (int, str) else None
        exact = self._exact(_parse_decimal(digits))
        if exact is None:
            raise DeclarationError(
                f"DecimalNumber cannot have the limit {limit!r}. Write a whole number, or a decimal number as text,"
                f" with at most {DIGITS_MAX} digits, {self.places} of them after the point."
            )
        return exact

    def _exact(self, number: Decimal | None) -> Decimal | None:
        """Return a number with exactly `places` decimal places, or None if it has more. Zero has no sign."""
        try:
            return _EXACT.plus(_EXACT.quantize(number, self._step)) if number is not None else None
        except (Inexact, InvalidOperation):
            return None

    def check(self, value: object) -> Decimal:
        """Return the number if it is valid. A string must be in plain notation. A bool is not valid."""
        number: Decimal | None = None
        if type(value) is int or (isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value)):
            number = Decimal(value)
        elif isinstance(value, Decimal) and value.is_finite():
            number = value
        exact = self._exact(number)
        if exact is None or not self.minimum <= exact <= self.maximum:
            raise InvalidValueError(self.rule)
        return exact

    def read(self, attribute: Item) -> Decimal:
        """Return the number in an attribute. It may be written as `5`, `5.0` or `1E2`."""
        return self.check(_parse_decimal(attribute.get("N")))

    def write(self, value: Decimal) -> dict[str, Any]:
        """Return the attribute for a number, without trailing zeros, as DynamoDB returns it."""
        return {"N": f"{_EXACT.normalize(value):f}"}

    def show(self, attribute: Item) -> Any:
        """Return a number as a string with all decimal places, and anything else as DynamoDB's JSON."""
        exact = self._exact(_parse_decimal(attribute.get("N")))
        return _with_base64(attribute) if exact is None else f"{exact:f}"


class Timestamp(FieldType):
    """A time, stored in UTC and whole seconds. A time without an offset is in UTC."""

    rule = "must be a time in ISO 8601, such as 2026-11-23T18:13:05Z"
    schema: Mapping[str, Any] = {
        "type": "string",
        "format": "date-time",
        "description": "Stored in UTC and whole seconds.",
    }
    form: Mapping[str, Any] = {"kind": "timestamp"}
    example = "2026-11-23T18:13:05Z"

    def check(self, value: object) -> str:
        """Return the time as a timestamp such as `2026-11-23T18:13:05Z`."""
        timestamp = timestamps.parse(value) if isinstance(value, str) else None
        if timestamp is None:
            raise InvalidValueError(self.rule)
        return timestamp


class Choice(FieldType):
    """One of a fixed set of texts."""

    def __init__(self, *choices: str) -> None:
        text = Text()
        if not choices or len({*choices}) < len(choices) or not all(is_valid(text, each) for each in choices):
            raise DeclarationError(f"Choice{choices} is not possible. Use one or more different texts, not blank.")
        self.choices = choices
        self.rule = f"must be one of {', '.join(choices)}"
        self.schema = {"type": "string", "enum": list(choices)}
        self.form = {"kind": "choice", "options": [(choice, choice) for choice in choices]}
        self.example = choices[0]

    def check(self, value: object) -> str:
        """Return the text if it is one of the choices."""
        if isinstance(value, str) and value in self.choices:
            return value
        raise InvalidValueError(self.rule)


class Boolean(FieldType):
    """True or false."""

    python_type = bool
    attribute_type = "BOOL"
    rule = "must be true or false"
    schema: Mapping[str, Any] = {"type": "boolean"}
    form: Mapping[str, Any] = {"kind": "boolean", "options": [("true", "Yes"), ("false", "No")]}
    example = True
    shown_as = "A boolean is true or false. "

    def check(self, value: object) -> bool:
        """Return the boolean if it is valid. A number or a string is not valid."""
        if isinstance(value, bool):
            return value
        raise InvalidValueError(self.rule)

    def show(self, attribute: Item) -> Any:
        """Return a boolean unchanged, and anything else as the base class shows it."""
        return attribute["BOOL"] if "BOOL" in attribute else super().show(attribute)


def is_valid(type_: FieldType, value: object) -> bool:
    """Return whether a field type accepts a JSON value."""
    try:
        type_.check(value)
    except InvalidValueError:
        return False
    return True


def fits(value: object, max_bytes: int) -> bool:
    """Return whether a value is a text of 1 to `max_bytes` UTF-8 bytes."""
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= max_bytes
    except UnicodeEncodeError:  # The text has a lone surrogate, which JSON can contain as "\ud800".
        return False


def _parse_decimal(digits: str | None) -> Decimal | None:
    """Return the number in a text from DynamoDB, or None if it is not a finite number."""
    try:
        number = Decimal(digits or "NaN")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _parse_whole_number(digits: str | None) -> int | None:
    """Return the int in a text from DynamoDB, or None if it is not whole or is beyond ±WHOLE_NUMBER_MAX."""
    if digits and digits.isascii() and digits.isdigit() and len(digits) < len(str(WHOLE_NUMBER_MAX)):
        return int(digits)
    number = _parse_decimal(digits)
    # Check the size before int(), because int() of a number such as 1E+125 would have 126 digits.
    if number is None or abs(number) > WHOLE_NUMBER_MAX or number != number.to_integral_value():
        return None
    return int(number)


def _with_base64(value: Any) -> Any:
    """Return an attribute with all its binary values, nested ones too, as base64 text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _with_base64(each) for name, each in value.items()}
    return value


# --- Declarations --------------------------------------------------------------------------------

FIXED_FIELDS = ("order_id", "placed_at")
RESERVED_NAMES = ("orderId", "OrderID", "placedAt", "PlacedAt", "counted", "rejected", "ledgerProblem")


class Named(NamedTuple):
    """Set a field's names in JSON and in DynamoDB: `Annotated[str, Text(), Named("sku", "SKU")]`."""

    name: str
    attribute: str


class Examples(NamedTuple):
    """Set a field's example values in the API's description: `Annotated[str, Text(), Examples("Notebook")]`."""

    new: Any
    amended: Any = None


class Field(NamedTuple):
    """A field of an order."""

    python_name: str
    name: str  # The name in JSON.
    attribute: str  # The name in OrdersTable. A request body may use this name too.
    type: FieldType
    required: bool
    examples: Examples

    @property
    def form(self) -> Mapping[str, Any]:
        """The field's data for the dashboard's script, besides that of its type."""
        label = self.python_name.replace("_", " ").capitalize()
        return {"name": self.name, "label": label, "required": self.required}

    def is_absent(self, item: Item) -> bool:
        """Return whether this is an optional field without a value: the attribute is missing or NULL."""
        return not self.required and (self.attribute not in item or "NULL" in item[self.attribute])

    def read(self, item: Item) -> Any:
        """Return the field's value from an item, or None if it is absent. Raises InvalidValueError."""
        return None if self.is_absent(item) else self.type.read(item.get(self.attribute, {}))


def declared(order: Any) -> tuple[Field, ...]:
    """Return the fields of an Order class, without the fixed ones. Raises DeclarationError if the class is wrong."""
    hints = get_type_hints(order, include_extras=True)
    for name in FIXED_FIELDS:
        if hints.get(name) is not str:
            raise DeclarationError(f"Order needs the field `{name}: str`. Add it.")
    fields = tuple(_field(name, hints[name]) for name in order._fields if name not in FIXED_FIELDS)
    if not fields:
        raise DeclarationError("Order has only the fixed fields. Add one.")
    users = dict.fromkeys(RESERVED_NAMES, "the app")
    for field in fields:
        for name in dict.fromkeys((field.name, field.attribute)):
            if not _NAME.fullmatch(name):
                raise DeclarationError(
                    f"The field {field.python_name} has the name {name!r}. Use 1 to 64 of A-Z a-z 0-9 _ after a letter."
                )
            if name in users:
                raise DeclarationError(
                    f"The field {field.python_name} has the name {name!r}, which {users[name]} has. Use another name."
                )
        users.update(dict.fromkeys((field.name, field.attribute), f"the field {field.python_name}"))
    return fields


def _field(python_name: str, hint: Any) -> Field:
    hint, optional = _without_none(hint)
    hint, *details = get_args(hint) if get_origin(hint) is Annotated else [hint]
    hint, optional_within = _without_none(hint)
    types = [detail for detail in details if isinstance(detail, FieldType)]
    if len(types) != 1:
        raise DeclarationError(f"The field {python_name} needs one field type, as in Annotated[str, Text()].")
    (type_,) = types
    if hint is not type_.python_type:
        raise DeclarationError(
            f"The field {python_name} has the type {getattr(hint, '__name__', hint)}. {type(type_).__name__} needs"
            f" {type_.python_type.__name__}."
        )
    new, amended = next((each for each in details if isinstance(each, Examples)), Examples(type_.example))
    examples = Examples(new, new if amended is None else amended)
    if not all(is_valid(type_, example) for example in examples):
        raise DeclarationError(f"The field {python_name} has an invalid example: it {type_.rule}.")
    first, *others = python_name.split("_")
    rest = "".join(map(_capital, others))
    names = next((each for each in details if isinstance(each, Named)), Named(first + rest, _capital(first) + rest))
    return Field(python_name, *names, type_, not (optional or optional_within), examples)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it included None: `(str, True)` for `str | None`."""
    if get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint):
        return Union[tuple(each for each in get_args(hint) if each is not type(None))], True  # noqa: UP007
    return hint, False
