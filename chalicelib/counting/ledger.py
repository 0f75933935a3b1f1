"""The ledger: each order's contributions to the counters, and how stream records change them.

Each order has an entry. It holds the contributions that were added to counters for the order, and the position of
the stream record that they come from. The invariants of this module, explained in docs/design.md:

- entry-matches-counters: an entry's contributions are exactly what the counters hold for its order. Both change in
  one transaction, on the condition that the entry still has the revision that the change was planned from.
- older-record-is-ignored: a record that is not newer than the entry's position changes nothing.
- table-decides: a newer record or a reconciliation does what TRANSITIONS and SOURCES say, and nothing else.
- cuts-do-not-matter: records are applied one after another, so it does not matter where the stream is cut into batches.
- delivered-is-remembered: a write is skipped only if no record of the batch changes anything. So the position covers
  every delivered record, and none of them counts as new when it is delivered late.
- unknown-views-are-kept: contributions to a table without a view in this version of the app stay as they are.
- position-catches-up: a backfill changes an entry without a record; the entry is then ahead of the stream. The next
  newer record is written even if it changes nothing more. Until then the entry keeps what the backfill reverted,
  because TTL may have archived the order.

entry_item.py converts entries to stored items. stream.py reads stream records.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from functools import reduce
from types import MappingProxyType
from typing import Any, NamedTuple

from chalicelib import orders, timestamps, views
from chalicelib.amounts import subtract
from chalicelib.orders import Item
from chalicelib.views import Contributions, CounterKey, Increments

TOMBSTONE_SECONDS = 28 * 24 * 60 * 60
"""A tombstone is kept for this long, so that it outlives all older records. A stream keeps records for 24 hours
(Developer Guide), and `make replay` delivers stored ones until they are 21 days old."""


class Status(StrEnum):
    """The state of an order in the ledger."""

    ABSENT = "absent"  # The ledger has no entry.
    COUNTED = "counted"
    REJECTED = "rejected"  # The order is not valid; `problems` has the reasons.
    CANCELLED = "cancelled"  # The entry is a tombstone.
    ARCHIVED = "archived"  # DynamoDB's TTL deleted the order; it still counts.
    UNREADABLE = "unreadable"  # The stored entry cannot be read; `problems` has the reason. Never stored.


LEDGER_ENTRY = "ledgerEntry"
"""The key of the reason in the `problems` of an unreadable entry."""


class Entry(NamedTuple):
    """An order's ledger entry."""

    order_id: str
    revision: int = 0  # The number of times that the entry was written.
    position: str = ""  # The newest record's position; "" if only a backfill counted it.
    status: Status = Status.ABSENT
    first_seen: str = ""  # When the ledger first saw the order. Replaces a missing `PlacedAt`.
    contributions: Contributions = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})
    expires_at: int | None = None  # When TTL deletes the entry, in epoch seconds.
    ahead_of_stream: bool = False  # Whether the entry was changed without a record since `position`.
    reverted: Contributions = MappingProxyType({})  # The contributions that a repair removed.
    stored: Item = MappingProxyType({})  # The item of an unreadable entry.

    @property
    def unreadable(self) -> str | None:
        """The reason why the stored entry cannot be read, or None if it can."""
        return self.problems[LEDGER_ENTRY] if self.status is Status.UNREADABLE else None


def absent(order_id: str) -> Entry:
    """Return the entry of an order that is not in the ledger."""
    return Entry(order_id)


class ChangeRecord(NamedTuple):
    """The parts of a stream record that the ledger uses."""

    order_id: str
    position: str  # A string that sorts an order's records by time (see stream.py).
    created_at: int  # When the record was created, in epoch seconds.
    image: Item | None  # The order's item after the change; None if it was removed.
    expired: bool = False  # Whether DynamoDB's TTL removed the order.
    is_insert: bool = False


# --- The state machine ---------------------------------------------------------------------------
# TRANSITIONS has a row for each kind of change. SOURCES has a row for each way in which the ledger learns of a change.
# The columns are rules for the fields of the next entry. `_next` applies these rules and adds none.


class Rule(NamedTuple):
    """A rule for a field of the next entry."""

    text: str  # How docs/design.md shows the rule.
    choose: Callable[[Any, Any], Any]  # A function that returns the field's next value.


KEPT = Rule("unchanged", lambda kept, new: kept or new)
NEW = Rule("new", lambda _, new: new)
EARLIER = Rule("earlier", min)
NEXT = Rule("+1", lambda revision, _: revision + 1)
UNUSED = Rule("+1, or the time if higher", lambda revision, now: max(revision + 1, now))
ORDERS = Rule("that order's", lambda entry, new: {**_of_unknown_views(entry), **new} if entry.contributions else new)
NONE = Rule("none", lambda entry, _: _of_unknown_views(entry))
RESTORED = Rule("`reverted`, or unchanged", lambda entry, _: entry.reverted or entry.contributions)
NEVER = Rule("never", lambda contributions, change: None)
# A tombstone with contributions to unknown views does not expire: a later version with the view needs them.
IN_FOUR_WEEKS = Rule("in four weeks", lambda contributions, change: None if contributions else _in_four_weeks(change))
WITH_ROWS = Rule("after its last row", lambda contributions, change: _after_last_row(contributions, change))


