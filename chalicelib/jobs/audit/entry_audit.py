"""An audit's first proof: the ledger agrees with OrdersTable.

All orders are compared with their entries, and all entries with their orders. The laws, which
tests/unit/test_audit_orders.py walks:

1. What differs is read again, the entry before the item, both consistently. What still differs is a doubt.
2. A doubt is looked at again after the patience. It is drift only if it is the same one then: the same
   revision of the entry, the same item. What keeps changing is in flight, and so is all as long as the stream
   is further behind than the patience.
3. Drift is repaired, where that is asked for, through the same comparison as a backfill's, and then looked at
   again. Only what is still as it was when it was found is repaired; all else is a new doubt. Nothing is repaired if
   the stream is behind when the audit begins, since what the stream still holds looks like drift.
4. An unreadable entry is drift, whatever the stream does. Mending builds it anew from the order's item and leaves
   the counters to the second proof, for what the entry had contributed is not known.
5. An order that DynamoDB refuses to count is tried once more after the counters, since a damaged counter may be why.

An entry without an order is cancelled when it is repaired. If it was DynamoDB's TTL that has taken the order and
the record of that is lost, nobody can know, and it counts as cancelled.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib import effects, stream_lag, tables, timestamps
from chalicelib.counting import entry_item, ledger
from chalicelib.counting.ledger import Entry, Status
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs import backfill, reads, shapes
from chalicelib.jobs.audit.findings import (
    FINDINGS,
    PRODUCTS_MAX,
    AffectedProducts,
    FindingSample,
    contributions_to_json,
)
from chalicelib.orders import Item
from chalicelib.stream_lag import State
from chalicelib.views import CounterKey

PAGE_ITEMS = 1000
"""How many items are held in memory at a time."""

# Of the doubts that are held: a few thousand. Each batch of that many waits for the patience once.
_DOUBTS_MAX_CHARACTERS = 300_000
_DOUBT_CHARACTERS = 64  # Of all of one but its order's id.
_LOOKS_MAX = 4  # Whose order has changed before each of them is in flight.

_REFUSED_MAX = 1000

# A handler that fails tries again, and reports so, every minute or so. An older report says nothing about now.
_REPORT_VALID_SECONDS = 15 * 60
_REPORT_EVERY_SECONDS = int(stream_lag.SECONDS_BETWEEN_WRITES)


class Mismatch(NamedTuple):
    """An entry and an order's item that do not agree, read in this order."""

    entry: Entry
    item: Item | None

    @property
    def finding(self) -> str:
        """Which kind of drift it would be."""
        if self.entry.unreadable:
            return "unreadable"
        if self.item is None:
            return "orphaned"
        return "missing" if self.entry.status is Status.ABSENT else "differing"

    def expected(self, now: int) -> Entry:
        """Return the entry that would match the item; the same one if there is no knowing."""
        return ledger.reconcile(self.entry, self.item, now)

    def counters(self, now: int) -> list[CounterKey]:
        """Return the counters that the order is counted in, or should be."""
        return [*self.entry.contributions, *self.expected(now).contributions]

    @property
    def digest(self) -> str:
        """The same for the same item."""
        text = json.dumps(self.item, sort_keys=True, default=repr)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SuspectedDrift(NamedTuple):
    """A sight that is to be looked at again."""

    order_id: str
    revision: int
    digest: str
    since: int  # Epoch seconds.
    looks: int = 1
    counted: bool = False  # As drift, already.

    def is_of(self, sight: Mismatch) -> bool:
        """Whether nothing has changed since."""
        return (self.revision, self.digest) == (sight.entry.revision, sight.digest)


