"""Tests for the field types and for the declaration of an order."""

import base64
import contextlib
import json
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import fields
from chalicelib.fields import (
    Boolean,
    Choice,
    DecimalNumber,
    DeclarationError,
    Examples,
    FieldType,
    InvalidValueError,
    Named,
    Text,
    Timestamp,
    WholeNumber,
)

CENTS = DecimalNumber(places=2, minimum="-1000", maximum="1000")
LONG = DecimalNumber(places=2)
ATOMS = DecimalNumber(places=28)
NO_PLACES = DecimalNumber(places=0)
LONGEST = "9" * 26 + ".99"

# --- Values from JSON ----------------------------------------------------------------------------

# The field type, the JSON in a request, the attribute in OrdersTable, and the value in a response.
VALID: list[tuple[FieldType, str, dict[str, Any], Any]] = [
    (Text(5), '"é a"', {"S": "é a"}, "é a"),
    (Text(5), '"abcde"', {"S": "abcde"}, "abcde"),
    (WholeNumber(-5, 5), "-5", {"N": "-5"}, -5),
    (WholeNumber(-5, 5), "-0", {"N": "0"}, 0),
    (WholeNumber(0, fields.WHOLE_NUMBER_MAX), "9007199254740991", {"N": "9007199254740991"}, 9007199254740991),
    (CENTS, "12.50", {"N": "12.5"}, "12.50"),
    (CENTS, '"12.50"', {"N": "12.5"}, "12.50"),
    (CENTS, "12.5000", {"N": "12.5"}, "12.50"),
    (CENTS, "5", {"N": "5"}, "5.00"),
    (CENTS, "1E2", {"N": "100"}, "100.00"),
    (CENTS, "1250e-2", {"N": "12.5"}, "12.50"),
    (CENTS, '"007"', {"N": "7"}, "7.00"),
    (CENTS, "-0.0", {"N": "0"}, "0.00"),
    (CENTS, '"-0"', {"N": "0"}, "0.00"),
    (CENTS, "-0.01", {"N": "-0.01"}, "-0.01"),
    (CENTS, "0e-999999999", {"N": "0"}, "0.00"),
    (CENTS, "1000", {"N": "1000"}, "1000.00"),
    (LONG, LONGEST, {"N": LONGEST}, LONGEST),
    (LONG, f'"-{LONGEST}"', {"N": f"-{LONGEST}"}, f"-{LONGEST}"),
    (ATOMS, "0." + "1" * 28, {"N": "0." + "1" * 28}, "0." + "1" * 28),
    (NO_PLACES, "9" * 28, {"N": "9" * 28}, "9" * 28),
    (NO_PLACES, "1e27", {"N": "1" + "0" * 27}, "1" + "0" * 27),
    (Timestamp(), '"2026-11-23T18:13:05Z"', {"S": "2026-11-23T18:13:05Z"}, "2026-11-23T18:13:05Z"),
    (Timestamp(), '"2026-11-23T18:13:05.9+02:00"', {"S": "2026-11-23T16:13:05Z"}, "2026-11-23T16:13:05Z"),
    (Timestamp(), '"2026-11-23T18:13"', {"S": "2026-11-23T18:13:00Z"}, "2026-11-23T18:13:00Z"),
    (Choice("EUR", "USD"), '"USD"', {"S": "USD"}, "USD"),
    (Boolean(), "true", {"BOOL": True}, True),
    (Boolean(), "false", {"BOOL": False}, False),
]
INVALID: list[tuple[FieldType, list[Any]]] = [
    (Text(5), ["", " ", ".", "..", "a\n", "abcdef", "éé a", "\ud800", 5, True, None, [], {}]),
    (WholeNumber(-5, 5), [-6, 6, Decimal("5.0"), "5", True, None, 10**400]),
    (
        CENTS,
        [
            *("", " 5", "5 ", "+5", ".5", "5.", "1e2", "1_000", "٣", "NaN", "Infinity", "-Infinity", "sNaN", "0x5"),
            *("0.001", "1000.01", "-1000.01", "1" * 20_000, "5\n", 1001, True, None, [], {}),
            *map(Decimal, ("0.001", "12.505", "1e999999999999", "1e-999999999999", "Infinity", "NaN", "sNaN")),
        ],
    ),
    (LONG, [Decimal("1e26"), "9" * 27, "0.123"]),
    (ATOMS, [1, "0." + "1" * 29]),
    (
        Timestamp(),
        ["", "now", "2026-11-23", "2026-02-30T10:00:00Z", 1_795_000_000, True, None, "9" * 400, "\ud800" * 20],
    ),
    (Choice("EUR", "USD"), ["", "eur", "EUR ", "EUR, USD", 1, None, ["EUR"], {}]),
    (Boolean(), [0, 1, "true", "", None, []]),
]