class Transition(NamedTuple):
    """A row of TRANSITIONS: the effect of a kind of change on an entry."""

    status: Status
    contributions: Rule
    expires_at: Rule = NEVER
    reverted: bool = False  # Whether to keep the removed contributions in `reverted`.
    spares: Collection[Status] = ()  # Entries with these statuses do not change.
    unless_stored: Collection[str] = ()  # Exception: an unreadable entry with one of these stored statuses changes.


TRANSITIONS = {
    "the order is valid": Transition(Status.COUNTED, ORDERS, WITH_ROWS),
    "the order is invalid": Transition(Status.REJECTED, NONE),
    "a person or program removed it": Transition(Status.CANCELLED, NONE, IN_FOUR_WEEKS),
    "DynamoDB's TTL removed it": Transition(Status.ARCHIVED, RESTORED, WITH_ROWS),
    # TTL may have removed the order of an unreadable entry. So cancel the entry only if it had no contributions.
    "it is missing, without a record": Transition(
        Status.CANCELLED, NONE, IN_FOUR_WEEKS, True,
        spares=(Status.ABSENT, Status.ARCHIVED, Status.UNREADABLE), unless_stored=(Status.CANCELLED, Status.REJECTED),
    ),
}  # fmt: skip
VALID, INVALID, REMOVED, EXPIRED, MISSING = TRANSITIONS


class Source(NamedTuple):
    """A row of SOURCES: how an entry changes depending on where the ledger learned of the change."""

    position: Rule
    revision: Rule
    ahead_of_stream: bool
    catches_up: bool  # Whether to write an entry ahead of the stream even if its content stays.
    first_seen: tuple[Rule, Rule, Rule]  # The rule for a status in _SEEN, for an entry ahead, for others.
    skips_expired: bool = False  # Whether to ignore a new order whose rows have all expired.


_SEEN = frozenset({Status.COUNTED, Status.REJECTED, Status.UNREADABLE})

# `first_seen`: a backfill may see an order before its first record, but an INSERT has the exact time. `revision`: a
# rebuilt entry gets a revision that it never had, so that no change planned from an older entry can commit.
SOURCES = {
    "INSERT": Source(NEW, NEXT, False, True, (NEW, NEW, NEW)),
    "MODIFY or REMOVE": Source(NEW, NEXT, False, True, (EARLIER, EARLIER, NEW)),
    "reconciliation": Source(KEPT, NEXT, True, False, (KEPT, NEW, NEW), True),
    "reconciliation, unreadable entry": Source(KEPT, UNUSED, True, False, (KEPT, NEW, NEW)),
}
INSERT, LATER_RECORD, RECONCILIATION, REBUILD = SOURCES


def apply_all(entry: Entry, records: Iterable[ChangeRecord]) -> Entry:
    """Return an entry after all records of its order, oldest first. Return the same object if nothing changes."""
    return reduce(apply, records, entry)


def apply(entry: Entry, record: ChangeRecord) -> Entry:
    """Return an entry after one record. Return the same object if the record changes nothing."""
    if record.position <= entry.position:  # older-record-is-ignored
        return entry
    return _next(entry, record, INSERT if record.is_insert else LATER_RECORD, EXPIRED if record.expired else REMOVED)


def reconcile(entry: Entry, item: Item | None, now: int) -> Entry:
    """Return an entry that matches its order's item, without a record. Return the same object if it already does.

    `item` must be read after the entry, and is None if the order does not exist. `now` is in epoch seconds. The
    position does not change, because the item's records may still arrive.
    """
    source = REBUILD if entry.status is Status.UNREADABLE else RECONCILIATION
    return _next(entry, ChangeRecord(entry.order_id, "", now, item), source, MISSING)


