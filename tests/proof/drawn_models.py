"""Draw random models with Hypothesis: the fields of an order, and valid and invalid values for them.

Each value is written in three forms: JSON, DynamoDB's JSON, and SQL. Whether it is valid is known from how it is drawn,
not from the app.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from unittest import mock

from hypothesis import strategies as st

from chalicelib import model, orders
from chalicelib.fields import Boolean, Choice, DecimalNumber, FieldType, Text, Timestamp, WholeNumber

TEXTS = ["ink", "pen", "pen ink", "pen pen", "cap pen ink", "bad pen", "a|b", "50% ü"]
TIMES = ["2026-11-23T18:13:05Z", "2026-11-23T23:30:00-02:00", "2026-10-01T00:15:00.250+01:00", "2026-12-31 23:59:59"]
CHOICES = ["EUR", "USD", "x|y", "no%"]


class Value(NamedTuple):
    """A field's value in three forms."""

    json: str
    attribute: Mapping[str, Any]  # As a program other than the app may write it.
    sql: str  # A number is a whole number of its last decimal place's units, as text.
    is_valid: bool = True


class DrawnField(NamedTuple):
    """The declaration of a drawn field."""

    name: str
    kind: str
    required: bool
    limits: tuple[int, ...] = ()  # A number's smallest and largest value in units, or a text's bytes.
    places: int = 0
    choices: tuple[str, ...] = ()

    @property
    def type(self) -> FieldType:
        match self.kind:
            case "text":
                return Text(max_bytes=self.limits[0])
            case "whole":
                return WholeNumber(*self.limits)
            case "decimal":
                return DecimalNumber(self.places, *(self.in_digits(limit) for limit in self.limits))
            case "choice":
                return Choice(*self.choices)
        return Timestamp() if self.kind == "timestamp" else Boolean()

    @property
    def annotation(self) -> Any:
        annotated = Annotated[self.type.python_type, self.type]  # type: ignore[name-defined]
        return annotated if self.required else annotated | None

    def in_digits(self, units: int) -> str:
        """Return a number of units as text with all its decimal places."""
        digits = f"{abs(units):0{self.places + 1}}"
        point = len(digits) - self.places
        return "-" * (units < 0) + digits[:point] + ("." + digits[point:] if self.places else "")

    def values(self) -> tuple[list[Value], list[Value]]:
        """Return some valid and some invalid values for the field."""
        match self.kind:
            case "text":
                values = [_text(text, len(text.encode()) <= self.limits[0]) for text in TEXTS] + [_text(" ", False)]
            case "whole":
                small, large = self.limits
                numbers = [small, large, *range(max(small, -2), min(large, 3)), small - 1, large + 1]
                values = [Value(str(n), {"N": str(n)}, str(n), small <= n <= large) for n in numbers]
            case "decimal":
                small, large = self.limits
                numbers = [large, small, large // 3, 1, -7, 250, small - 1, large + 1]
                values = [self._decimal(number, number % 2 == 0) for number in numbers] + [self._too_precise()]
            case "choice":
                values = [_text(text, text in self.choices) for text in CHOICES]
            case "timestamp":
                values = [_text(text) for text in TIMES] + [_text("yesterday", False)]
            case _:
                values = [Value(text, {"BOOL": text == "true"}, text) for text in ("true", "false")] + [
                    _text("true", False)
                ]
        return [each for each in values if each.is_valid], [each for each in values if not each.is_valid]

    def _decimal(self, units: int, as_text: bool) -> Value:
        digits, (small, large) = self.in_digits(units), self.limits
        return Value(
            f'"{digits}"' if as_text else digits, {"N": f"{units}E-{self.places}"}, str(units), small <= units <= large
        )

    def _too_precise(self) -> Value:
        digits = self._replace(places=self.places + 1).in_digits(self.limits[1] * 10 - 1)
        return Value(digits, {"N": digits}, "", False)


def _text(text: str, is_valid: bool = True) -> Value:
    return Value(f'"{text}"', {"S": text}, text, is_valid)


@st.composite
def values(draw: Any, fields: Sequence[DrawnField]) -> dict[DrawnField, Value | None]:
    """Draw the values of an order. In about one of six orders, one value is missing or invalid."""
    drawn: dict[DrawnField, Value | None] = {}
    wrong = draw(st.sampled_from([None] * 9 + [*fields]))
    for field in fields:
        valid, invalid = field.values()
        optional = [] if field.required else [None]
        drawn[field] = draw(st.sampled_from([*invalid, None] if field is wrong else [*valid, *optional]))
    return drawn


@st.composite
def fields(draw: Any) -> tuple[DrawnField, ...]:
    """Draw the fields of a model: a text and up to four others."""
    drawn = []
    for number, kind in enumerate(["text", *draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))]):
        name, required = f"field_{number}", number == 0 or draw(st.booleans())
        limits: tuple[int, ...] = ()
        places, choices = 0, ()
        if kind == "text":
            limits = (draw(st.sampled_from([9, 1024])),)
        elif kind == "whole":
            limits = draw(st.sampled_from([(1, 9_999), (-5, 5), (0, 2**53 - 1)]))
        elif kind == "decimal":
            places = draw(st.sampled_from([0, 2, 6, 18]))
            limits = draw(st.sampled_from([(1, 9_999), (-(10**18), 10**18), (3 - 10**26, 10**26 - 7)]))
        elif kind == "choice":
            choices = tuple(draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=3, unique=True)))
        drawn.append(DrawnField(name, kind, required, limits, places, choices))
    return tuple(drawn)


