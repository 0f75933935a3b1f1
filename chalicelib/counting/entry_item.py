"""Convert ledger entries to items of LedgerTable, and read them back."""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from chalicelib import amounts, timestamps, views
from chalicelib.counting.ledger import LEDGER_ENTRY, Entry, Status, absent
from chalicelib.orders import Item
from chalicelib.views import Contributions, CounterKey, Increments

FORMAT = 1
"""The version of the items' format. The app reads formats up to this one. Entries with a higher one are unreadable."""

_STORED = frozenset(Status) - {Status.ABSENT, Status.UNREADABLE}
_NOTHING: Mapping[str, Any] = {}
_Value = TypeVar("_Value")


def to_item(entry: Entry) -> dict[str, Any]:
    """Return an entry as an item of LedgerTable, without attributes that are empty."""
    item: dict[str, Any] = {
        "OrderID": {"S": entry.order_id},
        "revision": {"N": str(entry.revision)},
        "status": {"S": entry.status.value},
        "firstSeen": {"S": entry.first_seen},
        "format": {"N": str(FORMAT)},
    }
    if entry.position:
        item["position"] = {"S": entry.position}
    if entry.contributions:
        item["contributions"] = {"S": _contributions_to_json(entry.contributions)}
    if entry.problems:
        item["problems"] = {"M": {field: {"S": problem} for field, problem in entry.problems.items()}}
    if entry.expires_at is not None:
        item["expiresAt"] = {"N": str(entry.expires_at)}
    if entry.ahead_of_stream:
        item["aheadOfStream"] = {"BOOL": True}
    if entry.reverted:
        item["reverted"] = {"S": _contributions_to_json(entry.reverted)}
    return item


# Compact JSON with unescaped Unicode. Decimal amounts become text, because JSON numbers could be read as floats.
_to_json = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":"), default=amounts.to_text
).encode
_DECIMAL = re.compile(rf"-?[0-9]{{1,{amounts.DIGITS_MAX}}}(\.[0-9]{{1,{amounts.DIGITS_MAX}}})?")


def _contributions_to_json(contributions: Contributions) -> str:
    """Return contributions as JSON: `[["AggregateTable",["Notebook"],{"totalQuantity":5,"orderCount":1}], ...]`.

    One string takes less CPU than DynamoDB's lists and maps, because botocore would serialize each of their values
    separately, 15 more for an order.
    """
    return _to_json([(counter.table, counter.key, increments) for counter, increments in contributions.items()])


class _UnreadableError(ValueError):
    """A stored entry has an attribute that this module would not write. The message names the attribute."""


def _contributions_from_json(text: str, attribute: str) -> Contributions:
    """Return the contributions in an attribute's text. Raises _UnreadableError if the text is malformed."""
    try:
        listed = json.loads(text)
        contributions = {CounterKey(table, tuple(key)): _increments(each) for table, key, each in listed}
        of_one_form = all(map(_is_contribution, contributions, listed))
        if of_one_form and type(listed) is list and len(contributions) == len(listed):
            return contributions
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise _UnreadableError(f"{attribute} is not a list of contributions")


def _increments(stored: Mapping[str, Any]) -> Increments:
    """Return stored amounts, which are whole numbers or decimals as text. Raises ValueError for anything else."""
    if all(type(amount) is int for amount in stored.values()):
        return stored
    return {name: amount if type(amount) is int else _decimal(amount) for name, amount in stored.items()}


def _decimal(text: Any) -> Decimal:
    if type(text) is not str or not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount")
    return Decimal(text)


def _is_contribution(counter: CounterKey, listed: Any) -> bool:
    table, key = counter
    return (
        type(table) is str
        and type(listed[1]) is list
        and all(type(value) is str for value in key)
        and (table not in views.VIEWS or len(key) == len(views.VIEWS[table].key))
    )


def from_item(order_id: str, item: Item | None) -> Entry:
    """Return the entry in an order's LedgerTable item. If `item` is None, the entry has status ABSENT.

    If the item is not in the format of `to_item`, the entry has status UNREADABLE.
    """
    if item is None:
        return absent(order_id)
    try:
        return _entry(order_id, item)
    except _UnreadableError as error:
        return Entry(
            order_id,
            _legible(_revision, item, 0),
            _legible(_position, item, ""),
            Status.UNREADABLE,
            _legible(_first_seen, item, ""),
            problems={LEDGER_ENTRY: f"{error}."},
            stored=item,
        )


def _entry(order_id: str, item: Item) -> Entry:
    if (stored_format := _whole(item, "format")) > FORMAT:
        raise _UnreadableError(f"format is {stored_format}, but this version of the app reads formats up to {FORMAT}")
    return Entry(
        order_id,
        _revision(item),
        _position(item),
        _status(item),
        _first_seen(item),
        _contributions_from_json(_text(item, "contributions"), "contributions") if "contributions" in item else {},
        _problems(item) if "problems" in item else {},
        _whole(item, "expiresAt") if "expiresAt" in item else None,
        "aheadOfStream" in item,
        _contributions_from_json(_text(item, "reverted"), "reverted") if "reverted" in item else {},
    )


def _text(item: Item, attribute: str) -> str:
    value: str | None = item.get(attribute, _NOTHING).get("S")
    if value is None:
        raise _UnreadableError(f"{attribute} is missing or not a string")
    return value


def _whole(item: Item, attribute: str) -> int:
    digits: str | None = item.get(attribute, _NOTHING).get("N")
    if digits is None or not digits.isdigit():
        raise _UnreadableError(f"{attribute} is missing or not a whole number")
    return int(digits)


def _revision(item: Item) -> int:
    revision = _whole(item, "revision")
    if revision < 1:
        raise _UnreadableError("revision is 0")
    return revision


def _position(item: Item) -> str:
    return _text(item, "position") if "position" in item else ""


def _status(item: Item) -> Status:
    status = _text(item, "status")
    if status not in _STORED:
        raise _UnreadableError(f"status is not one of {', '.join(sorted(_STORED))}")
    return Status(status)


def _first_seen(item: Item) -> str:
    first_seen = _text(item, "firstSeen")
    if not timestamps.is_canonical(first_seen):
        raise _UnreadableError("firstSeen is not a time such as 2026-11-23T18:13:05Z")
    return first_seen


def _problems(item: Item) -> Mapping[str, str]:
    problems = item["problems"].get("M")
    if problems is None:
        raise _UnreadableError("problems is not a map")
    return {field: _text(problems, field) for field in problems}


def _legible(read: Callable[[Item], _Value], item: Item, default: _Value) -> _Value:
    """Return one attribute of an unreadable entry, or the default if that attribute cannot be read."""
    try:
        return read(item)
    except _UnreadableError:
        return default
