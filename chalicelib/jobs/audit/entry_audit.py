"""The first part of an audit: every order is in the ledger as OrdersTable has it, and the ledger has no others.

1. Each order is compared with its entry, and each entry with its order. These reads may be stale, so a mismatch is
   read again consistently, the entry before the item. If it is still there, it is suspected drift.
2. Suspected drift is looked at again after the grace period. It is drift if neither the entry's revision nor the item
   has changed. An order that keeps changing is in flight, and so is every suspect while the stream is behind.
3. Drift is repaired, if that is requested, with a backfill's reconciliation, and looked at again. Only what is still
   as it was found is repaired. Nothing is repaired if the stream is behind when the audit begins, since records
   that are still to come look like drift.
4. An unreadable entry is always drift. A repair rebuilds it from the order's item and leaves the counters to the
   counter audit, since the entry's contributions are unknown.
5. An order that DynamoDB refuses to count is tried once more after the counters: a damaged counter may be the cause.

A repair cancels an entry without an order. If TTL removed the order and the record of that is lost, nothing shows it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from chalicelib import effects, stream_lag, tables, timestamps
from chalicelib.counting import entry_item, ledger
from chalicelib.counting.ledger import Entry, Status
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs import backfill, reads
from chalicelib.jobs.audit.findings import AffectedProducts, FindingSample, contributions_to_json
from chalicelib.jobs.state import Range, require
from chalicelib.orders import Item
from chalicelib.stream_lag import State
from chalicelib.views import CounterKey

GRACE_PERIOD_SECONDS = 10
"""How long an order may differ from the ledger because the stream has not delivered it yet."""
GRACE_PERIOD_MAX_SECONDS = 300

PAGE_ITEMS = 1000
"""How many items are held in memory at a time."""

# A few thousand suspects. Each batch of that many waits for the grace period once.
_SUSPECTS_MAX_CHARACTERS = 300_000
_SUSPECT_CHARACTERS = 64  # What a suspect takes besides its order id.
_LOOKS_MAX = 4  # An order that has changed before each of them is in flight.
_REFUSED_MAX = 1000

# A failing handler tries again, and reports it, about every minute. An older report is out of date.
_REPORT_VALID_SECONDS = 15 * 60
_REPORT_EVERY_SECONDS = int(stream_lag.SECONDS_BETWEEN_WRITES)

_KINDS = ("missing", "differing", "orphaned", "unreadable")
_FIGURES = ("checked", "entries", *_KINDS, "inFlight", "repaired", "uncountable")


class Mismatch(NamedTuple):
    """An entry and an order's item that do not match. The entry was read first."""

    entry: Entry
    item: Item | None

    @property
    def kind(self) -> str:
        """The kind of drift that it would be, one of _KINDS."""
        if self.entry.unreadable:
            return "unreadable"
        if self.item is None:
            return "orphaned"
        return "missing" if self.entry.status is Status.ABSENT else "differing"

    def expected(self, now: int) -> Entry:
        """Return the entry that would match the item, or the same object if that is unknown."""
        return ledger.reconcile(self.entry, self.item, now)

    def counters(self, now: int) -> list[CounterKey]:
        """Return the counters that the order contributes to, or should."""
        return [*self.entry.contributions, *self.expected(now).contributions]

    def suspect(self, now: int) -> "SuspectedDrift":
        """Return what is remembered of it until the next look."""
        text = json.dumps(self.item, sort_keys=True, default=repr)
        return SuspectedDrift(self.entry.revision, hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), now)


class SuspectedDrift(NamedTuple):
    """An order's mismatch that will be looked at again."""

    revision: int  # The entry's.
    digest: str  # The item's.
    since: Annotated[int, Range(0, 2**33)]  # Epoch seconds.
    looks: int = 1
    reported: bool = False  # As drift, already.

    def matches(self, mismatch: Mismatch) -> bool:
        """Return whether neither entry nor item has changed since."""
        return (self.revision, self.digest) == mismatch.suspect(0)[:2]


