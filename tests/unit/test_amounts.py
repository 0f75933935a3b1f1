"""Tests for amounts: exact sums of whole and decimal numbers, and conversion from and to text."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import amounts

LARGEST = 10**28 - 1
NUMBERS = st.integers(-LARGEST, LARGEST) | st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(-(10**27), 10**27), st.integers(0, 28)
)


@given(st.lists(NUMBERS, max_size=20))
def test_sums_are_exact(numbers: list[amounts.Amount]):
    total: amounts.Amount = 0
    for number in numbers:
        total = amounts.add(total, number)
    assert amounts.scaled(total) == sum(amounts.scaled(number) for number in numbers)
    for number in numbers:
        total = amounts.subtract(total, number)
    assert total == 0


def test_sum_with_more_digits_than_python_keeps_is_exact():
    total = amounts.add(Decimal("9999999999999999999999999.99"), Decimal("0.000000000001"))
    assert amounts.to_text(total) == "9999999999999999999999999.990000000001"


def test_tenth_and_fifth_add_up():
    assert amounts.to_text(amounts.add(Decimal("0.1"), Decimal("0.2"))) == "0.3"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(5, "5"), (-5, "-5"), (Decimal("12.50"), "12.50"), (Decimal("1E+3"), "1000"), (Decimal("1E-7"), "0.0000001")],
)
def test_texts_are_in_plain_notation(amount: amounts.Amount, text: str):
    assert amounts.to_text(amount) == text


@pytest.mark.parametrize(
    ("text", "places", "amount"),
    [
        ("5", 0, 5),
        ("5.0", 0, 5),
        ("1E+2", 0, 100),
        ("5.5", 0, None),
        ("5", 2, Decimal("5.00")),
        ("5.555", 2, None),
        ("-0.01", 2, Decimal("-0.01")),
        ("9" * 38, 0, int("9" * 38)),
        ("1E+125", 0, 10**125),
        ("many", 2, None),
        ("NaN", 0, None),
        ("NaN", 2, None),
        ("Infinity", 2, None),
    ],
)
def test_parse_returns_an_amount_or_none(text: str, places: int, amount: amounts.Amount | None):
    parsed = amounts.parse(text, places)
    assert parsed == amount
    assert type(parsed) is type(amount)


@pytest.mark.parametrize(
    ("amount", "places", "expected"),
    [
        (5, 0, True),
        (LARGEST, 0, True),
        (LARGEST + 1, 0, False),
        (5, 2, True),
        (10**26, 2, False),
        (Decimal("5.25"), 2, True),
        (Decimal("5.255"), 2, False),
        (Decimal("5.250"), 2, True),
        (Decimal("9" * 26 + ".99"), 2, True),
        (Decimal("9" * 27 + ".99"), 2, False),
        (Decimal("5"), 0, False),
        (Decimal("NaN"), 2, False),
        (Decimal("Infinity"), 2, False),
        (5.0, 2, False),
        (True, 0, False),
        ("5", 0, False),
        (None, 0, False),
    ],
)
def test_only_exact_numbers_within_the_digits_fit(amount: object, places: int, expected: bool):
    assert amounts.fits(amount, places) is expected
