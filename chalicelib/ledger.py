"""The ledger: what each order has been counted for, and what a stream record does to that.

The laws of this module, which tests/unit/test_ledger.py walks one by one:

1. An entry's contributions are exactly what the counters hold for its order. Whoever changes one changes
   the other in the same transaction (transactions.py), on the condition that the entry is still the one
   that the change was made from: its revision, which every write raises by one.
2. A record that is not newer than the entry changes nothing.
3. A newer record does what RULES says, and nothing else does anything.
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
from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from chalicelib import instants, orders, views
from chalicelib.orders import Item, Problems
from chalicelib.views import Contributions, Counter

# A stream keeps its records for 24 hours (Developer Guide, "Change data capture for DynamoDB Streams"), and
# TTL deletes within a few days after the time given. No record that is older than a tombstone outlives it.
TOMBSTONE_SECONDS = 7 * 24 * 60 * 60

FORMAT = 1
"""The form of the entries' items; an app that finds a higher one refuses to guess what it means."""


class Status(StrEnum):
    """What an entry says of its order."""

    ABSENT = "absent"  # There is no entry.
    COUNTED = "counted"
    REJECTED = "rejected"  # The order is not valid; the entry says why.
    CANCELLED = "cancelled"  # A tombstone.
    ARCHIVED = "archived"  # DynamoDB's TTL has taken the order; it was ordered all the same.


class Entry(NamedTuple):
    """An order's ledger entry."""

    order_id: str
    revision: int = 0  # How often it has been written.
    version: str = ""  # That of the record it comes from; "" if no record had to do with it yet.
    status: Status = Status.ABSENT
    first_seen: str = ""  # When the order's first record was made: the hour of one without `PlacedAt`.
    contributions: Contributions = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})
    expires_at: int | None = None  # Epoch seconds.
    ahead: bool = False  # Whether it was changed without a record since `version` (law 7) ...
    withdrawn: Contributions = MappingProxyType({})  # ... and what it had added until then, if it was cancelled so.


def absent(order_id: str) -> Entry:
    """The entry of an order that the ledger does not have."""
    return Entry(order_id)


class Record(NamedTuple):
    """A stream record, as far as the ledger cares."""

    order_id: str
    version: str  # Orders the records of one order by time, as a plain string (see stream.py).
    at: int  # When it was made, in epoch seconds.
    image: Item | None  # The order's item after it; None where it was removed.
    by_ttl: bool = False  # Whether it was DynamoDB's TTL that removed it.
    first: bool = False  # Whether the order was not there before it (INSERT).


# --- The rules -----------------------------------------------------------------------------------


class News(Enum):
    """What a record says of its order."""

    VALID = "INSERT or MODIFY with a valid order"
    INVALID = "INSERT or MODIFY with an invalid order"
    REMOVED = "REMOVE by a person or program"
    EXPIRED = "REMOVE by DynamoDB's TTL"


class Counts(Enum):
    """Which contributions an entry has after a record."""

    THE_ORDER = "that order's"
    NOTHING = "none"
    AS_BEFORE = "unchanged"


class Rule(NamedTuple):
    """What a newer record makes of an entry."""

    status: Status
    counts: Counts
    tombstone: bool = False


RULES: Mapping[News, Rule] = {
    News.VALID: Rule(Status.COUNTED, Counts.THE_ORDER),
    News.INVALID: Rule(Status.REJECTED, Counts.NOTHING),
    News.REMOVED: Rule(Status.CANCELLED, Counts.NOTHING, tombstone=True),
    News.EXPIRED: Rule(Status.ARCHIVED, Counts.AS_BEFORE),
}

_ALIVE = frozenset({Status.COUNTED, Status.REJECTED})


def after_all(entry: Entry, records: Iterable[Record]) -> Entry:
    """An entry after an order's records of one batch, oldest first; the very same one if nothing changes."""
    for record in records:
        entry = after(entry, record)
    return entry


def after(entry: Entry, record: Record) -> Entry:
    """An entry after one record; the very same one if that changes nothing."""
    if record.version <= entry.version:
        return entry
    first_seen = instants.from_epoch(record.at)
    if (entry.status in _ALIVE or entry.ahead) and not record.first:
        # The earliest counts, since a backfill may have met the order before any record of it came. Not so if this
        # one tells of its placing: then that is the time, whatever a backfill's clock may have said.
        first_seen = min(entry.first_seen, first_seen)
    told = _told(entry, record.image, first_seen, record.version, record.at, record.by_ttl)
    if told is entry and entry.ahead:
        revision = entry.revision + 1
        return entry._replace(
            revision=revision, version=record.version, first_seen=first_seen, ahead=False, withdrawn={}
        )
    return told


def as_item_says(entry: Entry, item: Item | None, now: int) -> Entry:
    """An entry brought to what OrdersTable says, without any record; the very same one if it says so.

    `item` is the order's item, read after the entry was, or None if there is none. `now` is in epoch
    seconds. The version stays: the records behind the item are still to come or have been lost.
    """
    if item is None and entry.status in (Status.ABSENT, Status.ARCHIVED):
        return entry
    # Whoever looks at an order may have a slower clock than whoever has counted it: what is known stays.
    first_seen = entry.first_seen if entry.status in _ALIVE else instants.from_epoch(now)
    told = _told(entry, item, first_seen, entry.version, now, by_ttl=False)
    if told is entry:
        return entry
    withdrawn = entry.contributions if told.status is Status.CANCELLED else {}
    return told._replace(ahead=True, withdrawn=withdrawn)


