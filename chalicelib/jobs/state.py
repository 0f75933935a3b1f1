"""Convert a job's state to JSON for its cursor, and validate it when a cursor comes back.

A job's state is a tree of dataclasses, named tuples, dicts, lists and plain values. Their type hints are the schema:
`decode` accepts only what they allow, so it rejects a forged cursor before a job uses it.
"""

import base64
import dataclasses
import functools
import re
from array import array
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

TEXT_MAX_BYTES = 2048  # The limit for a partition key (Developer Guide, "Quotas in Amazon DynamoDB").
_JSON_MAX_DEPTH = 6  # The limit for a value of type Any, such as a finding.


class Range(NamedTuple):
    """The bounds of an int: `Annotated[int, Range(1, 9)]`."""

    low: int
    high: int


_DECIMAL = re.compile(r"-?[0-9]{1,200}(\.[0-9]{1,40})?")
_WHOLE = Range(0, 2**53)  # The bounds of an int without a Range.
Amount = Annotated[int | Decimal, Range(-(10**140), 10**140)]
"""An amount of a counter, or a sum of amounts. DynamoDB's numbers are below 10**126."""


def encode(value: Any) -> Any:
    """Return the state as JSON values. A dict becomes a list of pairs if its keys are not strings."""
    if dataclasses.is_dataclass(value):
        return {each.name: encode(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return [[encode(key), encode(each)] for key, each in value.items()]
    if isinstance(value, dict):
        return {key: encode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return base64.b64encode(value.tobytes()).decode() if isinstance(value, array) else value


def decode(kind: Any, value: Any) -> Any:
    """Return a value of type `kind` from parsed JSON. Raise ValueError, TypeError or AttributeError if it does not fit.

    A dataclass can add checks in `__post_init__`, a named tuple in `check`. Only types that the jobs use are supported.
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _decode_union(arguments, value)
    if origin is Annotated:
        return _decode_number(value, *arguments)
    if origin is dict:
        pairs = value.items() if isinstance(value, dict) else value
        return {_decode_key(arguments[0], key): decode(arguments[1], each) for key, each in pairs}
    if origin is tuple:  # The only supported tuple type is tuple[str, ...], a key.
        return tuple(_decode_key(str, each) for each in _checked(value, list))
    if origin is list:
        return [decode(arguments[0], each) for each in _checked(value, list)]
    if kind is int:
        return _decode_number(value, int, _WHOLE)
    if kind is array:
        return array("Q", base64.b64decode(_checked(value, str), validate=True))
    if kind is Any:
        return _decode_any(value, _JSON_MAX_DEPTH)
    if kind in (str, bool, None, NoneType):
        return _checked(value, kind or NoneType)
    if issubclass(kind, Enum):
        return kind(value)
    return _decode_fields(kind, value)


def require(condition: object) -> None:
    """Raise ValueError if the condition is false."""
    if not condition:
        raise ValueError("This version of the app does not make such a state.")


def _checked(value: Any, kind: type) -> Any:
    require(type(value) is kind)
    if kind is str:
        value.encode()  # Raises UnicodeEncodeError for a lone surrogate, which JSON can contain.
    return value


def _decode_number(value: Any, kind: Any, bounds: Range) -> Any:
    """Decode a number. If `kind` allows a Decimal, the number may be text with decimal places."""
    if type(value) is str and kind is not int and _DECIMAL.fullmatch(value):
        value = Decimal(value)
    require(type(value) in (int, Decimal) and bounds.low <= value <= bounds.high)
    return value


def _decode_key(kind: Any, value: Any) -> Any:
    key = decode(kind, value)
    require(not isinstance(key, str) or 0 < len(key.encode()) <= TEXT_MAX_BYTES)
    return key


def _decode_union(kinds: tuple[Any, ...], value: Any) -> Any:
    """Decode the value as the first of these types that fits."""
    for kind in kinds[:-1]:
        try:
            return decode(kind, value)
        except (ValueError, TypeError, AttributeError):
            continue
    return decode(kinds[-1], value)


def _decode_any(value: Any, depth: int) -> Any:
    require(depth > 0)
    if isinstance(value, dict):
        return {_checked(name, str): _decode_any(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_decode_any(each, depth - 1) for each in value]
    return _checked(value, type(value))


def _decode_fields(kind: Any, value: Any) -> Any:
    hints = _hints(kind)
    fields = value if dataclasses.is_dataclass(kind) else dict(zip(hints, value, strict=True))
    require(isinstance(fields, dict) and fields.keys() == hints.keys())
    made = kind(**{name: decode(hint, fields[name]) for name, hint in hints.items()})
    if hasattr(made, "check"):
        made.check()
    return made


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)
