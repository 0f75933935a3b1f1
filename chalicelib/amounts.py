"""Exact arithmetic for amounts, the numbers that views add to counters. An amount is an int or a Decimal.

DynamoDB stores and adds numbers of up to 38 digits exactly (Developer Guide, "Supported data types"). This module does
the same, because Python's `+` would round a Decimal to 28 digits.
"""

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation

Amount = int | Decimal

DIGITS_MAX = 28
"""The most digits of one amount, before and after the decimal point. The sum of 10 billion amounts has up to 38."""

_EXACT = Context(prec=5000, traps=[Inexact, InvalidOperation])
_STEPS = [Decimal(1).scaleb(-places) for places in range(DIGITS_MAX + 1)]
_SCALE = 10**DIGITS_MAX


def add(left: Amount, right: Amount) -> Amount:
    """Return the exact sum."""
    return left + right if type(left) is type(right) is int else _EXACT.add(left, right)


def add_to(sums: dict[str, Amount], added: Mapping[str, Amount]) -> None:
    """Add each amount to the sum with the same name, in place."""
    for name, amount in added.items():
        present = sums.get(name, 0)
        # Inline the addition of whole numbers for speed, because every order takes this path.
        sums[name] = present + amount if type(present) is type(amount) is int else add(present, amount)


def subtract(left: Amount, right: Amount) -> Amount:
    """Return the exact difference."""
    return left - right if type(left) is type(right) is int else _EXACT.subtract(left, right)


def to_text(amount: Amount) -> str:
    """Return an amount in plain notation, such as `-5` or `12.50`. Zero has no sign."""
    return str(amount) if type(amount) is int else f"{_EXACT.plus(amount):f}"


def to_json(amount: Amount) -> int | str:
    """Return an int unchanged, and a Decimal as text."""
    return amount if isinstance(amount, int) else to_text(amount)


def parse(text: str, places: int) -> Amount | None:
    """Return the amount in a text. Return None if it is not a number or has more than `places` decimal places.

    The amount is an int if `places` is 0, and otherwise a Decimal with exactly `places` decimal places.
    """
    try:
        amount = _EXACT.quantize(Decimal(text), _STEPS[places])
        whole = int(amount)  # Raises ValueError for NaN.
        return amount if places else whole
    except (InvalidOperation, Inexact, ValueError):
        return None


def parse_all_places(text: str) -> Decimal | None:
    """Return the number in a text without trailing zeros, or None if it is not one or has more than 28 places."""
    amount = parse(text, DIGITS_MAX)
    return None if amount is None else _EXACT.normalize(amount)


def fits(amount: object, places: int) -> bool:
    """Return whether a view may add this: not a float, at most `places` decimal places, at most DIGITS_MAX digits."""
    if type(amount) is not int and (type(amount) is not Decimal or not places or parse(str(amount), places) is None):
        return False
    return bool(abs(amount) < 10 ** (DIGITS_MAX - places))


def scaled(amount: Amount) -> int:
    """Return an amount times 10**28, which is always a whole number."""
    return amount * _SCALE if type(amount) is int else int(_EXACT.multiply(amount, _SCALE))
