"""Materialized views: the `@view` decorator for model.py, and the rows that an order adds to.

A view is a pure function from a valid order to rows. A row names a counter, which is an item of the view's table, and
the amounts to add to it. counting/ledger.py keeps the counters exact.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from chalicelib import amounts
from chalicelib.amounts import Amount
from chalicelib.fields import fits

ROWS_MAX = 49
"""The most rows that one order may add to, over all views.

An amendment changes the ledger entry, the old rows and the new rows in one transaction, which has at most 100 actions.
"""

KEY_MAX_BYTES = 1024
"""DynamoDB's limit for a sort key (Developer Guide, "Quotas in Amazon DynamoDB"). Partition keys may have 2,048."""

PLACES_MAX = 18
"""The most decimal places of an amount. They leave 10 digits before the decimal point."""

RESERVED_ATTRIBUTES = frozenset({"revision", "expiresAt"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_DAY_SECONDS = 24 * 60 * 60
_SMALL = 10 ** (amounts.DIGITS_MAX - PLACES_MAX)  # A smaller whole number is valid for any number of places.


class CounterKey(NamedTuple):
    """The key of a counter: the logical name of its view's table, and its key values."""

    table: str
    key: tuple[str, ...]


Increments = Mapping[str, Amount]
"""The amounts to add to a counter's attributes, such as `{"totalQuantity": 5, "orderCount": 1}`."""

Contributions = Mapping[CounterKey, Increments]
"""The increments of one order, by counter."""


class Row(NamedTuple):
    """A row that an order adds to: the key values, and the amounts to add."""

    key: tuple[str, ...]
    amounts: Increments


ViewFunction = Callable[[Any], Row | Sequence[Row] | None]
"""A view's function. It returns one row, several rows, or None if the view does not count the order."""


_Function = TypeVar("_Function", bound=ViewFunction)


class Keep(NamedTuple):
    """How long to keep rows: `days` days after the row's own day, in UTC. The key attribute `by` begins with that day.

    After that the row no longer changes. DynamoDB's TTL deletes it at least a day later.
    """

    days: int
    by: str


class View(NamedTuple):
    """A view, as its `@view` decorator declares it."""

    name: str  # The function's name. It is part of URLs.
    table: str
    key: tuple[str, ...]  # The names of the partition key and, if there is one, the sort key.
    places: Mapping[str, int]  # The number of decimal places of each amount.
    function: ViewFunction
    top: str | None  # The amount that ranks the view's top list.
    stamp: str | None  # The attribute that holds the time of a row's last change.
    keep: Keep | None


class DeclarationError(ValueError):
    """A view's declaration is wrong. The message says what to change."""


class InvalidRowError(ValueError):
    """A view returned a row that cannot be counted."""


VIEWS: dict[str, View] = {}
"""All views by table. Each table has one view, because contributions name the table, not the view."""


def view(
    table: str,
    key: tuple[str, ...],
    amounts: Sequence[str] | Mapping[str, int],
    *,
    top: str | None = None,
    stamp: str | None = None,
    keep: Keep | None = None,
) -> Callable[[_Function], _Function]:
    """Register a function as the view of `table`.

    `key` names the partition key and, if there is one, the sort key; both are strings. `amounts` names the attributes
    that rows add to. They are whole numbers; for decimals, pass each one's places: `{"revenue": 2, "payments": 0}`.
    """

    def register(function: _Function) -> _Function:
        places = dict(amounts) if isinstance(amounts, Mapping) else dict.fromkeys(amounts, 0)
        declared = View(function.__name__, table, key, places, function, top, stamp, keep)
        for problem in _problems(declared):
            raise DeclarationError(f"The view {declared.name}: {problem}.")
        VIEWS[table] = declared
        return function

    return register


def _problems(view: View) -> Iterable[str]:
    """Yield a message for each error in a view's declaration."""
    names = [*view.key, *view.places, *([view.stamp] if view.stamp else [])]
    if view.table in VIEWS:
        yield f"{view.table} already has a view; give this one its own table"
    if any(view.name == other.name for other in VIEWS.values()):
        yield "another view has this name; rename the function"
    if not all(_NAME.fullmatch(name) for name in [view.name, view.table, *names]):
        yield "its names have up to 64 letters, digits and underscores, and begin with a letter"
    if len(set(names)) < len(names) or not RESERVED_ATTRIBUTES.isdisjoint(names):
        yield f"key, amounts and stamp need different names, none of them {' or '.join(sorted(RESERVED_ATTRIBUTES))}"
    if len(view.key) not in (1, 2):
        yield "a key has one attribute, or two; join() makes one text of several values"
    if not view.places or any(places not in range(PLACES_MAX + 1) for places in view.places.values()):
        yield f"name at least one amount, each with 0 to {PLACES_MAX} decimal places"
    if view.top is not None and view.top not in view.places:
        yield f"top is {view.top}, which is not one of its amounts"
    if view.keep and (view.keep.by not in view.key or view.keep.days < 1):
        yield "keep needs 1 day or more, and one of the key attributes"


def of_form(table: str, key: tuple[str, ...], *amounts: str) -> View | None:
    """Return a table's view if it has this key and these whole-number amounts, otherwise None."""
    view = VIEWS.get(table)
    is_of_form = view is not None and view.key == key and all(view.places.get(name) == 0 for name in amounts)
    return view if is_of_form else None


def join(*values: str) -> str:
    """Join several values into one key value: `join("/home", "DE")` returns `/home|DE`.

    Different values always give different texts: a `|` in a value becomes `%7C`, and a `%` becomes `%25`.
    """
    return "|".join(value.replace("%", "%25").replace("|", "%7C") for value in values)


# --- Contributions of an order -------------------------------------------------------------------


class Counted(NamedTuple):
    """An order's contributions to all views, and the errors of the views that failed."""

    contributions: Contributions
    problems: Mapping[str, str]  # The errors by view name.


def contributions(order: Any) -> Counted:
    """Return a valid order's contributions to all views.

    A view that raises or returns an invalid row contributes nothing, and the other views still count the order.
    """
    found: dict[CounterKey, Increments] = {}
    problems: dict[str, str] = {}
    for view in VIEWS.values():
        try:
            returned = view.function(order)
            if type(returned) is Row and len(found) < ROWS_MAX:  # A fast path for the most common case.
                _check(view, returned)
                found[CounterKey(view.table, returned.key)] = returned.amounts
            elif returned is not None:
                found.update(_rows(view, [returned] if type(returned) is Row else returned, ROWS_MAX - len(found)))
        except InvalidRowError as error:
            problems[view.name] = str(error)
        except Exception as error:
            # Omit the error's message. It may differ between calls, but an order must always give the same text.
            problems[view.name] = f"raises {type(error).__name__}"
    return Counted(found, problems)


def _rows(view: View, returned: Iterable[Any], rows_max: int) -> dict[CounterKey, Increments]:
    """Validate the rows of one view, and add up rows with the same key. Raises InvalidRowError."""
    rows: dict[CounterKey, Increments] = {}
    for row in returned:
        _check(view, row)
        counter = CounterKey(view.table, row.key)
        if counter in rows:
            sums = dict(rows[counter])
            amounts.add_to(sums, row.amounts)
            row = Row(row.key, sums)
            _check(view, row)  # The sum may have too many digits.
        rows[counter] = row.amounts
    if len(rows) > rows_max:
        raise InvalidRowError(f"adds {len(rows)} rows; an order may have {ROWS_MAX} over all views")
    return rows


def _check(view: View, row: Any) -> None:
    """Raise InvalidRowError if a row's key or amounts do not match the view's declaration."""
    if type(row) is not Row or type(row.key) is not tuple or len(row.key) != len(view.key):
        raise InvalidRowError(f"returns something other than Row(({', '.join(view.key)},), {{...}})")
    key, increments = row
    if not isinstance(increments, dict):
        raise InvalidRowError("returns a row whose amounts are not a dict")
    for part in key:
        if type(part) is not str or not (
            0 < len(part) <= KEY_MAX_BYTES and (part.isascii() or fits(part, KEY_MAX_BYTES))
        ):
            raise InvalidRowError(f"returns a key with a value that is not a text of 1 to {KEY_MAX_BYTES} UTF-8 bytes")
    places = view.places
    for name, amount in increments.items():
        if name not in places:
            raise InvalidRowError(f"adds to {name}, which is not one of its amounts")
        if (type(amount) is not int or not -_SMALL < amount < _SMALL) and not amounts.fits(amount, places[name]):
            digits = f"{amounts.DIGITS_MAX} digits, of which {places[name]} are decimal places"
            raise InvalidRowError(f"adds to {name} something other than a number of at most {digits}")
    if view.keep and _last_day(key[view.key.index(view.keep.by)]) is None:
        raise InvalidRowError(f"returns a {view.keep.by} that does not begin with a date such as 2026-11-23")


# --- Rows that expire ----------------------------------------------------------------------------


def frozen_at(counter: CounterKey) -> int | None:
    """Return when a counter stops changing, in epoch seconds, or None if its view keeps rows forever."""
    view = VIEWS.get(counter.table)
    if view is None or view.keep is None:
        return None
    day = _last_day(counter.key[view.key.index(view.keep.by)])
    return None if day is None else day + (view.keep.days + 1) * _DAY_SECONDS


_KEEP = attrgetter("keep")


def any_expire() -> bool:
    """Return whether any view has rows that expire."""
    return any(map(_KEEP, VIEWS.values()))


def is_frozen(counter: CounterKey, now: int) -> bool:
    """Return whether a counter has stopped changing by `now`, in epoch seconds."""
    end = frozen_at(counter)
    return end is not None and end <= now


def unfrozen(contributions: Contributions, now: int) -> Contributions:
    """Return the contributions to counters that can still change at `now`, in epoch seconds."""
    return {counter: increments for counter, increments in contributions.items() if not is_frozen(counter, now)}


def deleted_at(counter: CounterKey) -> int | None:
    """Return a counter's TTL in epoch seconds, a day after it stops changing. Return None if it never expires."""
    end = frozen_at(counter)
    return None if end is None else end + _DAY_SECONDS


def all_deleted_at(contributions: Contributions, otherwise: int) -> int | None:
    """Return the TTL of the last of these counters to expire, or None if any view keeps its rows forever.

    Without counters, return `otherwise` plus the longest time that a view keeps rows. All times are epoch seconds.
    """
    if not VIEWS or not all(map(_KEEP, VIEWS.values())):
        return None
    longest = max(view.keep.days for view in VIEWS.values() if view.keep)
    ends = [deleted_at(counter) for counter in contributions]
    return None if None in ends else max((end for end in ends if end), default=otherwise + longest * _DAY_SECONDS)


@lru_cache(maxsize=1000)
def _last_day(text: str) -> int | None:
    """Return the start of the day with which a text begins, in epoch seconds, or None if it begins with no date."""
    try:
        return (date.fromisoformat(text[:10]) - date(1970, 1, 1)) // timedelta(seconds=1)
    except ValueError:
        return None


# --- Counters as items ---------------------------------------------------------------------------


def read_amount(item: Mapping[str, Any], attribute: str, places: int = 0) -> Amount:
    """Return the number in an attribute of a counter's item.

    Return 0 if the attribute is absent or malformed, so that the other totals stay readable. This app never writes a
    malformed amount. An audit finds it, and corrects it with `repair`.
    """
    return amounts.parse(item.get(attribute, {}).get("N", "0"), places) or 0