_FINDINGS = ("missing", "differing", "orphaned", "unreadable")
_FIGURES = ("checked", "entries", *_FINDINGS, "inFlight", "repaired", "uncountable")
_EPOCH_MAX_SECONDS = 2**33  # Far beyond any clock, and still a date.
_DOUBTS = shapes.both(
    shapes.array(
        shapes.row(
            shapes.both(shapes.text, bool),
            shapes.whole(),
            shapes.text,
            shapes.whole(largest=_EPOCH_MAX_SECONDS),
            shapes.whole(),
            shapes.flag,
        )
    ),
    lambda doubts: len({order_id for order_id, *_ in doubts}) == len(doubts),  # BatchGetItem takes no key twice.
)
STATE = shapes.record(
    {
        "figures": shapes.record(dict.fromkeys(_FIGURES, shapes.whole())),
        "shown": FINDINGS,
        "table": shapes.one_of(tables.ORDERS, tables.LEDGER, None),
        "start": shapes.optional(shapes.key_of(tables.ORDERS)),  # The ledger has the same key.
        "isRead": shapes.flag,
        "doubts": _DOUBTS,
        "toMend": _DOUBTS,
        "refused": _DOUBTS,
        "isLastTry": shapes.flag,
        "moving": shapes.array(shapes.text, PRODUCTS_MAX),
        "streamWasBehind": shapes.optional(shapes.flag),
    }
)
"""The shape of `EntryAudit.state`."""


