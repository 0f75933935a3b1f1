"""The ledger: what each order has been counted for, and what a stream record changes about that.

Each order has an entry. It holds the contributions that were added to counters for the order, and the position of
the stream record that they come from. The invariants of this module, explained in docs/design.md:

- entry-matches-counters: an entry's contributions are exactly what the counters hold for its order. Both change in
  one transaction, on the condition that the entry still has the revision that the change was planned from.
- older-record-is-ignored: a record that is not newer than the entry's position changes nothing.
- table-decides: a newer record does what TRANSITIONS says, and nothing else.
- cuts-do-not-matter: a batch is its records one after another, so it makes no difference where the stream is cut.
- delivered-is-remembered: a write is skipped only if no record of the batch changes anything. So the position covers
  every delivered record, and none of them counts as new when it is delivered late.
- unknown-views-are-kept: contributions to a table without a view in this version of the app stay as they are.
- position-catches-up: a backfill changes an entry without a record; the entry is then ahead of the stream. The next
  newer record is written even if it changes nothing more. Until then the entry keeps what the backfill reverted,
  because TTL may have archived the order.

The form of the stored items is in entry_item.py, that of stream records in stream.py.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from chalicelib import orders, timestamps, views
from chalicelib.orders import Item
from chalicelib.views import Contributions, CounterKey

TOMBSTONE_SECONDS = 7 * 24 * 60 * 60
"""How long the entry of a cancelled order is kept, so that an older record that is delivered late changes nothing.

A stream keeps its records for 24 hours (Developer Guide, "Change data capture for DynamoDB Streams").
"""


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


class ChangeKind(Enum):
    """The kind of change that a stream record describes."""

    VALID = "INSERT or MODIFY with a valid order"
    INVALID = "INSERT or MODIFY with an invalid order"
    REMOVED = "REMOVE by a person or program"
    EXPIRED = "REMOVE by DynamoDB's TTL"


class ContributionRule(Enum):
    """Which contributions an entry has after a change."""

    THE_ORDER = "that order's"
    NOTHING = "none"
    AS_BEFORE = "unchanged"


class Transition(NamedTuple):
    """What a newer record does to an entry."""

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
_COUNTS_FOR_NOTHING = frozenset({Status.CANCELLED, Status.REJECTED})


def apply_all(entry: Entry, records: Iterable[ChangeRecord]) -> Entry:
    """Return an entry after an order's records of one batch, oldest first; the same object if nothing changes."""
    for record in records:
        entry = apply(entry, record)
    return entry


def apply(entry: Entry, record: ChangeRecord) -> Entry:
    """Return an entry after one record; the same object if the record changes nothing."""
    if record.position <= entry.position:
        return entry
    first_seen = timestamps.from_epoch(record.created_at)
    if (entry.status in _ALIVE or entry.ahead_of_stream) and not record.is_insert:
        # A backfill may have seen the order before any record of it. An INSERT is the exact time, so it wins.
        first_seen = min(entry.first_seen, first_seen)
    after = _transition(entry, record.image, first_seen, record.position, record.created_at, record.expired)
    if after is entry and entry.ahead_of_stream:  # position-catches-up
        revision = entry.revision + 1
        return entry._replace(
            revision=revision, position=record.position, first_seen=first_seen, ahead_of_stream=False, reverted={}
        )
    return after


def reconcile(entry: Entry, item: Item | None, now: int) -> Entry:
    """Return an entry that matches its order's item, without any record; the same object if it already does.

    `item` was read after the entry; it is None if there is none. `now` is in epoch seconds. The position stays,
    because the records behind the item are still to come, or were lost.
    """
    if item is None and not _may_be_cancelled(entry):
        return entry
    first_seen = entry.first_seen if entry.status in _ALIVE else ""
    after = _transition(entry, item, first_seen or timestamps.from_epoch(now), entry.position, now, expired=False)
    if after is entry:
        return entry
    if entry.status is Status.UNREADABLE:
        # Higher than any revision that the entry can have had, so that no change planned from one of them commits.
        after = after._replace(revision=max(after.revision, now))
    reverted = entry.contributions if after.status is Status.CANCELLED else {}
    return after._replace(ahead_of_stream=True, reverted=reverted)


