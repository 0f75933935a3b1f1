"""The ledger: what each order has been counted for, and what a stream record changes about that.

Each order has an entry. It holds the contributions that were added to counters for the order, and the position of
the stream record that they come from. The invariants of this module, explained in docs/design.md:

- entry-matches-counters: an entry's contributions are exactly what the counters hold for its order. Both change in
  one transaction, on the condition that the entry still has the revision that the change was planned from.
- older-record-is-ignored: a record that is not newer than the entry's position changes nothing.
- table-decides: a newer record or a reconciliation does what TRANSITIONS and SOURCES say, and nothing else.
- cuts-do-not-matter: a batch is its records one after another, so it makes no difference where the stream is cut.
- delivered-is-remembered: a write is skipped only if no record of the batch changes anything. So the position covers
  every delivered record, and none of them counts as new when it is delivered late.
- unknown-views-are-kept: contributions to a table without a view in this version of the app stay as they are.
- position-catches-up: a backfill changes an entry without a record; the entry is then ahead of the stream. The next
  newer record is written even if it changes nothing more. Until then the entry keeps what the backfill reverted,
  because TTL may have archived the order.

The form of the stored items is in entry_item.py, that of stream records in stream.py.
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
"""How long a tombstone stays to outlast older records. A stream keeps its own for 24 hours (Developer Guide), and
`make replay` delivers kept ones until they are 21 days old."""


class Status(StrEnum):
    """The state of an order in the ledger."""

    ABSENT = "absent"  # The ledger has no entry.
    COUNTED = "counted"
    REJECTED = "rejected"  # The order is not valid; `problems` has the reasons.
    CANCELLED = "cancelled"  # The entry is a tombstone.
    ARCHIVED = "archived"  # DynamoDB's TTL deleted the order; it still counts.
    UNREADABLE = "unreadable"  # The stored entry cannot be read; `problems` has the reason. Never stored.


LEDGER_ENTRY = "ledgerEntry"
"""The name under which the `problems` of an unreadable entry have the reason."""


class Entry(NamedTuple):
    """An order's ledger entry."""

    order_id: str
    revision: int = 0  # The number of times that the entry was written.
    position: str = ""  # That of the newest record; "" if a backfill came before any record.
    status: Status = Status.ABSENT
    first_seen: str = ""  # When the order was placed, as far as the ledger knows: used if it has no `PlacedAt`.
    contributions: Contributions = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})
    expires_at: int | None = None  # Of a tombstone, in epoch seconds.
    ahead_of_stream: bool = False  # Whether the entry was changed without a record since `position`.
    reverted: Contributions = MappingProxyType({})  # The contributions that such a change took back, if it cancelled.
    stored: Item = MappingProxyType({})  # The item of an unreadable entry.

    @property
    def unreadable(self) -> str | None:
        """The reason why the stored entry cannot be read; None if it can."""
        return self.problems[LEDGER_ENTRY] if self.status is Status.UNREADABLE else None


def absent(order_id: str) -> Entry:
    """Return the entry of an order that is not in the ledger."""
    return Entry(order_id)


class ChangeRecord(NamedTuple):
    """What the ledger needs of a stream record."""

    order_id: str
    position: str  # Sorts the records of one order by time, as a plain string (see stream.py).
    created_at: int  # Epoch seconds.
    image: Item | None  # The order's item after the change; None if it was removed.
    expired: bool = False  # Whether DynamoDB's TTL removed it.
    is_insert: bool = False


# --- The state machine ---------------------------------------------------------------------------
# TRANSITIONS has a row for each change of an order, SOURCES for each way in which the ledger learns of one. The columns
# name the rules for the next entry's fields. `_next` applies the rules and has none of its own.


class Rule(NamedTuple):
    """A rule for a field of the next entry."""

    text: str  # For docs/design.md.
    choose: Callable[[Any, Any], Any]  # From the entry's value, or the entry, and what the change brings.


KEPT = Rule("unchanged", lambda kept, new: kept or new)
NEW = Rule("new", lambda _, new: new)
EARLIER = Rule("earlier", min)
NEXT = Rule("+1", lambda revision, _: revision + 1)
UNUSED = Rule("+1, or the time if higher", lambda revision, now: max(revision + 1, now))
ORDERS = Rule("that order's", lambda entry, new: {**_of_unknown_views(entry), **new} if entry.contributions else new)
NONE = Rule("none", lambda entry, _: _of_unknown_views(entry))
RESTORED = Rule("`reverted`, or unchanged", lambda entry, _: entry.reverted or entry.contributions)
NEVER = Rule("never", lambda contributions, change: None)
# A tombstone with contributions to unknown views does not expire: a version with the view would need them.
IN_FOUR_WEEKS = Rule("in four weeks", lambda contributions, change: None if contributions else _in_four_weeks(change))
WITH_ROWS = Rule("after its last row", lambda contributions, change: _after_last_row(contributions, change))


class Transition(NamedTuple):
    """What a change does to an entry."""

    status: Status
    contributions: Rule
    expires_at: Rule = NEVER
    reverted: bool = False  # Whether `reverted` gets the contributions that the entry had.
    spares: Collection[Status] = ()  # Entries that stay as they are,
    unless_stored: Collection[str] = ()  # but not an unreadable one with one of these stored statuses.