class EntryAudit:
    """How far the first proof has come, and what it has found."""

    def __init__(self, repair: bool, grace_period_seconds: int, products: AffectedProducts) -> None:
        self.figures = dict.fromkeys(_FIGURES, 0)
        self.shown = FindingSample()
        self.moving = AffectedProducts()  # Of the orders in flight: their counters are not what they will be.
        self.stream_was_behind: bool | None = None  # When the audit began; None if it has not begun.
        self.table: str | None = tables.ORDERS  # Which is gone through; then the ledger; then None.
        self._repair = repair
        self._grace_period_seconds = grace_period_seconds
        self._products = products
        self._start: effects.Key | None = None
        self._is_read = False  # The table, to its end.
        self._doubts: list[SuspectedDrift] = []  # The oldest first.
        self._to_mend: list[SuspectedDrift] = []
        self._refused: list[SuspectedDrift] = []  # By DynamoDB, to be tried once more.
        self._is_last_try = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to look at or to mend."""
        return not (self.table or self._doubts or self._to_mend or self._refused)

    @property
    def drift(self) -> int:
        """How many orders differ and are not repaired."""
        return sum(self.figures[finding] for finding in _FINDINGS) - self.figures["repaired"]

    @property
    def items(self) -> int:
        """How many items of the table under way have been read."""
        return self.figures["checked" if self.table == tables.ORDERS else "entries"]

    # --- State, as a cursor holds it -------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the rest of the proof depends on."""
        return {
            "figures": self.figures,
            "shown": self.shown.findings,
            "table": self.table,
            "start": self._start,
            "isRead": self._is_read,
            "doubts": self._doubts,
            "toMend": self._to_mend,
            "refused": self._refused,
            "isLastTry": self._is_last_try,
            "moving": list(self.moving.digests),
            "streamWasBehind": self.stream_was_behind,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.figures = dict(state["figures"])
        self.shown = FindingSample(state["shown"])
        self.table = state["table"]
        self._start = None if state["start"] is None else tuple(state["start"])
        self._is_read = state["isRead"]
        self._doubts = [SuspectedDrift(*each) for each in state["doubts"]]
        self._to_mend = [SuspectedDrift(*each) for each in state["toMend"]]
        self._refused = [SuspectedDrift(*each) for each in state["refused"]]
        self._is_last_try = state["isLastTry"]
        self.moving = AffectedProducts(state["moving"])
        self.stream_was_behind = state["streamWasBehind"]

    # --- Steps -----------------------------------------------------------------------------------

    def steps(self) -> Steps[None]:
        """Goes through both tables."""
        if self.stream_was_behind is None:
            now = yield Sleep()
            self.stream_was_behind = yield from self._is_stream_behind(now)
        while self.table or self._doubts or self._to_mend:
            if self.table and not self._is_read and not self._is_full():
                yield from self._read_page(self.table)
            if self._doubts:
                yield from self._look_again(wait=self.table is None or self._is_read or self._is_full())
            elif self._is_read and not self._to_mend:
                self.table = tables.LEDGER if self.table == tables.ORDERS else None
                self._start, self._is_read = None, False
            if self._to_mend:
                yield from self._mend()
            yield Checkpoint()

    def try_refused_again(self) -> None:
        """Have `steps` try the orders once more that DynamoDB has refused to count."""
        self._to_mend, self._refused = self._refused, []
        self._is_last_try = True

    def may_correct(self, counter: CounterKey) -> bool:
        """Return whether a repair may correct a counter: not while an order in flight is still to change it."""
        return self._may_repair and not (counter in self.moving or self.moving.is_full)

    @property
    def _may_repair(self) -> bool:
        return self._repair and not self.stream_was_behind

    def _is_full(self) -> bool:
        return sum(len(each.order_id) + _DOUBT_CHARACTERS for each in self._doubts) > _DOUBTS_MAX_CHARACTERS

    def _read_page(self, table: str) -> Steps[None]:
        # It may be a second old: all that differs is read again.
        page = yield Scan(table, self._start, PAGE_ITEMS, consistent=False)
        differing = yield from (_differing_orders(page) if table == tables.ORDERS else _differing_entries(page))
        sights, now = yield from _look(differing)
        self._doubts += [_doubt(sight, now) for sight in sights.values()]
        self.figures["checked" if table == tables.ORDERS else "entries"] += len(page.items)
        self._start, self._is_read = page.last, page.last is None

    def _look_again(self, wait: bool) -> Steps[None]:
        """Law 2, for the doubts whose time has come."""
        ripe_at = self._doubts[0].since + self._grace_period_seconds
        now = yield Sleep()
        if now < ripe_at:
            if not wait:
                return
            now = yield Sleep(ripe_at - now)
        ripe = [doubt for doubt in self._doubts[:PAGE_ITEMS] if doubt.since + self._grace_period_seconds <= now]
        behind = yield from self._is_stream_behind(now)
        sights, now = yield from _look([doubt.order_id for doubt in ripe])
        self._doubts = self._doubts[len(ripe) :]
        for doubt in ripe:
            sight = sights.get(doubt.order_id)
            if sight is None:
                self.figures["repaired"] += doubt.counted
            elif not doubt.is_of(sight):
                self._doubt_again(doubt, sight, now)
            elif behind and not sight.entry.unreadable:
                self._note_in_flight(doubt, sight)
            else:
                self._note_drift(doubt, sight)

    def _mend(self) -> Steps[None]:
        """Law 3."""
        doubts = {doubt.order_id: doubt for doubt in self._to_mend[:PAGE_ITEMS]}
        before, now = yield from _look(list(doubts))
        same = [sight for order_id, sight in before.items() if doubts[order_id].is_of(sight)]
        items = {sight.entry.order_id: sight.item for sight in same if sight.item is not None}
        work = backfill.reconciliation([sight.entry for sight in same], items, now, repair=True)
        yield from work.steps()
        after, now = yield from _look(list(doubts))
        self._to_mend = self._to_mend[len(doubts) :]
        for order_id, doubt in doubts.items():
            if order_id not in after:
                self.figures["repaired"] += 1
            elif order_id in work.set_apart:
                self._note_refused(doubt)
            else:
                self._doubt_again(doubt, after[order_id], now)

    def _doubt_again(self, doubt: SuspectedDrift, sight: Mismatch, now: int) -> None:
        if doubt.looks < _LOOKS_MAX:
            self._doubts.append(_doubt(sight, now)._replace(looks=doubt.looks + 1, counted=doubt.counted))
        else:
            self._note_in_flight(doubt, sight)

    def _note_in_flight(self, doubt: SuspectedDrift, sight: Mismatch) -> None:
        self.figures["inFlight"] += not doubt.counted
        self.moving.add(sight.counters(doubt.since))

    def _note_refused(self, doubt: SuspectedDrift) -> None:
        if self._is_last_try or len(self._refused) == _REFUSED_MAX:
            self.figures["uncountable"] += 1
        else:
            self._refused.append(doubt)

    def _note_drift(self, doubt: SuspectedDrift, sight: Mismatch) -> None:
        if not doubt.counted:
            self.figures[sight.finding] += 1
            self._products.add(sight.counters(doubt.since))
            self.shown.add(_to_json(sight, sight.expected(doubt.since)))
        if self._may_repair and sight.expected(doubt.since) is not sight.entry:
            self._to_mend.append(doubt._replace(counted=True))

    def _is_stream_behind(self, now: int) -> Steps[bool]:
        """Return whether the stream may still hold records that would settle what differs."""
        key = effects.key_of(tables.TREND, stream_lag.KEY)
        there = yield effects.BatchGet(tables.TREND, [key])
        report = stream_lag.to_json(there.get(key))
        return report is not None and self._is_behind(report, now)

    def _is_behind(self, report: Mapping[str, Any], now: int) -> bool:
        """Return what the stream handler's last report says of that.

        A handler that is current reports again when the next batch comes: a late batch with no report after it was
        the last one.
        """
        if report["measuredAt"] < timestamps.from_epoch(now - _REPORT_VALID_SECONDS):
            return False
        if report["state"] is not State.CURRENT:
            return True
        is_last = report["measuredAt"] < timestamps.from_epoch(
            now - max(self._grace_period_seconds, _REPORT_EVERY_SECONDS)
        )
        return not is_last and bool(report["lagSeconds"] >= self._grace_period_seconds)


def _differing_orders(page: effects.Page) -> Steps[list[str]]:
    """The orders of a page of OrdersTable whose entries are not what they say."""
    items = {item["OrderID"]["S"]: item for item in page.items}
    entries = yield from reads.read_entries(list(items), consistent=False)
    now = yield Sleep()
    return backfill.mismatched(entries, items, now)


def _differing_entries(page: effects.Page) -> Steps[list[str]]:
    """The orders of a page of the ledger that are gone, and whose entries do not say so.

    That an entry says what its order does, where that is there, has been seen in OrdersTable.
    """
    now = yield Sleep()
    entries = [entry_item.from_item(item["OrderID"]["S"], item) for item in page.items]
    alive = [entry.order_id for entry in entries if backfill.differs(entry, None, now)]
    there = yield from reads.read_orders(alive, consistent=False)
    return [order_id for order_id in alive if order_id not in there]


def _look(order_ids: Sequence[str]) -> Steps[tuple[dict[str, Mismatch], int]]:
    """Law 1: what differs of these, by order, and the time after it, in epoch seconds."""
    entries: Mapping[str, Entry] = {}
    items: Mapping[str, Item] = {}
    if order_ids:
        entries = yield from reads.read_entries(order_ids)
        items = yield from reads.read_orders(order_ids)
    now = yield Sleep()
    sights = (Mismatch(entries[order_id], items.get(order_id)) for order_id in order_ids)
    return {sight.entry.order_id: sight for sight in _that_differ(sights, now)}, now


def _that_differ(sights: Iterable[Mismatch], now: int) -> Iterable[Mismatch]:
    return (sight for sight in sights if backfill.differs(sight.entry, sight.item, now))


def _doubt(sight: Mismatch, now: int) -> SuspectedDrift:
    return SuspectedDrift(sight.entry.order_id, sight.entry.revision, sight.digest, now)


def _to_json(sight: Mismatch, expected: Entry) -> dict[str, Any]:
    return {
        "orderId": sight.entry.order_id,
        "finding": sight.finding,
        **({"problem": sight.entry.unreadable} if sight.entry.unreadable else {}),
        "ledger": {
            "status": sight.entry.status.value,
            "contributions": contributions_to_json(sight.entry.contributions),
        },
        "expected": {"status": expected.status.value, "contributions": contributions_to_json(expected.contributions)},
    }
