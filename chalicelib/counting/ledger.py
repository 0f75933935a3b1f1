"""The ledger: what each order has been counted for, and what a stream record does to that.

The laws of this module, which tests/unit/test_ledger.py walks one by one:

1. An entry's contributions are exactly what the counters hold for its order. Whoever changes one changes
   the other in the same transaction (transactions.py), on the condition that the entry is still the one
   that the change was made from: its revision, which every write raises by one.
2. A record that is not newer than the entry changes nothing.
3. A newer record does what TRANSITIONS says, and nothing else does anything.
4. A batch is its records one after another. It makes no difference where a stream is cut into batches.
5. Nothing is written only if no record of the batch changes anything. Writing also what comes and goes
   within a batch keeps law 2 true of every record that was delivered: no older one that turns up late,
   from a retry or an overlapping invocation, can pass for news.
6. Contributions to the table of a view that this version of the app does not have stay as they are.
7. An entry that was changed without a record, by a backfill, is ahead of its version. The next newer record is
   written even if it changes nothing more: else an older one that was delivered before could pass for news.
   What such a change withdraws is remembered until then: the order may have been taken by DynamoDB's TTL.

Reading the stream's format is not here (stream.py), nor what an order adds (views.py).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from chalicelib import orders, timestamps, views
from chalicelib.orders import FieldErrors, Item
from chalicelib.views import Contributions, CounterKey

# A stream keeps its records for 24 hours (Developer Guide, "Change data capture for DynamoDB Streams"), and
# TTL deletes within a few days after the time given. No record that is older than a tombstone outlives it.
TOMBSTONE_SECONDS = 7 * 24 * 60 * 60

FORMAT = 1
"""The form of the entries' items. An entry with a higher one is unreadable: a later version of the app wrote it."""

_NOTHING: Mapping[str, Any] = {}
Value = TypeVar("Value")


class Status(StrEnum):
    """What an entry says of its order."""

    ABSENT = "absent"  # There is no entry.
    COUNTED = "counted"
    REJECTED = "rejected"  # The order is not valid; the entry says why.
    CANCELLED = "cancelled"  # A tombstone.
    ARCHIVED = "archived"  # DynamoDB's TTL has taken the order; it was ordered all the same.
    UNREADABLE = "unreadable"  # The stored entry cannot be read; the entry says why. Never stored.


LEDGER_ENTRY = "ledgerEntry"
"""The name under which an unreadable entry says in `problems` why it cannot be read."""


class Entry(NamedTuple):
    """An order's ledger entry."""

    order_id: str
    revision: int = 0  # How often it has been written.
    position: str = ""  # That of the record it comes from; "" if no record had to do with it yet.
    status: Status = Status.ABSENT
    first_seen: str = ""  # When the order's first record was made: the hour of one without `PlacedAt`.
    contributions: Contributions = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})
    expires_at: int | None = None  # Epoch seconds.
    ahead_of_stream: bool = False  # Whether it was changed without a record since `version` (law 7) ...
    reverted: Contributions = MappingProxyType({})  # ... and what it had added until then, if it was cancelled so.
    stored: Item = MappingProxyType({})  # The item of an unreadable entry.

    @property
    def unreadable(self) -> str | None:
        """Why the stored entry cannot be read; None if it can."""
        return self.problems[LEDGER_ENTRY] if self.status is Status.UNREADABLE else None


def absent(order_id: str) -> Entry:
    """The entry of an order that the ledger does not have."""
    return Entry(order_id)


class ChangeRecord(NamedTuple):
    """A stream record, as far as the ledger cares."""

    order_id: str
    position: str  # Orders the records of one order by time, as a plain string (see stream.py).
    created_at: int  # When it was made, in epoch seconds.
    image: Item | None  # The order's item after it; None where it was removed.
    expired: bool = False  # Whether it was DynamoDB's TTL that removed it.
    is_insert: bool = False  # Whether the order was not there before it (INSERT).


# --- The rules -----------------------------------------------------------------------------------


class ChangeKind(Enum):
    """What a record says of its order."""

    VALID = "INSERT or MODIFY with a valid order"
    INVALID = "INSERT or MODIFY with an invalid order"
    REMOVED = "REMOVE by a person or program"
    EXPIRED = "REMOVE by DynamoDB's TTL"


class ContributionRule(Enum):
    """Which contributions an entry has after a record."""

    THE_ORDER = "that order's"
    NOTHING = "none"
    AS_BEFORE = "unchanged"


class Transition(NamedTuple):
    """What a newer record makes of an entry."""

    status: Status
    counts: ContributionRule
    tombstone: bool = False