def _next(entry: Entry, change: ChangeRecord, learned_from: str, removal: str) -> Entry:
    """Return the entry after a change, or the same object if nothing changes. Without an image it is a `removal`."""
    source, at = SOURCES[learned_from], change.created_at
    nothing: Mapping[Any, Any] = {}
    group = 0 if entry.status in _SEEN else 1 if entry.ahead_of_stream else 2
    first_seen = source.first_seen[group].choose(entry.first_seen, timestamps.from_epoch(at))
    if change.image is None:
        kind, new, problems = removal, nothing, nothing
    elif isinstance(order := orders.from_item(change.image, first_seen), orders.Order):
        kind, (new, problems) = VALID, views.contributions(order)
    else:
        kind, new, problems = INVALID, nothing, order
    transition = TRANSITIONS[kind]
    if entry.status in transition.spares and entry.stored.get("status", {}).get("S") not in transition.unless_stored:
        return entry
    contributions = transition.contributions.choose(entry, new)
    expires_at = transition.expires_at.choose(contributions, change)
    if source.skips_expired and entry.status is Status.ABSENT and expires_at and not views.unfrozen(contributions, at):
        return entry
    if entry.status is transition.status and _content(entry) == (entry.status, contributions, problems):
        if not (source.catches_up and entry.ahead_of_stream):
            return entry
        contributions, problems, expires_at = entry.contributions, entry.problems, entry.expires_at
    revision = source.revision.choose(entry.revision, at)
    position = source.position.choose(entry.position, change.position)
    content = transition.status, first_seen, contributions, problems, expires_at
    reverted = entry.contributions if transition.reverted else {}
    return Entry(entry.order_id, revision, position, *content, source.ahead_of_stream, reverted)


def _in_four_weeks(change: ChangeRecord) -> int:
    return change.created_at + TOMBSTONE_SECONDS


def _after_last_row(contributions: Contributions, change: ChangeRecord) -> int | None:
    """Return when an entry expires: with its last row, but not before four weeks. None means never.

    An order without `PlacedAt` would count again, as a new order, if its entry expired. So its entry never expires.
    """
    end = views.all_deleted_at(contributions, change.created_at)
    if end is None or (change.image is not None and not orders.has_placed_at(change.image)):
        return None
    return max(end, _in_four_weeks(change))


def _content(entry: Entry) -> tuple[Status, Contributions, Mapping[str, str]]:
    return entry.status, entry.contributions, entry.problems


def _of_unknown_views(entry: Entry) -> Contributions:
    """Return the contributions to tables without a view in this version of the app (unknown-views-are-kept)."""
    return {counter: amounts for counter, amounts in entry.contributions.items() if counter.table not in views.VIEWS}


# --- Changes -------------------------------------------------------------------------------------


class Change(NamedTuple):
    """The replacement of a ledger entry by the next one."""

    before: Entry
    after: Entry  # Its revision is one higher than that of `before`.
    now: int = 0  # The current time in epoch seconds.

    @property
    def deltas(self) -> Contributions:
        """Return the increments that keep the counters equal to the contributions (entry-matches-counters).

        Expired rows get no increments. Nor do the counters of an unreadable entry, because its contributions are
        unknown; an audit compares those counters with the ledger.
        """
        if self.before.status is Status.UNREADABLE:
            return {}
        moved = deltas(self.before.contributions, self.after.contributions)
        return views.unfrozen(moved, self.now) if views.any_expire() else moved

    @property
    def only_advances_position(self) -> bool:
        """Whether the change advances only the position and not the content (position-catches-up)."""
        return self.before.ahead_of_stream and _content(self.before) == _content(self.after)


def change(before: Entry, after: Entry, now: int = 0) -> Change | None:
    """Return the change from one entry to another, or None if they are the same object. `now` is in epoch seconds."""
    if after is before:
        return None
    revision = before.revision + 1
    if after.revision > revision and before.status is not Status.UNREADABLE:
        after = after._replace(revision=revision)  # One write raises the revision by one, even for several records.
    return Change(before, after, now)


def deltas(before: Contributions, after: Contributions) -> Contributions:
    """Return the difference between two contributions, as increments by counter."""
    if not before:
        return after
    moved: dict[CounterKey, Increments] = {}
    for counter in {**before, **after}:
        old, new = before.get(counter, {}), after.get(counter, {})
        if old != new:
            moved[counter] = {name: subtract(new.get(name, 0), old.get(name, 0)) for name in {**old, **new}}
    return moved


# --- The API -------------------------------------------------------------------------------------


def order_status(entry: Entry, item: Item) -> dict[str, Any]:
    """Return whether the totals include an order's item, as `{"counted": true}` or `{"counted": false}`.

    Add `rejected`, the errors by field, if the item is not a valid order. Add `ledgerProblem`, a sentence, if its
    ledger entry is unreadable. Add `viewProblems`, the errors by view, if views failed to count it.
    """
    if entry.unreadable:
        repair = "An audit with repair rebuilds it."
        return {"counted": False, "ledgerProblem": f"The ledger entry cannot be read: {entry.unreadable} {repair}"}
    order = orders.from_item(item, entry.first_seen)
    if not isinstance(order, orders.Order):
        return {"counted": False, "rejected": order}
    if entry.status is not Status.COUNTED:
        return {"counted": False}
    counted = {counter: amounts for counter, amounts in entry.contributions.items() if counter.table in views.VIEWS}
    expected, problems = views.contributions(order)
    return {"counted": counted == expected, **({"viewProblems": problems} if problems else {})}
