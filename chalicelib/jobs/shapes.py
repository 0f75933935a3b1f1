"""Shapes: what JSON from outside must look like before anything uses it.

A shape is a function that returns whether a value has it. Each job's module keeps the shape of its state in a table.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib import tables

Shape = Callable[[Any], bool]

WHOLE_MAX = 2**53
TEXT_MAX_BYTES = 2048  # Of a partition key (Developer Guide, "Quotas in Amazon DynamoDB").

# As str() writes an int or a Decimal. DynamoDB's numbers have 38 digits and exponents from -130 to 125.
_NUMBER = re.compile(r"-?[0-9]{1,140}(\.[0-9]{1,170})?(E[+-]?[0-9]{1,3})?")


def flag(value: Any) -> bool:
    """Return whether it is true or false."""
    return isinstance(value, bool)


def whole(smallest: int = 0, largest: int = WHOLE_MAX) -> Shape:
    """Return the shape of a whole number within these bounds."""
    return lambda value: type(value) is int and smallest <= value <= largest


def text(value: Any) -> bool:
    """Return whether it is a string that DynamoDB can hold as a key, or the empty one."""
    if not isinstance(value, str):
        return False
    try:
        return len(value.encode()) <= TEXT_MAX_BYTES
    except UnicodeEncodeError:  # Half of a surrogate pair, which JSON can spell as "\ud800".
        return False


def number(value: Any) -> bool:
    """Return whether it is a string that spells a number."""
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def optional(shape: Shape) -> Shape:
    """Return the shape of null or something of this shape."""
    return lambda value: value is None or shape(value)


def either(*shapes: Shape) -> Shape:
    """Return the shape of what has one of these."""
    return lambda value: any(shape(value) for shape in shapes)


def both(*shapes: Shape) -> Shape:
    """Return the shape of what has all of these; a later one is only asked if the earlier ones hold."""
    return lambda value: all(shape(value) for shape in shapes)


def one_of(*values: str | None) -> Shape:
    """Return the shape of one of these values."""
    return lambda value: isinstance(value, str | None) and value in values


def record(fields: Mapping[str, Shape]) -> Shape:
    """Return the shape of an object with exactly these fields."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(shape(value[name]) for name, shape in fields.items())
    )


def mapping(shape: Shape) -> Shape:
    """Return the shape of an object whose values have this shape."""
    return lambda value: isinstance(value, dict) and all(text(name) and shape(value[name]) for name in value)


def array(shape: Shape, longest: int = WHOLE_MAX) -> Shape:
    """Return the shape of an array whose elements have this shape."""
    return lambda value: isinstance(value, list) and len(value) <= longest and all(shape(each) for each in value)


def row(*shapes: Shape) -> Shape:
    """Return the shape of an array of one element for each of these shapes."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(shapes)
        and all(shape(each) for shape, each in zip(shapes, value, strict=True))
    )


def key_of(table: str) -> Shape:
    """Return the shape of a key of a table: an array of its attributes' values."""
    return row(*[both(text, bool)] * len(tables.KEYS[table]))


def shallow(depth: int) -> Shape:
    """Return the shape of any JSON that is nested at most so deep."""

    def is_shallow(value: Any) -> bool:
        if isinstance(value, str):
            return value.isascii() or value.encode(errors="ignore").decode() == value
        if isinstance(value, dict):
            return depth > 0 and all(map(shallow(0), value)) and all(map(shallow(depth - 1), value.values()))
        return not isinstance(value, list) or (depth > 0 and all(map(shallow(depth - 1), value)))

    return is_shallow