@pytest.mark.parametrize(("type_", "sent", "attribute", "shown"), VALID)
def test_valid_value_is_stored_and_shown(type_: FieldType, sent: str, attribute: dict[str, Any], shown: Any):
    value = type_.check(json.loads(sent, parse_float=Decimal))
    assert type(value) is type_.python_type
    assert type_.write(value) == attribute
    assert type_.read(attribute) == value
    assert json.dumps(type_.show(attribute)) == json.dumps(shown)
    assert type_.check(shown) == value, "what is shown can be sent again"


@pytest.mark.parametrize(
    ("type_", "value"), [pytest.param(type_, value, id=repr(value)[:30]) for type_, some in INVALID for value in some]
)
def test_invalid_value_is_rejected(type_: FieldType, value: object):
    with pytest.raises(InvalidValueError, match=r"^must (be|not be) "):
        type_.check(value)


def test_rules_name_what_is_allowed():
    assert CENTS.rule == "must be a decimal number from -1000.00 to 1000.00 with at most 2 decimal places"
    assert NO_PLACES.rule == f"must be a decimal number from -{'9' * 28} to {'9' * 28} with at most 0 decimal places"
    assert Choice("EUR", "USD").rule == "must be one of EUR, USD"


# --- Values in items -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "digits", "value"),
    [
        (CENTS, "5.0", "5.00"),
        (CENTS, "1E2", "100.00"),
        (CENTS, "+5", "5.00"),
        (CENTS, "-0", "0.00"),
        (CENTS, "12.5000", "12.50"),
        (WholeNumber(1, 100), "5.0", 5),
        (WholeNumber(1, 100), "1E2", 100),
    ],
)
def test_hand_written_number_is_read_in_every_notation(type_: FieldType, digits: str, value: Any):
    assert type_.read({"N": digits}) == type_.check(value)
    assert type_.show({"N": digits}) == value


ALL_TYPES = [Text(), WholeNumber(-5, 5), CENTS, LONG, ATOMS, NO_PLACES, Timestamp(), Choice("a"), Boolean()]
ANY_ATTRIBUTE: list[dict[str, Any]] = [
    {"N": "0.001"}, {"N": "1E+125"}, {"N": "-1E-130"}, {"N": "9" * 38}, {"N": "NaN"}, {"N": "x"}, {"S": "5.00"},
    {"S": ""}, {"B": b"\xff"}, {"BOOL": True}, {"NULL": True}, {"L": [{"B": b"\xff"}]}, {"M": {}}, {"NS": ["5"]}, {},
]  # fmt: skip


@pytest.mark.parametrize("type_", [LONG, CENTS, NO_PLACES], ids=["long", "cents", "no places"])
@pytest.mark.parametrize("attribute", ANY_ATTRIBUTE, ids=repr)
def test_invalid_decimal_is_rejected_and_shown_as_stored(type_: FieldType, attribute: dict[str, Any]):
    with pytest.raises(InvalidValueError):
        type_.read(attribute)
    as_json = json.dumps(attribute, default=lambda binary: base64.b64encode(binary).decode())
    assert type_.show(attribute) == json.loads(as_json)