def _told(entry: Entry, image: Item | None, first_seen: str, version: str, at: int, by_ttl: bool) -> Entry:
    """An entry after being told what has become of its order; the very same one if it says so already."""
    contributions: Contributions = {}
    problems: Problems = {}
    if image is None:
        news = News.EXPIRED if by_ttl else News.REMOVED
    else:
        order = orders.from_item(image, first_seen)
        if isinstance(order, orders.Order):
            news = News.VALID
            contributions = views.contributions(order)
        else:
            news = News.INVALID
            problems = order
    rule = RULES[news]
    if rule.counts is Counts.AS_BEFORE:
        contributions = entry.withdrawn or entry.contributions
    elif entry.contributions:
        contributions = {**_of_other_versions(entry.contributions), **contributions}
    if (rule.status, contributions, problems) == _says(entry):
        return entry
    # A tombstone with contributions left (law 6) is kept: with it would go what law 1 needs, should the view return.
    expires_at = at + TOMBSTONE_SECONDS if rule.tombstone and not contributions else None
    revision = entry.revision + 1
    return Entry(entry.order_id, revision, version, rule.status, first_seen, contributions, problems, expires_at)


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
        """What the counters must move by for law 1."""
        return deltas(self.before.contributions, self.after.contributions)

    @property
    def of_version_alone(self) -> bool:
        """Whether it only notes that the stream has told by now what a backfill had found (law 7)."""
        return self.before.ahead and _says(self.before) == _says(self.after)


def change(before: Entry, after: Entry) -> Change | None:
    """The change from one entry to another, or None if they are the same one."""
    if after is before:
        return None
    revision = before.revision + 1
    # It is another one only where more than one record of a batch, or none, has changed the entry.
    return Change(before, after if after.revision == revision else after._replace(revision=revision))


def deltas(before: Contributions, after: Contributions) -> Contributions:
    """What each counter must move by; one that keeps its amounts is left out."""
    if not before:
        return after
    moved: dict[Counter, dict[str, int]] = {}
    for counter in {**before, **after}:
        old, new = before.get(counter, {}), after.get(counter, {})
        if old != new:
            moved[counter] = {name: new.get(name, 0) - old.get(name, 0) for name in {**old, **new}}
    return moved


# --- The item, as LedgerTable has it -------------------------------------------------------------


class UnknownFormat(Exception):
    """An entry that a later version of this app has written; only that version can count its order."""


def to_item(entry: Entry) -> dict[str, Any]:
    """An entry as LedgerTable has it; what does not apply to it is left out."""
    item: dict[str, Any] = {
        "OrderID": {"S": entry.order_id},
        "revision": {"N": str(entry.revision)},
        "status": {"S": entry.status.value},
        "firstSeen": {"S": entry.first_seen},
        "format": {"N": str(FORMAT)},
    }
    if entry.version:
        item["version"] = {"S": entry.version}
    if entry.contributions:
        item["contributions"] = {"S": _contributions_to_json(entry.contributions)}
    if entry.problems:
        item["problems"] = {"M": {field: {"S": problem} for field, problem in entry.problems.items()}}
    if entry.expires_at is not None:
        item["expiresAt"] = {"N": str(entry.expires_at)}
    if entry.ahead:
        item["ahead"] = {"BOOL": True}
    if entry.withdrawn:
        item["withdrawn"] = {"S": _contributions_to_json(entry.withdrawn)}
    return item


# Compact, and with the product's name as people write it.
_to_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _contributions_to_json(contributions: Contributions) -> str:
    """`[["AggregateTable",["Notebook"],{"totalQuantity":5,"orderCount":1}], ...]`.

    As one string and not as DynamoDB's lists and maps, since each of their values passes through botocore's
    serializer and DynamoDB's checks by itself: there would be 15 of them more for an order.
    """
    return _to_json([(counter.table, counter.key, amounts) for counter, amounts in contributions.items()])


def _contributions_from_json(text: str) -> Contributions:
    return {Counter(table, tuple(key)): amounts for table, key, amounts in json.loads(text)}


def entry(order_id: str, item: Item | None) -> Entry:
    """An order's entry as LedgerTable has it, `item` being None if it has none.

    Raises UnknownFormat if a later version of the app wrote it.
    """
    if item is None:
        return absent(order_id)
    if int(item["format"]["N"]) > FORMAT:
        raise UnknownFormat(
            f"Ledger entry {order_id!r} has format {item['format']['N']}, and this version of the app"
            f" knows formats up to {FORMAT}: deploy the version that wrote it, or a later one."
        )
    problems = item.get("problems", {"M": {}})["M"]
    return Entry(
        order_id,
        int(item["revision"]["N"]),
        item.get("version", {"S": ""})["S"],
        Status(item["status"]["S"]),
        item["firstSeen"]["S"],
        _contributions_from_json(item["contributions"]["S"]) if "contributions" in item else {},
        {field: problem["S"] for field, problem in problems.items()},
        int(item["expiresAt"]["N"]) if "expiresAt" in item else None,
        "ahead" in item,
        _contributions_from_json(item["withdrawn"]["S"]) if "withdrawn" in item else {},
    )


# --- What people are told ------------------------------------------------------------------------


def standing(entry: Entry, item: Item) -> dict[str, Any]:
    """How the totals stand to an order's item: `counted`, and `rejected` with the problems of an invalid one."""
    order = orders.from_item(item, entry.first_seen)
    if not isinstance(order, orders.Order):
        return {"counted": False, "rejected": order}
    counted = {counter: amounts for counter, amounts in entry.contributions.items() if counter.table in views.VIEWS}
    return {"counted": entry.status is Status.COUNTED and counted == views.contributions(order)}
