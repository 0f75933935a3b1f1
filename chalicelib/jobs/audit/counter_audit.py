"""The second part of an audit: every counter is the sum of what the ledger's entries have contributed to it.

A pass reads all counters, then the whole ledger, then the counters again, all consistently. Every transaction that
changes a counter raises its revision. So if that is the same before and after, nothing has moved, and what is stored
must be the sum of what the entries contribute.

1. The first pass holds only checksums of buckets of counters (checksums.py). A checksum also covers the revisions
   before and after, so a bucket with a checksum of 0 is proven.
2. Rounds follow. Each tracks the counters of as many flagged buckets as memory allows one by one, and makes passes
   until there is nothing more to find out about them.
3. Drift is a counter that is wrong by the same amounts in two passes: a reader may see only a part of a transaction
   that is being carried out (Developer Guide, "Isolation levels").
4. A counter that keeps moving is `unverified` in the end, never drift. So is a wrong one while any entry is
   unreadable: what that entry has contributed is unknown.
5. Drift is repaired, if that is requested, on the condition that the revision has not changed, and looked at again.
   A counter that an order in flight will change is `held`: the ledger may lack what the counter has.

Contributions to a table without a view are left alone (unknown-views-are-kept).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from chalicelib import amounts, effects, tables, views
from chalicelib.counting import entry_item, transactions
from chalicelib.counting.ledger import Entry, Status
from chalicelib.counting.transactions import REVISION
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs.audit.checksums import BucketChecksums, bucket
from chalicelib.jobs.audit.findings import PAGE_ITEMS, Findings, product_of
from chalicelib.jobs.state import Amount, Range, require
from chalicelib.orders import Item
from chalicelib.views import VIEWS, CounterKey

# The limit for tracked counters: some 3,000, which take up to 300 KB in a cursor.
TRACKED_MAX_BYTES = 600_000
_COUNTER_BYTES = 100  # What a counter takes besides its key and its amounts.
_AMOUNT_BYTES = 28  # Stored and expected.

# After this many looks, a counter is unverified: one that moved, and any other that was not wrong by the same amounts
# twice, or that drifted before it moved.
MOVING_LOOKS_MAX = 2
LOOKS_MAX = 5
PAUSE_SECONDS = 1  # Between passes: much longer than a transaction takes to become visible as a whole.

_FIGURES = ("checked", "drifted", "repaired", "held", "unverified")
_HORIZON_SECONDS = 2 * 24 * 60 * 60  # Rows that expire so soon may be gone before the audit ends.

Amounts = dict[str, Amount]
"""Amounts by attribute. An attribute `a` that is not such a number is `{"a\\0its text": 1}`: it is always wrong."""


@dataclass
class TrackedCounter:
    """A counter that is looked at by itself. A revision is "" if it is missing or not a number."""

    revision: str = ""  # At the beginning of this pass.
    expected: Amounts = field(default_factory=dict)  # The sum of the entries.
    stored: Amounts = field(default_factory=dict)  # At the end of this pass.
    checked_revision: str = ""  # At the end of this pass.
    wrong: Amounts = field(default_factory=dict)  # By how much it was wrong in an earlier pass.
    looks: int = 0
    reported: bool = False  # As drift.
    to_repair: bool = False

    def corrections(self) -> Amounts:
        """Return the amounts that the wrong attributes should have."""
        return {name: self.expected.get(name, 0) for name in (key.partition("\0")[0] for key in sorted(self.wrong))}


@dataclass
class CounterAudit(Findings):
    """The progress and the findings of the second part."""

    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    done: bool = False
    number: Annotated[int, Range(1, 2**53)] = 1  # The number of the pass.
    scan: int = 0  # The number of the scan in this pass; one beyond the last when the pass has been judged.
    unreadable: int = 0  # The unreadable entries in this pass.
    checksums: BucketChecksums = field(default_factory=BucketChecksums)  # 0 for the buckets of this and earlier rounds.
    end: int = 0  # The first pass of a round takes the flagged buckets below it. In any other pass it is 0.
    tracked: dict[CounterKey, TrackedCounter] = field(default_factory=dict)  # In this round.
    horizon: Annotated[int, Range(0, 2**40)] = 0  # Rows that expire before it, in epoch seconds, are left out.

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.figures.keys() == set(_FIGURES))
        require(self.scan <= 2 * len(VIEWS) + 1 and self.end <= len(self.checksums.sums))
        require(self.start is None or (self.table and len(self.start) == len(tables.KEYS[self.table])))
        for counter in self.tracked:
            require(counter.table in VIEWS and len(counter.key) == len(VIEWS[counter.table].key))

    @property
    def table(self) -> str | None:
        """The table to read: all counters, the ledger, all counters again, then None if the pass has been judged."""
        return [*VIEWS, tables.LEDGER, *VIEWS, None][self.scan]

    def steps(self, may_correct: Callable[[CounterKey], bool]) -> Steps[None]:
        """Make pass after pass. `may_correct` returns whether a repair may correct a counter."""
        if views.any_expire() and not self.horizon:
            self.horizon = (yield Sleep()) + _HORIZON_SECONDS
        while not self.done:
            if self.table:
                yield from self._read_page(self.table)
                if not self.table:
                    self._judge_all(may_correct)
            else:
                yield from self._repair()
            yield Checkpoint()

    def _read_page(self, table: str) -> Steps[None]:
        page = yield Scan(table, self.start, PAGE_ITEMS)
        for item in page.items:
            if table == tables.LEDGER:
                self._sum(entry_item.from_item(item["OrderID"]["S"], item))
            elif self._lasts(counter := CounterKey(table, effects.key_of(table, item))):
                self._read_counter(counter, *_parse(table, item))
        self._fit_memory()
        self.scan += self.turn_page(page)

    def _lasts(self, counter: CounterKey) -> bool:
        return not self.horizon or not views.is_frozen(counter, self.horizon)

    def _read_counter(self, counter: CounterKey, revision: str, stored: Amounts) -> None:
        is_check = self.scan > len(VIEWS)
        if self.number == 1:
            self.figures["checked"] += is_check
            self.checksums.add(counter, {f"\0{revision}": -1} if is_check else {**stored, f"\0{revision}": 1})
        elif tracked := self._tracked(counter):
            if is_check:
                tracked.checked_revision, tracked.stored = revision, stored
            else:
                tracked.revision = revision

    def _sum(self, entry: Entry) -> None:
        self.unreadable += entry.status is Status.UNREADABLE
        for counter, added in entry.contributions.items():
            if counter.table not in VIEWS or not self._lasts(counter):
                continue
            if self.number == 1:
                self.checksums.add(counter, added, -1)
            elif tracked := self._tracked(counter):
                amounts.add_to(tracked.expected, added)

    def _tracked(self, counter: CounterKey) -> TrackedCounter | None:
        """Return the counter if this round tracks it. The first pass of a round begins to track counters."""
        if self.end and (at := bucket(counter)) < self.end and self.checksums.sums[at]:
            return self.tracked.setdefault(counter, TrackedCounter())
        return self.tracked.get(counter)

    def _fit_memory(self) -> None:
        """While this round tracks too many counters, leave half of its buckets to a later one."""
        while self.end and sum(_bytes(*each) for each in self.tracked.items()) > TRACKED_MAX_BYTES:
            flagged = self.checksums.flagged(self.end)
            if len(flagged) == 1:
                return  # A bucket is never split. One exceeds the limit only if there are some 50 million counters.
            self.end = flagged[len(flagged) // 2]
            self.tracked = {counter: each for counter, each in self.tracked.items() if bucket(counter) < self.end}

    def _judge_all(self, may_correct: Callable[[CounterKey], bool]) -> None:
        for at in self.checksums.flagged(self.end):
            self.checksums.sums[at] = 0
        self.end = 0
        self.tracked = {key: each for key, each in self.tracked.items() if self._judge(key, each, may_correct)}

    def _judge(self, counter: CounterKey, tracked: TrackedCounter, may_correct: Callable[[CounterKey], bool]) -> bool:
        """Decide what a pass has shown of a counter. Return whether to look again."""
        stored, expected = tracked.stored, tracked.expected
        differences = {name: amounts.subtract(stored.get(name, 0), expected.get(name, 0)) for name in stored | expected}
        wrong = {name: amount for name, amount in differences.items() if amount}
        tracked.looks += 1
        if tracked.revision != tracked.checked_revision:
            again = tracked.looks < (LOOKS_MAX if tracked.wrong else MOVING_LOOKS_MAX)
        elif not wrong:
            self.figures["repaired"] += tracked.reported
            return False
        elif wrong != tracked.wrong:
            tracked.wrong = wrong
            again = tracked.looks < LOOKS_MAX
        elif self.unreadable:
            again = False
        else:
            may_repair = self.repair and may_correct(counter)
            if not tracked.reported:
                self._report(counter, tracked)
                self.figures["held"] += self.repair and not may_repair
            tracked.to_repair = may_repair and tracked.looks < LOOKS_MAX
            return tracked.to_repair
        self.figures["unverified"] += not (again or tracked.reported)
        return again

    def _report(self, counter: CounterKey, tracked: TrackedCounter) -> None:
        tracked.reported, tracked.looks = True, 0
        stored: dict[str, int | str] = {}
        for wrong in sorted(tracked.wrong):  # A damaged attribute comes after its amount.
            name, _, text = wrong.partition("\0")
            stored[name] = text or _to_json(counter, name, tracked.stored.get(name, 0))
        expected = {name: _to_json(counter, name, amount) for name, amount in tracked.corrections().items()}
        self.figures["checked"] += not tracked.stored  # It has no item, so the first pass has not counted it.
        key = {"table": counter.table, "product": product_of(counter), "key": list(counter.key)}
        self.add("drifted", [counter], {**key, "stored": stored, "expected": expected})

    def _repair(self) -> Steps[None]:
        """Repair what has drifted, then begin the next pass. It finds again what has moved and was not repaired."""
        now = yield Sleep()
        for counter, tracked in self.tracked.items():
            if tracked.to_repair:
                yield transactions.correction(counter, tracked.revision, tracked.corrections(), now)
                tracked.to_repair = False
                yield Checkpoint()
        flagged = self.checksums.flagged(len(self.checksums.sums))
        self.done = not (self.tracked or flagged)
        if self.done:
            return
        yield Sleep(PAUSE_SECONDS)
        for tracked in self.tracked.values():
            tracked.revision = tracked.checked_revision = ""
            tracked.expected, tracked.stored = {}, {}
        self.end = 0 if self.tracked else flagged[-1] + 1
        self.number += 1
        self.scan = self.unreadable = 0


def _parse(table: str, item: Item) -> tuple[str, Amounts]:
    """Return the revision of a counter and its amounts."""
    view, revision = VIEWS[table], ""
    stored: Amounts = {}
    for name, value in item.items():
        text = value.get("N", "not a number")
        amount = amounts.parse(text, view.places.get(name, 0))
        if amount is None and name in view.places:  # The view may have had more decimal places.
            amount = amounts.parse_all_places(text)
        if name == REVISION and "N" in value:
            revision = text
        elif name == tables.TTL:  # A view that no longer expires may have had it.
            continue
        elif amount is not None:
            stored[name] = amount
        elif name not in (*view.key, view.stamp):
            stored[f"{name}\0{text}"] = 1
    return revision, stored


def _to_json(counter: CounterKey, name: str, amount: Amount) -> int | str:
    """Return an amount for a finding: a decimal one as text, even if it is 0."""
    return amounts.to_text(amount) if VIEWS[counter.table].places.get(name) else amounts.to_json(amount)


def _bytes(counter: CounterKey, tracked: TrackedCounter) -> int:
    """Return about how many bytes of a cursor's JSON a counter takes."""
    return _COUNTER_BYTES + sum(len(value.encode()) for value in counter.key) + _AMOUNT_BYTES * len(tracked.expected)