TRANSITIONS = {
    "the order is valid": Transition(Status.COUNTED, ORDERS, WITH_ROWS),
    "the order is invalid": Transition(Status.REJECTED, NONE),
    "a person or program removed it": Transition(Status.CANCELLED, NONE, IN_FOUR_WEEKS),
    "DynamoDB's TTL removed it": Transition(Status.ARCHIVED, RESTORED, WITH_ROWS),
    # TTL may have removed the order of an unreadable entry. It is cancelled only if it counted for nothing.
    "it is missing, without a record": Transition(
        Status.CANCELLED, NONE, IN_FOUR_WEEKS, True,
        spares=(Status.ABSENT, Status.ARCHIVED, Status.UNREADABLE), unless_stored=(Status.CANCELLED, Status.REJECTED),
    ),
}  # fmt: skip
VALID, INVALID, REMOVED, EXPIRED, MISSING = TRANSITIONS


class Source(NamedTuple):
    """What a way of learning of a change does to an entry."""

    position: Rule
    revision: Rule
    ahead_of_stream: bool
    catches_up: bool  # Whether an entry that is ahead of the stream is written even if its content stays.
    first_seen: tuple[Rule, Rule, Rule]  # Of an entry in _SEEN, another one ahead of the stream, any other.
    skips_expired: bool = False  # Whether an absent entry stays so if all rows of its order have expired.


_SEEN = frozenset({Status.COUNTED, Status.REJECTED, Status.UNREADABLE})

# A backfill may see an order before any record of it. An INSERT has the exact time.
# A rebuilt entry has a revision that it cannot have had, so that no change planned from an earlier one commits.
SOURCES = {
    "INSERT": Source(NEW, NEXT, False, True, (NEW, NEW, NEW)),
    "MODIFY or REMOVE": Source(NEW, NEXT, False, True, (EARLIER, EARLIER, NEW)),
    "reconciliation": Source(KEPT, NEXT, True, False, (KEPT, NEW, NEW), True),
    "reconciliation, unreadable entry": Source(KEPT, UNUSED, True, False, (KEPT, NEW, NEW)),
}
INSERT, LATER_RECORD, RECONCILIATION, REBUILD = SOURCES


def apply_all(entry: Entry, records: Iterable[ChangeRecord]) -> Entry:
    """Return an entry after an order's records of one batch, oldest first; the same object if nothing changes."""
    return reduce(apply, records, entry)


def apply(entry: Entry, record: ChangeRecord) -> Entry:
    """Return an entry after one record; the same object if the record changes nothing."""
    if record.position <= entry.position:  # older-record-is-ignored
        return entry
    return _next(entry, record, INSERT if record.is_insert else LATER_RECORD, EXPIRED if record.expired else REMOVED)


def reconcile(entry: Entry, item: Item | None, now: int) -> Entry:
    """Return an entry that matches its order's item, without any record; the same object if it already does.

    `item` was read after the entry; it is None if there is none. `now` is in epoch seconds. The position stays,
    because the records behind the item are still to come, or were lost.
    """
    source = REBUILD if entry.status is Status.UNREADABLE else RECONCILIATION
    return _next(entry, ChangeRecord(entry.order_id, "", now, item), source, MISSING)


def _next(entry: Entry, change: ChangeRecord, learned_from: str, removal: str) -> Entry:
    """Return the entry after a change, which is a `removal` if it has no image; the same object if nothing changes."""
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
    """Return when the last row is deleted, at least in four weeks; None if a row never is.

    Without its own time, an order would be a new one once its entry is gone. So its entry stays as long as the order.
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
    """The replacement of an entry by the next one."""

    before: Entry
    after: Entry  # Its revision is one above that of `before`.
    now: int = 0  # Epoch seconds.

    @property
    def deltas(self) -> Contributions:
        """Return the increments that keep the counters equal to the contributions (entry-matches-counters).

        Rows that have expired no longer change. The contributions of an unreadable entry are not known. Its replacement
        leaves the counters as they are, and an audit then compares them with the ledger.
        """
        if self.before.status is Status.UNREADABLE:
            return {}
        moved = deltas(self.before.contributions, self.after.contributions)
        return views.unfrozen(moved, self.now) if views.any_expire() else moved

    @property
    def only_advances_position(self) -> bool:
        """Whether the content stays and only the position changes (position-catches-up)."""
        return self.before.ahead_of_stream and _content(self.before) == _content(self.after)


def change(before: Entry, after: Entry, now: int = 0) -> Change | None:
    """Return the change from one entry to another, or None if they are the same object. `now` is in epoch seconds."""
    if after is before:
        return None
    revision = before.revision + 1
    if after.revision > revision and before.status is not Status.UNREADABLE:
        after = after._replace(revision=revision)  # Several records of a batch raised it; the entry is written once.
    return Change(before, after, now)


def deltas(before: Contributions, after: Contributions) -> Contributions:
    """Return the increments of each counter that changes."""
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
    """Return whether the totals include an order's item.

    `{"counted": true}` or `{"counted": false}`; with `rejected`, the problems by field, if the item is not a valid
    order, with `ledgerProblem`, a sentence, if its ledger entry cannot be read, and with `viewProblems`, by view, if
    views failed to count it.
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
