"""The first part of an audit: check that every order matches its ledger entry, and that every entry has an order.

1. Compare each order with its entry, and each entry with its order. These reads may be stale, so read a mismatch again
   with consistent reads, the entry before the item. If they still differ, the order is a suspect.
2. Check suspects again after the grace period, up to 1,000 at a time. A suspect has drifted if neither the entry's
   revision nor the item has changed. An order that keeps changing is in flight, and so is every suspect while the
   stream is behind.
3. With `repair`, reconcile drifted entries as the backfill does, and check them again. Repair nothing if the stream is
   behind when the audit begins, since records that have not arrived yet look like drift.
4. An unreadable entry is always drift. A repair rebuilds the entry from the order's item and leaves the counters to the
   counter audit, since the entry's contributions are unknown.
5. A repair cancels an entry without an order, even if TTL removed the order and the record of that was lost.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from chalicelib import stream_lag, tables
from chalicelib.amounts import to_json
from chalicelib.counting import entry_item, ledger
from chalicelib.counting.ledger import Entry, Status
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs import backfill, reads
from chalicelib.jobs.audit.findings import PAGE_ITEMS, PRODUCTS_MAX, Findings, ProductDigests, add_products, may_include
from chalicelib.jobs.state import Range, require
from chalicelib.orders import Item
from chalicelib.views import CounterKey

GRACE_PERIOD_SECONDS = 10  # The time that the stream has to deliver a change before a mismatch counts as drift.
GRACE_PERIOD_MAX_SECONDS = 300
# Enough for a few thousand suspects. When the limit is reached, all of them wait for one grace period.
_SUSPECTS_MAX_CHARACTERS = 300_000
_SUSPECT_CHARACTERS = 64  # The size of a suspect without its order id.
_LOOKS_MAX = 4  # An order that changed before each of 4 checks is in flight.
_KINDS = ("missing", "differing", "orphaned", "unreadable")
_FIGURES = ("checked", "entries", *_KINDS, "inFlight", "repaired", "uncountable")


class Mismatch(NamedTuple):
    """An entry and an order's item that do not match. The entry was read first."""

    entry: Entry
    item: Item | None
    expected: Entry  # The entry that matches the item, or `entry` itself if that is unknown.

    @property
    def kind(self) -> str:
        """The kind of drift, one of _KINDS, if the mismatch turns out to be drift."""
        if self.entry.unreadable:
            return "unreadable"
        if self.item is None:
            return "orphaned"
        return "missing" if self.entry.status is Status.ABSENT else "differing"

    @property
    def counters(self) -> list[CounterKey]:
        """The counters to which the order contributes or should contribute."""
        return [*self.entry.contributions, *self.expected.contributions]

    @property
    def digest(self) -> str:
        """A hash of the entry's revision and the item. It changes when either changes."""
        text = json.dumps([self.entry.revision, self.item], sort_keys=True, default=repr)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SuspectedDrift(NamedTuple):
    """A mismatch that waits for its next check."""

    digest: str
    since: Annotated[int, Range(0, 2**33)]  # Epoch seconds.
    looks: int = 1
    reported: bool = False  # Whether the order has been reported as drift.