TRANSITIONS: Mapping[ChangeKind, Transition] = {
    ChangeKind.VALID: Transition(Status.COUNTED, ContributionRule.THE_ORDER),
    ChangeKind.INVALID: Transition(Status.REJECTED, ContributionRule.NOTHING),
    ChangeKind.REMOVED: Transition(Status.CANCELLED, ContributionRule.NOTHING, tombstone=True),
    ChangeKind.EXPIRED: Transition(Status.ARCHIVED, ContributionRule.AS_BEFORE),
}

_ALIVE = frozenset({Status.COUNTED, Status.REJECTED, Status.UNREADABLE})
_STORED = frozenset(Status) - {Status.ABSENT, Status.UNREADABLE}
_COUNTS_FOR_NOTHING = frozenset({Status.CANCELLED, Status.REJECTED})


def apply_all(entry: Entry, records: Iterable[ChangeRecord]) -> Entry:
    """An entry after an order's records of one batch, oldest first; the very same one if nothing changes."""
    for record in records:
        entry = apply(entry, record)
    return entry


def apply(entry: Entry, record: ChangeRecord) -> Entry:
    """An entry after one record; the very same one if that changes nothing."""
    if record.position <= entry.position:
        return entry
    first_seen = timestamps.from_epoch(record.created_at)
    if (entry.status in _ALIVE or entry.ahead_of_stream) and not record.is_insert:
        # The earliest counts, since a backfill may have met the order before any record of it came. Not so if this
        # one tells of its placing: then that is the time, whatever a backfill's clock may have said.
        first_seen = min(entry.first_seen, first_seen)
    told = _transition(entry, record.image, first_seen, record.position, record.created_at, record.expired)
    if told is entry and entry.ahead_of_stream:
        revision = entry.revision + 1
        return entry._replace(
            revision=revision, position=record.position, first_seen=first_seen, ahead_of_stream=False, reverted={}
        )
    return told


def reconcile(entry: Entry, item: Item | None, now: int) -> Entry:
    """An entry brought to what OrdersTable says, without any record; the very same one if it says so.

    `item` is the order's item, read after the entry was, or None if there is none. `now` is in epoch
    seconds. The version stays: the records behind the item are still to come or have been lost.
    """
    if item is None and not _may_be_cancelled(entry):
        return entry
    # Whoever looks at an order may have a slower clock than whoever has counted it: what is known stays.
    first_seen = entry.first_seen if entry.status in _ALIVE else ""
    told = _transition(entry, item, first_seen or timestamps.from_epoch(now), entry.position, now, expired=False)
    if told is entry:
        return entry
    if entry.status is Status.UNREADABLE:
        # Above every revision that the entry may have had, so that no change that was planned from it still fits.
        told = told._replace(revision=max(told.revision, now))
    reverted = entry.contributions if told.status is Status.CANCELLED else {}
    return told._replace(ahead_of_stream=True, reverted=reverted)


def _may_be_cancelled(entry: Entry) -> bool:
    """Return whether an order without an item may be taken for cancelled: not if TTL has archived it, or may have.

    The stream cannot tell an unreadable entry which of the two has happened, so its last status does not count,
    unless that says that the order counts for nothing in any case.
    """
    if entry.status is Status.UNREADABLE:
        return entry.stored.get("status", {}).get("S") in _COUNTS_FOR_NOTHING
    return entry.status not in (Status.ABSENT, Status.ARCHIVED)


def _transition(entry: Entry, image: Item | None, first_seen: str, position: str, at: int, expired: bool) -> Entry:
    """An entry after being told what has become of its order; the very same one if it says so already."""
    contributions: Contributions = {}
    problems: FieldErrors = {}
    if image is None:
        news = ChangeKind.EXPIRED if expired else ChangeKind.REMOVED
    else:
        order = orders.from_item(image, first_seen)
        if isinstance(order, orders.Order):
            news = ChangeKind.VALID
            contributions = views.contributions(order)
        else:
            news = ChangeKind.INVALID
            problems = order
    rule = TRANSITIONS[news]
    if rule.counts is ContributionRule.AS_BEFORE:
        contributions = entry.reverted or entry.contributions
    elif entry.contributions:
        contributions = {**_of_other_versions(entry.contributions), **contributions}
    if (rule.status, contributions, problems) == _says(entry):
        return entry
    # A tombstone with contributions left (law 6) is kept: with it would go what law 1 needs, should the view return.
    expires_at = at + TOMBSTONE_SECONDS if rule.tombstone and not contributions else None
    revision = entry.revision + 1
    return Entry(entry.order_id, revision, position, rule.status, first_seen, contributions, problems, expires_at)


def _says(entry: Entry) -> tuple[Status, Contributions, Mapping[str, str]]:
    return entry.status, entry.contributions, entry.problems


def _of_other_versions(contributions: Contributions) -> Contributions:
    """The contributions to tables that no view of this version of the app fills (law 6)."""
    return {counter: amounts for counter, amounts in contributions.items() if counter.table not in views.VIEWS}


# --- Changes -------------------------------------------------------------------------------------