@pytest.mark.parametrize("attribute", ANY_ATTRIBUTE, ids=repr)
@pytest.mark.parametrize("type_", ALL_TYPES, ids=lambda type_: type(type_).__name__)
def test_any_attribute_can_be_read_and_shown(type_: FieldType, attribute: dict[str, Any]):
    shown = json.dumps(type_.show(attribute))
    assert "Decimal" not in shown
    try:
        type_.read(attribute)
    except InvalidValueError:
        return
    assert type_.show(attribute) != attribute, "a valid value is not shown in DynamoDB's JSON"


# All numbers that DynamoDB can store: up to 38 digits, from 1E-130 to 9.9E+125.
DIGITS = st.integers(-2000, 2000) | st.integers(-(10**38) + 1, 10**38 - 1)
STORED_NUMBERS = st.tuples(DIGITS, st.integers(-3, 3) | st.integers(-130, 88)).map("{0[0]}E{0[1]}".format)


@given(STORED_NUMBERS)
def test_every_stored_number_can_be_read_and_shown(digits: str):
    for type_ in ALL_TYPES:
        shown = type_.show({"N": digits})
        assert json.loads(json.dumps(shown), parse_float=not_exact) == shown
        with contextlib.suppress(InvalidValueError):
            assert Decimal(type_.read({"N": digits})) == Decimal(digits) == Decimal(shown)


def not_exact(digits: str) -> None:
    raise AssertionError(f"{digits} would be read as a float")


@given(st.integers(-(10**28) + 1, 10**28 - 1), st.integers(0, 28), st.booleans())
def test_decimal_keeps_every_digit_from_request_to_response(digits: int, places: int, as_string: bool):
    type_ = DecimalNumber(places)
    number = Decimal(digits).scaleb(-places, fields._EXACT)
    sent = json.dumps(f"{number:f}") if as_string else str(number)
    value = type_.check(json.loads(sent, parse_float=Decimal))
    stored = type_.write(value)
    assert "E" not in stored["N"]
    assert len(stored["N"].strip("-").replace(".", "")) <= 29  # 28 digits and a leading zero.
    shown = type_.show(stored)
    assert value == number == type_.read(stored) == type_.check(shown)
    assert shown == f"{abs(number) if number == 0 else number:.{places}f}"


def test_sum_of_decimals_is_exact():
    assert CENTS.check("0.1") + CENTS.check("0.2") == CENTS.check("0.3")


# --- Declarations --------------------------------------------------------------------------------


def declare(**hints: Any) -> tuple[fields.Field, ...]:
    """Declare an Order class with these fields and the fixed fields."""
    order = NamedTuple("Order", list({"order_id": str, "placed_at": str, **hints}.items()))  # type: ignore[misc]
    return fields.declared(order)


def test_names_follow_from_the_python_name():
    (field,) = declare(card_holder_2=Annotated[str, Text()])
    assert (field.name, field.attribute) == ("cardHolder2", "CardHolder2")
    assert field.form == {"name": "cardHolder2", "label": "Card holder 2", "required": True}
    (field,) = declare(sku=Annotated[str, Text(), Named("stockUnit", "SKU")])
    assert (field.name, field.attribute) == ("stockUnit", "SKU")


@pytest.mark.parametrize("hint", [Annotated[str, Text()] | None, Annotated[str | None, Text()]], ids=["outer", "inner"])
def test_field_with_none_is_optional(hint: Any):
    (field,) = declare(note=hint)
    assert not field.required
    for item in ({}, {"Note": {"NULL": True}}):
        assert field.is_absent(item)
        assert field.read(item) is None
    assert field.read({"Note": {"S": "a"}}) == "a"
    with pytest.raises(InvalidValueError):
        field.read({"Note": {"S": ""}})


def test_required_field_is_never_absent():
    (field,) = declare(note=Annotated[str, Text()])
    for item in ({}, {"Note": {"NULL": True}}):
        assert not field.is_absent(item)
        with pytest.raises(InvalidValueError):
            field.read(item)