@dataclass
class EntryAudit(Findings):
    """The progress and findings of the entry audit."""

    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    grace_period_seconds: Annotated[int, Range(1, GRACE_PERIOD_MAX_SECONDS)] = GRACE_PERIOD_SECONDS
    products_in_flight: ProductDigests = field(default_factory=dict)
    stream_was_behind: bool | None = None  # The stream's state when the audit began.
    table: str | None = tables.ORDERS  # The table being read: orders, then the ledger, then None.
    suspects: dict[str, SuspectedDrift] = field(default_factory=dict)  # Suspects by order id.

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.figures.keys() == set(_FIGURES))
        require(self.table in (tables.ORDERS, tables.LEDGER, None) and len(self.products_in_flight) <= PRODUCTS_MAX)
        require(self.start is None or len(self.start) == 1)

    @property
    def done(self) -> bool:
        """Whether both tables are read and no suspect is left."""
        return not (self.table or self.suspects)

    @property
    def may_repair(self) -> bool:
        """Whether this audit may repair drift: it was asked to, and the stream was not behind when it began."""
        return self.repair and not self.stream_was_behind

    def may_correct(self, counter: CounterKey) -> bool:
        """Return whether a repair may correct a counter. It must not if an order in flight will change the counter."""
        return self.may_repair and not may_include(self.products_in_flight, counter)

    def steps(self) -> Steps[None]:
        """Compare both tables. Each step changes the state only after its last read, so it can be repeated."""
        if self.stream_was_behind is None:
            now = yield Sleep()
            self.stream_was_behind = yield from self._is_stream_behind(now)
        while not self.done:
            if self.table and not self._is_full():
                yield from self._read_page(self.table)
            else:
                yield from self._look_again()
            yield Checkpoint()

    def _is_full(self) -> bool:
        return sum(len(order_id) + _SUSPECT_CHARACTERS for order_id in self.suspects) > _SUSPECTS_MAX_CHARACTERS

    def _is_stream_behind(self, now: int) -> Steps[bool]:
        report = yield from reads.read_lag_report()
        return stream_lag.is_behind(report, now, self.grace_period_seconds)

    def _read_page(self, table: str) -> Steps[None]:
        page = yield Scan(table, self.start, PAGE_ITEMS, consistent=False)
        now = yield Sleep()
        if table == tables.ORDERS:
            items = {item["OrderID"]["S"]: item for item in page.items}
            entries = yield from reads.read_entries(list(items), consistent=False)
            mismatched = backfill.mismatched(entries, items, now)
        else:  # The pass over the orders has already compared entries whose order exists.
            listed = [entry_item.from_item(item["OrderID"]["S"], item) for item in page.items]
            alive = [entry.order_id for entry in listed if backfill.differs(entry, None, now)]
            existing = yield from reads.read_orders(alive, consistent=False)
            mismatched = [order_id for order_id in alive if order_id not in existing]
        mismatches, now = yield from _look(mismatched)
        for order_id, mismatch in mismatches.items():
            self.suspects.setdefault(order_id, SuspectedDrift(mismatch.digest, now))
        self.figures["checked" if table == tables.ORDERS else "entries"] += len(page.items)
        if self.turn_page(page):
            self.table = tables.LEDGER if table == tables.ORDERS else None

    def _look_again(self) -> Steps[None]:
        """Check a group of suspects again after their grace period, and repair those that have drifted."""
        suspects = dict(list(self.suspects.items())[:PAGE_ITEMS])
        now = yield Sleep()
        due_at = max(suspect.since for suspect in suspects.values()) + self.grace_period_seconds
        now = yield Sleep(max(0, due_at - now))
        behind = yield from self._is_stream_behind(now)
        mismatches, now = yield from _look(list(suspects))
        to_repair = []
        for order_id, suspect in suspects.items():
            del self.suspects[order_id]
            mismatch = mismatches.get(order_id)
            if mismatch is None:
                self.figures["repaired"] += suspect.reported
            elif suspect.digest == mismatch.digest and (mismatch.entry.unreadable or not behind):
                if not suspect.reported:
                    self.add(mismatch.kind, mismatch.counters, _to_json(mismatch))
                if self.may_repair and mismatch.expected is not mismatch.entry:
                    to_repair.append(mismatch)
                    self.suspects[order_id] = suspect._replace(reported=True)
            elif suspect.digest == mismatch.digest or suspect.looks >= _LOOKS_MAX:
                self.figures["inFlight"] += not suspect.reported
                add_products(self.products_in_flight, mismatch.counters)
            else:
                self.suspects[order_id] = SuspectedDrift(mismatch.digest, now, suspect.looks + 1, suspect.reported)
        # The orders to repair stay suspects, so if the repair is interrupted, the next check finds the rest.
        present = {each.entry.order_id: each.item for each in to_repair if each.item is not None}
        committer = backfill.reconciliation([each.entry for each in to_repair], present, now, repair=True)
        yield from committer.steps()
        for order_id in committer.set_apart:
            del self.suspects[order_id]
            self.figures["uncountable"] += 1


def _look(order_ids: Sequence[str]) -> Steps[tuple[dict[str, Mismatch], int]]:
    """Read all entries, then all items. Return the mismatches by order id, and the time in epoch seconds."""
    entries = (yield from reads.read_entries(order_ids)) if order_ids else {}
    items = (yield from reads.read_orders(order_ids)) if order_ids else {}
    now = yield Sleep()
    found = {}
    for order_id, entry in entries.items():
        item = items.get(order_id)
        if backfill.differs(entry, item, now):
            found[order_id] = Mismatch(entry, item, ledger.reconcile(entry, item, now))
    return found, now


def _to_json(mismatch: Mismatch) -> dict[str, Any]:
    entry, expected = mismatch.entry, mismatch.expected
    found = {"orderId": entry.order_id, "finding": mismatch.kind}
    if entry.unreadable:
        found["problem"] = entry.unreadable
    return {**found, "ledger": _entry_to_json(entry), "expected": _entry_to_json(expected)}


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    contributions = [
        {"table": table, "key": list(key), "amounts": {name: to_json(amount) for name, amount in added.items()}}
        for (table, key), added in entry.contributions.items()
    ]
    return {"status": entry.status.value, "contributions": contributions}