@dataclass
class EntryAudit:
    """The progress and the findings of the first part. All fields go into the cursor."""

    repair: bool = False
    grace_period_seconds: Annotated[int, Range(1, GRACE_PERIOD_MAX_SECONDS)] = GRACE_PERIOD_SECONDS
    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    sample: FindingSample = field(default_factory=FindingSample)
    products: AffectedProducts = field(default_factory=AffectedProducts)
    products_in_flight: AffectedProducts = field(default_factory=AffectedProducts)
    stream_was_behind: bool | None = None  # When the audit began; None if it has not begun.
    table: str | None = tables.ORDERS  # The table being read: orders, then the ledger, then None.
    start: effects.Key | None = None
    suspects: dict[str, SuspectedDrift] = field(default_factory=dict)  # By order id, the oldest first.
    to_repair: dict[str, SuspectedDrift] = field(default_factory=dict)
    refused: dict[str, SuspectedDrift] = field(default_factory=dict)  # By DynamoDB; to be tried once more.
    is_last_try: bool = False

    def __post_init__(self) -> None:
        require(self.figures.keys() == set(_FIGURES))
        require(self.table in (tables.ORDERS, tables.LEDGER, None))
        require(self.start is None or len(self.start) == 1)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to look at or to repair but what DynamoDB has refused."""
        return not (self.table or self.suspects or self.to_repair)

    @property
    def done(self) -> bool:
        """Whether nothing is left to look at or to repair."""
        return self.idle and not self.refused

    @property
    def drift(self) -> int:
        """How many orders differ and are not repaired."""
        return sum(self.figures[kind] for kind in _KINDS) - self.figures["repaired"]

    def progress(self) -> dict[str, Any]:
        """Return which table is being read, or was read last, and how many of its items have been."""
        items = self.figures["checked" if self.table == tables.ORDERS else "entries"]
        return {"proof": "orders", "table": self.table or tables.LEDGER, "items": items}

    def steps(self) -> Steps[None]:
        """Go through both tables. The state changes only after the last request of each step."""
        if self.stream_was_behind is None:
            now = yield Sleep()
            self.stream_was_behind = yield from self._is_stream_behind(now)
        while not self.idle:
            can_read = self.table is not None and not self._is_full()
            if can_read:
                yield from self._read_page(str(self.table))
            if self.suspects:
                yield from self._look_again(wait=not can_read)
            if self.to_repair:
                yield from self._repair()
            yield Checkpoint()

    def try_refused_again(self) -> None:
        """Let `steps` try the orders once more that DynamoDB has refused to count."""
        self.to_repair, self.refused = self.refused, {}
        self.is_last_try = True

    def may_correct(self, counter: CounterKey) -> bool:
        """Return whether a repair may correct a counter. It may not while an order in flight will change it."""
        return self._may_repair and not (counter in self.products_in_flight or self.products_in_flight.is_full)

    @property
    def _may_repair(self) -> bool:
        return self.repair and not self.stream_was_behind

    def _is_full(self) -> bool:
        return sum(len(order_id) + _SUSPECT_CHARACTERS for order_id in self.suspects) > _SUSPECTS_MAX_CHARACTERS

    def _read_page(self, table: str) -> Steps[None]:
        page = yield Scan(table, self.start, PAGE_ITEMS, consistent=False)
        now = yield Sleep()
        if table == tables.ORDERS:
            items = {item["OrderID"]["S"]: item for item in page.items}
            entries = yield from reads.read_entries(list(items), consistent=False)
            mismatched = backfill.mismatched(entries, items, now)
        else:  # Entries whose order exists have been compared with it already.
            listed = [entry_item.from_item(item["OrderID"]["S"], item) for item in page.items]
            alive = [entry.order_id for entry in listed if backfill.differs(entry, None, now)]
            existing = yield from reads.read_orders(alive, consistent=False)
            mismatched = [order_id for order_id in alive if order_id not in existing]
        mismatches, now = yield from _look(mismatched)
        for order_id, mismatch in mismatches.items():
            self.suspects.setdefault(order_id, mismatch.suspect(now))
        self.figures["checked" if table == tables.ORDERS else "entries"] += len(page.items)
        self.start = page.last
        if self.start is None:
            self.table = tables.LEDGER if table == tables.ORDERS else None

    def _look_again(self, wait: bool) -> Steps[None]:
        """Look again at the suspects whose grace period is over, and wait for the oldest if `wait`."""
        due_at = next(iter(self.suspects.values())).since + self.grace_period_seconds
        now = yield Sleep()
        if now < due_at:
            if not wait:
                return
            now = yield Sleep(due_at - now)
        first = list(self.suspects.items())[:PAGE_ITEMS]
        due = {order_id: each for order_id, each in first if each.since + self.grace_period_seconds <= now}
        behind = yield from self._is_stream_behind(now)
        mismatches, now = yield from _look(list(due))
        for order_id, suspect in due.items():
            del self.suspects[order_id]
            mismatch = mismatches.get(order_id)
            if mismatch is None:
                self.figures["repaired"] += suspect.reported
            elif not suspect.matches(mismatch):
                self._suspect_again(suspect, mismatch, now)
            elif behind and not mismatch.entry.unreadable:
                self._note_in_flight(suspect, mismatch)
            else:
                self._note_drift(suspect, mismatch)

    def _repair(self) -> Steps[None]:
        """Repair what is still as it was found, then look again."""
        page = dict(list(self.to_repair.items())[:PAGE_ITEMS])
        before, now = yield from _look(list(page))
        same = [mismatch for order_id, mismatch in before.items() if page[order_id].matches(mismatch)]
        items = {mismatch.entry.order_id: mismatch.item for mismatch in same if mismatch.item is not None}
        committer = backfill.reconciliation([mismatch.entry for mismatch in same], items, now, repair=True)
        yield from committer.steps()
        after, now = yield from _look(list(page))
        for order_id, suspect in page.items():
            del self.to_repair[order_id]
            if order_id not in after:
                self.figures["repaired"] += 1
            elif order_id not in committer.set_apart:
                self._suspect_again(suspect, after[order_id], now)
            elif self.is_last_try or len(self.refused) == _REFUSED_MAX:
                self.figures["uncountable"] += 1
            else:
                self.refused[order_id] = suspect

    def _suspect_again(self, suspect: SuspectedDrift, mismatch: Mismatch, now: int) -> None:
        if suspect.looks < _LOOKS_MAX:
            self.suspects[mismatch.entry.order_id] = mismatch.suspect(now)._replace(
                looks=suspect.looks + 1, reported=suspect.reported
            )
        else:
            self._note_in_flight(suspect, mismatch)

    def _note_in_flight(self, suspect: SuspectedDrift, mismatch: Mismatch) -> None:
        self.figures["inFlight"] += not suspect.reported
        self.products_in_flight.add(mismatch.counters(suspect.since))

    def _note_drift(self, suspect: SuspectedDrift, mismatch: Mismatch) -> None:
        expected = mismatch.expected(suspect.since)
        if not suspect.reported:
            self.figures[mismatch.kind] += 1
            self.products.add(mismatch.counters(suspect.since))
            self.sample.add(_to_json(mismatch, expected))
        if self._may_repair and expected is not mismatch.entry:
            self.to_repair[mismatch.entry.order_id] = suspect._replace(reported=True)

    def _is_stream_behind(self, now: int) -> Steps[bool]:
        """Return whether the stream may still deliver records that explain mismatches, by the handler's last report.

        A handler that is current reports again with the next batch. So a late batch without a later report was the
        last one.
        """
        key = effects.key_of(tables.STATE, stream_lag.KEY)
        found = yield effects.BatchGet(tables.STATE, [key])
        report = stream_lag.to_json(found.get(key))
        if report is None or report["measuredAt"] < timestamps.from_epoch(now - _REPORT_VALID_SECONDS):
            return False
        if report["state"] is not State.CURRENT:
            return True
        quiet_seconds = max(self.grace_period_seconds, _REPORT_EVERY_SECONDS)
        was_last_batch = report["measuredAt"] < timestamps.from_epoch(now - quiet_seconds)
        return not was_last_batch and bool(report["lagSeconds"] >= self.grace_period_seconds)


def _look(order_ids: Sequence[str]) -> Steps[tuple[dict[str, Mismatch], int]]:
    """Read these orders, each entry before its item. Return the mismatches by order, and the time in epoch seconds."""
    entries = (yield from reads.read_entries(order_ids)) if order_ids else {}
    items = (yield from reads.read_orders(order_ids)) if order_ids else {}
    now = yield Sleep()
    return {
        order_id: Mismatch(entry, items.get(order_id))
        for order_id, entry in entries.items()
        if backfill.differs(entry, items.get(order_id), now)
    }, now


def _to_json(mismatch: Mismatch, expected: Entry) -> dict[str, Any]:
    entry = mismatch.entry
    return {
        "orderId": entry.order_id,
        "finding": mismatch.kind,
        **({"problem": entry.unreadable} if entry.unreadable else {}),
        "ledger": {"status": entry.status.value, "contributions": contributions_to_json(entry.contributions)},
        "expected": {"status": expected.status.value, "contributions": contributions_to_json(expected.contributions)},
    }
