"""Amounts: what views add to counters. A whole amount is an int, a decimal one a Decimal; no amount is ever a float.

DynamoDB stores numbers of up to 38 digits exactly and adds them exactly (Developer Guide, "Supported data types"). So
does this module: Python's own `+` would round a Decimal to 28 digits.
"""

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation

Amount = int | Decimal

DIGITS_MAX = 28
"""The most digits of one amount, on both sides of its point. A sum of 10 billion of them has at most 38."""

_EXACT = Context(prec=5000, traps=[Inexact, InvalidOperation])
_STEPS = [Decimal(1).scaleb(-places) for places in range(DIGITS_MAX + 1)]
_SCALE = 10**DIGITS_MAX


def add(left: Amount, right: Amount) -> Amount:
    """Return the exact sum."""
    return left + right if type(left) is type(right) is int else _EXACT.add(left, right)


def add_to(sums: dict[str, Amount], added: Mapping[str, Amount]) -> None:
    """Add amounts to sums, by name."""
    for name, amount in added.items():
        present = sums.get(name, 0)
        # Written out for whole numbers, because every order adds some.
        sums[name] = present + amount if type(present) is type(amount) is int else add(present, amount)


def subtract(left: Amount, right: Amount) -> Amount:
    """Return the exact difference."""
    return left - right if type(left) is type(right) is int else _EXACT.subtract(left, right)


def to_text(amount: Amount) -> str:
    """Return an amount in plain notation: `-5`, `12.50`. Zero has no sign."""
    return str(amount) if type(amount) is int else f"{_EXACT.plus(amount):f}"


def to_json(amount: Amount) -> int | str:
    """Return a whole amount as it is, and a decimal one as text."""
    return amount if isinstance(amount, int) else to_text(amount)


def parse(text: str, places: int) -> Amount | None:
    """Return the amount in a number's text, or None for another text and for more decimal places than `places`.

    It is an int if `places` is 0, and otherwise a Decimal with all its places.
    """
    try:
        amount = _EXACT.quantize(Decimal(text), _STEPS[places])
        whole = int(amount)  # Raises ValueError for NaN.
        return amount if places else whole
    except (InvalidOperation, Inexact, ValueError):
        return None


def parse_all_places(text: str) -> Decimal | None:
    """Return the number in a text without zeros at its end, or None for another text and for more than 28 places."""
    amount = parse(text, DIGITS_MAX)
    return None if amount is None else _EXACT.normalize(amount)


def fits(amount: object, places: int) -> bool:
    """Return whether a view may add this: no float, at most `places` decimal places and DIGITS_MAX digits."""
    if type(amount) is not int and (type(amount) is not Decimal or not places or parse(str(amount), places) is None):
        return False
    return bool(abs(amount) < 10 ** (DIGITS_MAX - places))


def scaled(amount: Amount) -> int:
    """Return an amount times 10**28, which is whole."""
    return amount * _SCALE if type(amount) is int else int(_EXACT.multiply(amount, _SCALE))
