"""The second part of an audit: check that every counter is the sum of the ledger entries' contributions to it.

A pass reads all counters, then the whole ledger, then all counters again, with consistent reads. Every transaction
that changes a counter raises its revision. If both reads find the same revision, the counter did not change during the
pass, and its stored amounts must equal the sum of the contributions.

1. The first pass keeps only one checksum for each bucket of counters (checksums.py). The checksum covers both revisions
   too, so all counters of a bucket with checksum 0 are correct and did not change.
2. The other buckets are checked in rounds. A round tracks every counter of as many buckets as fit into memory, and
   makes passes until each of these counters has a result.
3. A counter has drifted if it is wrong by the same amounts in two passes. One pass is not enough, because a read may
   see only a part of a transaction in progress (Developer Guide, "Isolation levels").
4. A counter that changes in every pass is reported as `unverified`, not as drift. So is a wrong counter while any entry
   is unreadable, since that entry's contributions are unknown.
5. With `repair`, the audit corrects a drifted counter if its revision has not changed, and checks it again. A counter
   that an order in flight will change is `held`, not corrected: the ledger may lack changes that the counter has.

The audit ignores contributions to a table without a view (unknown-views-are-kept).
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

# Enough for about 3,000 tracked counters, which take up to 300 KB in a cursor.
TRACKED_MAX_BYTES = 600_000
_COUNTER_BYTES = 100  # The size of a counter without its key and amounts.
_AMOUNT_BYTES = 28  # The size of an attribute's stored and expected amounts.

# A counter that changed during both of its first 2 checks is unverified. One that was wrong gets up to 5 checks.
MOVING_LOOKS_MAX = 2
LOOKS_MAX = 5
PAUSE_SECONDS = 1  # The pause between passes. A transaction becomes visible as a whole much sooner.

_FIGURES = ("checked", "drifted", "repaired", "held", "unverified")
_HORIZON_SECONDS = 2 * 24 * 60 * 60  # A row that expires within two days may be deleted before the audit ends.

Amounts = dict[str, Amount]
"""Amounts by attribute. An attribute `a` that is not a valid amount appears as `{"a\\0its text": 1}`, always wrong."""


@dataclass
class TrackedCounter:
    """A counter that is checked individually. A revision is "" if it is missing or not a number."""

    revision: str = ""  # The revision at the start of this pass.
    expected: Amounts = field(default_factory=dict)  # The sum of the entries' contributions.
    stored: Amounts = field(default_factory=dict)  # The amounts at the end of this pass.
    checked_revision: str = ""  # The revision at the end of this pass.
    wrong: Amounts = field(default_factory=dict)  # Stored minus expected in an earlier pass, where they differed.
    looks: int = 0
    reported: bool = False  # Whether the counter has been reported as drift.
    to_repair: bool = False

    def corrections(self) -> Amounts:
        """Return the correct amounts of the wrong attributes."""
        return {name: self.expected.get(name, 0) for name in (key.partition("\0")[0] for key in sorted(self.wrong))}


@dataclass
class CounterAudit(Findings):
    """The progress and findings of the counter audit."""

    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    done: bool = False
    number: Annotated[int, Range(1, 2**53)] = 1  # The number of the current pass.
    scan: int = 0  # The index of the current scan in this pass; after the last scan, the pass is judged.
    unreadable: int = 0  # The number of unreadable entries in this pass.
    checksums: BucketChecksums = field(default_factory=BucketChecksums)  # A judged bucket is set to 0.
    end: int = 0  # A round's first pass tracks the flagged buckets below this number. In other passes it is 0.
    tracked: dict[CounterKey, TrackedCounter] = field(default_factory=dict)  # The counters of this round.
    horizon: Annotated[int, Range(0, 2**40)] = 0  # Skip rows that expire before this time, in epoch seconds.

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.figures.keys() == set(_FIGURES))
        require(self.scan <= 2 * len(VIEWS) + 1 and self.end <= len(self.checksums.sums))
        require(self.start is None or (self.table and len(self.start) == len(tables.KEYS[self.table])))
        for counter in self.tracked:
            require(counter.table in VIEWS and len(counter.key) == len(VIEWS[counter.table].key))

    @property
    def table(self) -> str | None:
        """The next table of the pass: all views' tables, the ledger, all views' tables again, and then None."""
        return [*VIEWS, tables.LEDGER, *VIEWS, None][self.scan]

    def steps(self, may_correct: Callable[[CounterKey], bool]) -> Steps[None]:
        """Make passes until every counter has a result. `may_correct` tells whether a repair may correct a counter."""
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
        """Return the tracked counter, or None if this round does not track it. A round's first pass adds counters."""
        if self.end and (at := bucket(counter)) < self.end and self.checksums.sums[at]:
            return self.tracked.setdefault(counter, TrackedCounter())
        return self.tracked.get(counter)

    def _fit_memory(self) -> None:
        """While the tracked counters exceed the memory limit, postpone half of the buckets to a later round."""
        while self.end and sum(_bytes(*each) for each in self.tracked.items()) > TRACKED_MAX_BYTES:
            flagged = self.checksums.flagged(self.end)
            if len(flagged) == 1:
                return  # One bucket alone exceeds the limit only with about 50 million counters. Accept that.
            self.end = flagged[len(flagged) // 2]
            self.tracked = {counter: each for counter, each in self.tracked.items() if bucket(counter) < self.end}

    def _judge_all(self, may_correct: Callable[[CounterKey], bool]) -> None:
        for at in self.checksums.flagged(self.end):
            self.checksums.sums[at] = 0
        self.end = 0
        self.tracked = {key: each for key, each in self.tracked.items() if self._judge(key, each, may_correct)}

    def _judge(self, counter: CounterKey, tracked: TrackedCounter, may_correct: Callable[[CounterKey], bool]) -> bool:
        """Record the result of a pass for a counter. Return whether to check the counter again."""
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
        for wrong in sorted(tracked.wrong):  # The text of a damaged attribute replaces its amount.
            name, _, text = wrong.partition("\0")
            stored[name] = text or _to_json(counter, name, tracked.stored.get(name, 0))
        expected = {name: _to_json(counter, name, amount) for name, amount in tracked.corrections().items()}
        self.figures["checked"] += not tracked.stored  # The first pass did not count a missing counter.
        key = {"table": counter.table, "product": product_of(counter), "key": list(counter.key)}
        self.add("drifted", [counter], {**key, "stored": stored, "expected": expected})

    def _repair(self) -> Steps[None]:
        """Repair drifted counters, then begin the next pass, which checks them again."""
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
        if amount is None and name in view.places:  # An earlier version of the view may have had more decimal places.
            amount = amounts.parse_all_places(text)
        if name == REVISION and "N" in value:
            revision = text
        elif name == tables.TTL:  # Left over from a version of the view whose rows expired.
            continue
        elif amount is not None:
            stored[name] = amount
        elif name not in (*view.key, view.stamp):
            stored[f"{name}\0{text}"] = 1
    return revision, stored


def _to_json(counter: CounterKey, name: str, amount: Amount) -> int | str:
    """Return an amount as a finding shows it: a decimal amount is text, even if it is 0."""
    return amounts.to_text(amount) if VIEWS[counter.table].places.get(name) else amounts.to_json(amount)


def _bytes(counter: CounterKey, tracked: TrackedCounter) -> int:
    """Return the approximate size of a tracked counter in a cursor's JSON."""
    return _COUNTER_BYTES + sum(len(value.encode()) for value in counter.key) + _AMOUNT_BYTES * len(tracked.expected)