def _may_be_cancelled(entry: Entry) -> bool:
    """Return whether an order without an item was cancelled, and not perhaps archived by TTL.

    The record of the removal changed nothing if the entry was unreadable, so its status shows neither. Only an order
    that counted for nothing before can be cancelled without harm.
    """
    if entry.status is Status.UNREADABLE:
        return entry.stored.get("status", {}).get("S") in _COUNTS_FOR_NOTHING
    return entry.status not in (Status.ABSENT, Status.ARCHIVED)


def _transition(entry: Entry, image: Item | None, first_seen: str, position: str, at: int, expired: bool) -> Entry:
    """Return the entry after a change of the order's item; the same object if its content stays."""
    contributions: Contributions = {}
    problems: Mapping[str, str] = {}
    if image is None:
        kind = ChangeKind.EXPIRED if expired else ChangeKind.REMOVED
    else:
        order = orders.from_item(image, first_seen)
        if isinstance(order, orders.Order):
            kind = ChangeKind.VALID
            contributions = views.contributions(order)
        else:
            kind = ChangeKind.INVALID
            problems = order
    transition = TRANSITIONS[kind]
    if transition.counts is ContributionRule.AS_BEFORE:
        contributions = entry.reverted or entry.contributions
    elif entry.contributions:
        contributions = {**_of_unknown_views(entry.contributions), **contributions}
    if (transition.status, contributions, problems) == _content(entry):
        return entry
    # A tombstone with contributions to unknown views does not expire: a version with the view would need them.
    expires_at = at + TOMBSTONE_SECONDS if transition.tombstone and not contributions else None
    revision = entry.revision + 1
    return Entry(entry.order_id, revision, position, transition.status, first_seen, contributions, problems, expires_at)


def _content(entry: Entry) -> tuple[Status, Contributions, Mapping[str, str]]:
    return entry.status, entry.contributions, entry.problems


def _of_unknown_views(contributions: Contributions) -> Contributions:
    """Return the contributions to tables without a view in this version of the app (unknown-views-are-kept)."""
    return {counter: amounts for counter, amounts in contributions.items() if counter.table not in views.VIEWS}


# --- Changes -------------------------------------------------------------------------------------


class Change(NamedTuple):
    """The replacement of an entry by the next one."""

    before: Entry
    after: Entry  # Its revision is one above that of `before`.

    @property
    def deltas(self) -> Contributions:
        """Return the increments that keep the counters equal to the contributions (entry-matches-counters).

        The contributions of an unreadable entry are not known. Its replacement leaves the counters as they are, and an
        audit then compares them with the ledger.
        """
        if self.before.status is Status.UNREADABLE:
            return {}
        return deltas(self.before.contributions, self.after.contributions)

    @property
    def only_advances_position(self) -> bool:
        """Whether the content stays and only the position changes (position-catches-up)."""
        return self.before.ahead_of_stream and _content(self.before) == _content(self.after)


def change(before: Entry, after: Entry) -> Change | None:
    """Return the change from one entry to another, or None if they are the same object."""
    if after is before:
        return None
    if before.status is Status.UNREADABLE:
        return Change(before, after)
    revision = before.revision + 1
    # Several records of a batch may each have raised the revision; the entry is written once.
    return Change(before, after if after.revision == revision else after._replace(revision=revision))


def deltas(before: Contributions, after: Contributions) -> Contributions:
    """Return the increments of each counter that changes."""
    if not before:
        return after
    moved: dict[CounterKey, dict[str, int]] = {}
    for counter in {**before, **after}:
        old, new = before.get(counter, {}), after.get(counter, {})
        if old != new:
            moved[counter] = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return moved


# --- The API -------------------------------------------------------------------------------------


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