class Change(NamedTuple):
    """An entry to be replaced by another one: a value that transactions.py makes requests of."""

    before: Entry
    after: Entry  # Its revision is one above that of `before`.

    @property
    def deltas(self) -> Contributions:
        """Return what the counters must move by for law 1.

        What an unreadable entry has contributed is not known. Its replacement leaves the counters as they are;
        an audit then compares them with the ledger.
        """
        if self.before.status is Status.UNREADABLE:
            return {}
        return deltas(self.before.contributions, self.after.contributions)

    @property
    def only_advances_position(self) -> bool:
        """Whether it only notes that the stream has told by now what a backfill had found (law 7)."""
        return self.before.ahead_of_stream and _says(self.before) == _says(self.after)


def change(before: Entry, after: Entry) -> Change | None:
    """The change from one entry to another, or None if they are the same one."""
    if after is before:
        return None
    if before.status is Status.UNREADABLE:
        return Change(before, after)
    revision = before.revision + 1
    # It is another one only where more than one record of a batch, or none, has changed the entry.
    return Change(before, after if after.revision == revision else after._replace(revision=revision))


def deltas(before: Contributions, after: Contributions) -> Contributions:
    """What each counter must move by; one that keeps its amounts is left out."""
    if not before:
        return after
    moved: dict[CounterKey, dict[str, int]] = {}
    for counter in {**before, **after}:
        old, new = before.get(counter, {}), after.get(counter, {})
        if old != new:
            moved[counter] = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return moved


# --- The item, as LedgerTable has it -------------------------------------------------------------


def to_item(entry: Entry) -> dict[str, Any]:
    """An entry as LedgerTable has it; what does not apply to it is left out."""
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


# Compact, and with the product's name as people write it.
_to_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _contributions_to_json(contributions: Contributions) -> str:
    """`[["AggregateTable",["Notebook"],{"totalQuantity":5,"orderCount":1}], ...]`.

    As one string and not as DynamoDB's lists and maps, since each of their values passes through botocore's
    serializer and DynamoDB's checks by itself: there would be 15 of them more for an order.
    """
    return _to_json([(counter.table, counter.key, amounts) for counter, amounts in contributions.items()])


class _UnreadableError(ValueError):
    """Something in a stored entry is not as this module writes it; the message says what."""


def _contributions_from_json(text: str, attribute: str) -> Contributions:
    """Return the contributions in a stored text. Raise _UnreadableError if it is not in the form described above."""
    try:
        listed = json.loads(text)
        contributions = {CounterKey(table, tuple(key)): amounts for table, key, amounts in listed}
        of_one_form = all(map(_is_contribution, contributions.items(), listed))
        if of_one_form and type(listed) is list and len(contributions) == len(listed):
            return contributions
    except (ValueError, TypeError, RecursionError):
        pass
    raise _UnreadableError(f"{attribute} is not a list of contributions")


def _is_contribution(contribution: tuple[CounterKey, Any], listed: Any) -> bool:
    (table, key), amounts = contribution
    return (
        type(table) is str
        and type(listed[1]) is list
        and all(type(value) is str for value in key)
        and (table not in views.VIEWS or len(key) == len(views.VIEWS[table].key))
        and type(amounts) is dict
        and all(type(amount) is int for amount in amounts.values())
    )


def entry(order_id: str, item: Item | None) -> Entry:
    """Return an order's entry as LedgerTable has it; `item` is None if it has none.

    An item that is not as `to_item` writes it, or has a higher format, gives an entry with the status UNREADABLE.
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


def _problems(item: Item) -> FieldErrors:
    problems = item["problems"].get("M")
    if problems is None:
        raise _UnreadableError("problems is not a map")
    return {field: _text(problems, field) for field in problems}


def _legible(read: Callable[[Item], Value], item: Item, default: Value) -> Value:
    """Return one part of an unreadable entry, or the default if it is that part that cannot be read."""
    try:
        return read(item)
    except _UnreadableError:
        return default


# --- What people are told ------------------------------------------------------------------------


def order_status(entry: Entry, item: Item) -> dict[str, Any]:
    """Return whether the totals include an order's item.

    `{"counted": true}` or `{"counted": false}`; with `rejected`, the problems by field, if the item is not a valid
    order, and with `ledgerProblem`, a sentence, if its ledger entry cannot be read.
    """
    if entry.unreadable:
        repair = "An audit with repair rebuilds it."
        return {"counted": False, "ledgerProblem": f"The ledger entry cannot be read: {entry.unreadable} {repair}"}
    order = orders.from_item(item, entry.first_seen)
    if not isinstance(order, orders.Order):
        return {"counted": False, "rejected": order}
    counted = {counter: amounts for counter, amounts in entry.contributions.items() if counter.table in views.VIEWS}
    return {"counted": entry.status is Status.COUNTED and counted == views.contributions(order)}