TEXT = Annotated[str, Text()]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"order_id": int, "a": TEXT}, "Order needs the field `order_id: str`"),
    ({"placed_at": TEXT, "a": TEXT}, "Order needs the field `placed_at: str`"),
    ({}, "Order has only the fixed fields"),
    ({"a": str}, "The field a needs one field type"),
    ({"a": Annotated[str, "text"]}, "The field a needs one field type"),
    ({"a": Annotated[str, Text]}, "The field a needs one field type"),
    ({"a": Annotated[str, Text(), Timestamp()]}, "The field a needs one field type"),
    ({"a": Annotated[int, Text()]}, "The field a has the type int. Text needs str."),
    ({"a": Annotated[float, DecimalNumber(2)]}, "The field a has the type float. DecimalNumber needs Decimal."),
    ({"a": Annotated[bool, WholeNumber(0, 1)]}, "The field a has the type bool. WholeNumber needs int."),
    ({"a": Annotated[str | int | None, Text()]}, "Text needs str."),
    ({"counted": TEXT}, "The field counted has the name 'counted', which the app has"),
    ({"a": Annotated[str, Text(), Named("a", "OrderID")]}, "The field a has the name 'OrderID', which the app has"),
    ({"a": TEXT, "b": Annotated[str, Text(), Named("a", "B")]}, "The field b has the name 'a', which the field a has"),
    ({"a": TEXT, "b": Annotated[str, Text(), Named("A", "B")]}, "The field b has the name 'A', which the field a has"),
    ({"a_b": TEXT, "aB": TEXT}, "The field aB has the name 'aB', which the field a_b has"),
    ({"a": Annotated[str, Text(), Named("a b", "A")]}, "The field a has the name 'a b'. Use 1 to 64"),
    ({"ä": TEXT}, "The field ä has the name 'ä'"),
    ({"a": Annotated[str, Text(), Examples("")]}, "The field a has an invalid example: it must be a non-blank string"),
    ({"a": Annotated[Decimal, DecimalNumber(2), Examples(0.5)]}, "The field a has an invalid example"),
]


@pytest.mark.parametrize(("hints", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_wrong_declaration_is_refused(hints: dict[str, Any], message: str):
    with pytest.raises(DeclarationError) as raised:
        declare(**hints)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Text(0), "Text cannot have max_bytes=0"),
        (lambda: Text(10_001), "Text cannot have max_bytes=10001"),
        (lambda: WholeNumber(5, 1), "WholeNumber cannot have the limits 5 and 1"),
        (lambda: WholeNumber(0, 2**53), "For larger numbers, use DecimalNumber"),
        (lambda: DecimalNumber(29), "DecimalNumber cannot have places=29. Use 0 to 28."),
        (lambda: DecimalNumber(-1), "DecimalNumber cannot have places=-1"),
        (lambda: DecimalNumber(2, maximum="1" + "0" * 26), "at most 28 digits"),
        (lambda: DecimalNumber(2, minimum="0.001"), "2 of them after the point"),
        (lambda: DecimalNumber(2, minimum=0.5), "DecimalNumber cannot have the limit 0.5"),  # type: ignore[arg-type]
        (lambda: DecimalNumber(2, minimum="NaN"), "DecimalNumber cannot have the limit 'NaN'"),
        (lambda: DecimalNumber(2, minimum="ten"), "DecimalNumber cannot have the limit 'ten'"),
        (lambda: DecimalNumber(2, 5, 4), "has its minimum 5 above its maximum 4"),
        (lambda: Choice(), "Choice() is not possible"),
        (lambda: Choice("a", "a"), "Choice('a', 'a') is not possible"),
        (lambda: Choice("a", " "), "Choice('a', ' ') is not possible"),
    ],
)
def test_wrong_type_is_refused(make: Any, message: str):
    with pytest.raises(DeclarationError) as raised:
        make()
    assert message in str(raised.value)