KINDS = ["text", "whole", "decimal", "decimal", "timestamp", "choice", "boolean"]


@contextmanager
def declared(drawn: Sequence[DrawnField]) -> Iterator[None]:
    """Replace the app's order by one with these fields during the block, as another model.py would."""
    own = [(field.name, field.annotation) for field in drawn]
    order = NamedTuple("Order", [("order_id", str), *own, ("placed_at", str)])  # type: ignore[misc]
    fresh: dict[str, Any] = {"__name__": orders.__name__}
    with mock.patch.object(model, "Order", order):
        exec(ORDERS, fresh)
    with mock.patch.multiple(orders, **{name: value for name, value in fresh.items() if not name.startswith("__")}):
        yield


ORDERS = compile(inspect.getsource(orders), str(orders.__file__), "exec")


def place(order_id: str, values: Mapping[DrawnField, Value | None], direct: bool, placed_at: str | None) -> Any:
    """Return an order's item as the API writes it, or if it is invalid or `direct`, as another program writes it.

    Assert that the API accepts exactly the valid orders.
    """
    is_valid = is_order(values)
    given = {"orderId": f'"{order_id}"', **{_json_name(field): value.json for field, value in values.items() if value}}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in given.items()) + "}"
    parsed = orders.parse_order(body.encode(), orders.CREATE_FIELDS)
    assert isinstance(parsed, orders.OrderInput) == is_valid, (body, parsed)
    if isinstance(parsed, orders.OrderInput) and not direct:
        item = orders.to_item(order_id, parsed, placed_at or "")
    else:
        item = {"OrderID": {"S": order_id}, "PlacedAt": {"S": placed_at}}
        item |= {_json_name(field).replace("f", "F", 1): value.attribute for field, value in values.items() if value}
    if not placed_at:
        del item["PlacedAt"]
    return item


def is_order(values: Mapping[DrawnField, Value | None]) -> bool:
    """Return whether an order with these values is valid."""
    return all(value.is_valid if value else not field.required for field, value in values.items())


def _json_name(field: DrawnField) -> str:
    return field.name.replace("_", "")


def units(field: DrawnField | None, order: Any) -> int:
    """Return a field's number in units of its last decimal place. Return 1 without a field, and 0 if it is absent."""
    if field is None:
        return 1
    value: Decimal | int | None = getattr(order, field.name)
    return int(Decimal(value or 0).scaleb(field.places))


def text(field: DrawnField | None, order: Any) -> str | None:
    """Return a field's value as a view's key has it: a text, or a time's day. Return "all" without a field."""
    value = getattr(order, field.name) if field else "all"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value[:10] if field and field.kind == "timestamp" and value else None if value is None else str(value)
