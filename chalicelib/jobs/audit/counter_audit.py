"""The second part of an audit: every counter is the sum of what the ledger's entries have contributed to it.

A pass reads counters, then the whole ledger, then the counters again, all consistently. Every transaction that
changes a counter raises its revision. So if that is the same before and after, nothing has moved, and what is stored
minus what the entries contribute, the residual, must be 0.

1. The first pass takes all counters and holds only checksums of their buckets (checksums.py). A checksum also covers
   the revisions before and after, so a bucket with a checksum of 0 is proven.
2. Then the counters of flagged buckets are looked at one by one, as many buckets in a pass as memory allows.
3. Drift is the same residual in two passes: a reader may see only a part of a transaction that is being carried out
   (Developer Guide, "Isolation levels"). If the residuals of a bucket add up to its checksum, the first pass has
   seen them too. Any other counter is looked at in further passes.
4. A counter that keeps moving is `unverified` in the end, never drift. So is a mismatch while any entry is unreadable:
   what that entry has contributed is unknown.
5. Drift is repaired, if that is requested, on the condition that the revision has not changed, and looked at again.
   A counter that an order in flight will change is `held`: the ledger may lack what the counter has.

Contributions to a table without a view are left alone (unknown-views-are-kept) and counted as `retired`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from chalicelib import effects, tables, timestamps
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Status
from chalicelib.counting.transactions import REVISION
from chalicelib.effects import BatchGet, Checkpoint, ConditionalUpdate, Scan, Sleep, Steps
from chalicelib.jobs.audit.checksums import BucketChecksums, bucket
from chalicelib.jobs.audit.findings import AffectedProducts, FindingSample, product_of
from chalicelib.jobs.state import Amount, Range, require
from chalicelib.orders import Item
from chalicelib.views import VIEWS, CounterKey

PAGE_ITEMS = 1000
"""How many items are held in memory at a time."""

# The limit for counters that are looked at one by one: some 4,000, which take up to 300 KB in a cursor.
TRACKED_MAX_BYTES = 600_000
_COUNTER_BYTES = 100  # What a counter takes besides its key and its amounts.
_AMOUNT_BYTES = 14

MOVING_LOOKS_MAX = 2  # After so many looks at it, a counter that has moved is unverified, ...
LOOKS_MAX = 5  # ... and any other one whose residual is not the same twice, or that drifted before it moved.
PAUSE_SECONDS = 1
"""Between passes: much longer than a transaction takes to become visible as a whole."""

_ORDERS_SHOWN = 3
_REVISION_MAX_DIGITS = 30  # Room to count up: DynamoDB stores 38 digits.
_FIGURES = ("checked", "drifted", "repaired", "held", "unverified", "retired")

Amounts = dict[str, Amount]
"""Amounts by attribute. An attribute `a` that is not a whole number is `{"a\\0its text": 1}`: it is always wrong."""


class Phase(StrEnum):
    """The part of a pass."""

    READ = "read"
    SUM = "sum"
    CHECK = "check"
    REPAIR = "repair"
    DONE = "done"


@dataclass
class TrackedCounter:
    """A counter that is looked at by itself."""

    revision: str = ""  # As first read in this pass; "" if it has none that is a number.
    residual: Amounts = field(default_factory=dict)  # What is stored minus what entries contribute.
    suspected: Amounts = field(default_factory=dict)  # What was wrong in an earlier look.
    looks: int = 0
    reported: bool = False  # As drift, already.
    orders: list[str] = field(default_factory=list)  # Some that contribute to it.

    @property
    def wrong(self) -> Amounts:
        """Return the residual without zeros."""
        return {name: amount for name, amount in self.residual.items() if amount}


class Repair(NamedTuple):
    """A counter to be set to the amounts that it should have."""

    counter: CounterKey
    revision: str
    expected: Amounts

    def update(self, now: int) -> ConditionalUpdate:
        """Return the request, on the condition that the revision has not changed. `now` is in epoch seconds.

        It sets the amounts, since adding to an attribute that is not a number fails. `now` replaces a revision that
        is missing, too long or not a number: the counter has not had it.
        """
        view = VIEWS[self.counter.table]
        counts_up = self.revision.isdigit() and len(self.revision) <= _REVISION_MAX_DIGITS
        new: dict[str, Any] = {name: {"N": str(amount)} for name, amount in self.expected.items()}
        new[REVISION] = {"N": str(int(self.revision) + 1 if counts_up else now)}
        if view.stamp:
            new[view.stamp] = {"S": timestamps.from_epoch(now)}
        names = {"#revision": REVISION, **{f"#{at}": name for at, name in enumerate(new) if name != REVISION}}
        values = {f":{name[1:]}": new[attribute] for name, attribute in names.items()}
        condition, seen = "#revision = :seen", {"N": self.revision}
        if not self.revision:
            condition, seen = "NOT attribute_type(#revision, :seen)", {"S": "N"}
        return ConditionalUpdate(
            view.table,
            {
                "Key": effects.key(view.table, self.counter.key),
                "UpdateExpression": f"SET {', '.join(f'{name} = :{name[1:]}' for name in names)}",
                "ConditionExpression": condition,
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": {":seen": seen, **values},
            },
        )


@dataclass
class CounterAudit:
    """The progress and the findings of the second part. All fields go into the cursor."""

    repair: bool = False
    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FIGURES, 0))
    sample: FindingSample = field(default_factory=FindingSample)
    unverified: FindingSample = field(default_factory=FindingSample)
    products: AffectedProducts = field(default_factory=AffectedProducts)
    number: Annotated[int, Range(1, 2**53)] = 1  # The number of the pass.
    phase: Phase = Phase.READ
    items: int = 0  # Read in this phase.
    table: int = 0  # The number of the view whose table is being read.
    start: effects.Key | None = None
    unreadable: int = 0  # The unreadable entries in this pass.
    checksums: BucketChecksums = field(default_factory=BucketChecksums)  # Buckets looked at are set to 0.
    end: int = 0  # This pass looks at the flagged buckets below it, or at the suspects if it is 0.
    tracked: dict[CounterKey, TrackedCounter] = field(default_factory=dict)
    suspects: dict[CounterKey, TrackedCounter] = field(default_factory=dict)  # For the next pass.
    repairs: list[Repair] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(self.figures.keys() == set(_FIGURES))
        require(self.table < len(VIEWS) and self.end <= len(self.checksums.sums))
        require(self.start is None or len(self.start) == len(tables.KEYS[self._scanned]))
        for counter in [*self.tracked, *self.suspects, *(repair.counter for repair in self.repairs)]:
            require(counter.table in VIEWS and len(counter.key) == len(VIEWS[counter.table].key))

    @property
    def drift(self) -> int:
        """How many counters are wrong and not repaired."""
        return self.figures["drifted"] - self.figures["repaired"]

    def progress(self) -> dict[str, Any]:
        """Return the pass, its phase, and how many items have been read in it."""
        return {"proof": "counters", "phase": self.phase.value, "pass": self.number, "items": self.items}

    def steps(self, may_correct: Callable[[CounterKey], bool]) -> Steps[None]:
        """Make pass after pass. The state changes only after the last request of each step.

        `may_correct` returns whether a repair may correct a counter.
        """
        while self.phase is not Phase.DONE:
            if self.phase is Phase.READ:
                yield from self._read_suspects() if self.number > 1 and not self.end else self._read_tables()
            elif self.phase is Phase.SUM:
                yield from self._sum()
            elif self.phase is Phase.CHECK:
                yield from self._check_revisions() if self.number == 1 else self._check(may_correct)
            else:
                yield from self._repair()
            yield Checkpoint()

    def _begin(self, phase: Phase) -> None:
        self.phase = phase
        self.items = self.table = 0
        self.start = None
        if phase is Phase.SUM:
            self.unreadable = 0

    # --- Read counters and the ledger ------------------------------------------------------------

    @property
    def _scanned(self) -> str:
        return tables.LEDGER if self.phase is Phase.SUM else list(VIEWS)[self.table]

    def _scan(self) -> Steps[list[Item]]:
        page = yield Scan(self._scanned, self.start, PAGE_ITEMS)
        self.items += len(page.items)
        self.start = page.last
        return list(page.items)

    def _scan_counters(self) -> Steps[list[tuple[CounterKey, Item]]]:
        table = self._scanned
        items = yield from self._scan()
        self.table += self.start is None
        return [(CounterKey(table, effects.key_of(table, item)), item) for item in items]

    def _read_tables(self) -> Steps[None]:
        for counter, item in (yield from self._scan_counters()):
            revision, amounts = _parse(counter.table, item)
            if self.number == 1:
                self.checksums.add(counter, {**amounts, f"\0{revision}": 1})
            elif self._is_taken(counter):
                self.tracked[counter] = TrackedCounter(revision, amounts)
        self._fit_memory()
        if self.table == len(VIEWS):
            self._begin(Phase.SUM)

    def _read_suspects(self) -> Steps[None]:
        found = yield from _look_up(list(self.suspects)[:PAGE_ITEMS])
        for counter, item in found.items():
            tracked = self.tracked[counter] = self.suspects.pop(counter)
            tracked.revision, tracked.residual = _parse(counter.table, item)
            tracked.orders = []
        self.items += len(found)
        if not self.suspects:
            self._begin(Phase.SUM)

    def _sum(self) -> Steps[None]:
        for item in (yield from self._scan()):
            entry = entry_item.from_item(item["OrderID"]["S"], item)
            self.unreadable += entry.status is Status.UNREADABLE
            for counter, amounts in entry.contributions.items():
                self._subtract(entry.order_id, counter, amounts)
        self._fit_memory()
        if self.start is None:
            self._recall_first_pass()
            self._begin(Phase.CHECK)

    def _subtract(self, order_id: str, counter: CounterKey, amounts: Mapping[str, int]) -> None:
        if counter.table not in VIEWS:
            self.figures["retired"] += self.number == 1
        elif self.number == 1:
            self.checksums.add(counter, amounts, -1)
        elif counter in self.tracked or self._is_taken(counter):
            tracked = self.tracked.setdefault(counter, TrackedCounter())
            for name, amount in amounts.items():
                tracked.residual[name] = tracked.residual.get(name, 0) - amount
            if len(tracked.orders) < _ORDERS_SHOWN:
                tracked.orders.append(order_id)

    def _is_taken(self, counter: CounterKey) -> bool:
        """Return whether this pass looks at the counter because of its flagged bucket."""
        at = bucket(counter)
        return at < self.end and self.checksums.sums[at] != 0

    def _fit_memory(self) -> None:
        """While this pass holds too many counters, leave half of its buckets to a later pass."""
        while self.end and sum(_bytes(*each) for each in self.tracked.items()) > TRACKED_MAX_BYTES:
            flagged = self.checksums.flagged(self.end)
            if len(flagged) == 1:
                return  # A bucket is never split. One exceeds the limit only if there are some 50 million counters.
            self.end = flagged[len(flagged) // 2]
            self.tracked = {counter: each for counter, each in self.tracked.items() if bucket(counter) < self.end}

    def _recall_first_pass(self) -> None:
        """Mark residuals as suspected if the first pass saw them too: they add up to the checksum of their bucket."""
        seen = BucketChecksums()
        for counter, tracked in self.tracked.items():
            seen.add(counter, tracked.residual)
        taken = set(self.checksums.flagged(self.end))
        for counter, tracked in self.tracked.items():
            at = bucket(counter)
            if at in taken and seen.sums[at] == self.checksums.sums[at]:
                tracked.suspected = tracked.wrong
        self.checksums.clear(taken)
        self.end = 0

    # --- Check and repair ------------------------------------------------------------------------

    def _check_revisions(self) -> Steps[None]:
        """End the first pass."""
        counters = yield from self._scan_counters()
        for counter, item in counters:
            self.checksums.add(counter, {f"\0{_parse(counter.table, item)[0]}": 1}, -1)
        self.figures["checked"] += len(counters)
        if self.table == len(VIEWS):
            self._begin(Phase.REPAIR)

    def _check(self, may_correct: Callable[[CounterKey], bool]) -> Steps[None]:
        found = yield from _look_up(list(self.tracked)[:PAGE_ITEMS])
        for counter, item in found.items():
            self._judge(counter, self.tracked.pop(counter), item, may_correct)
        self.items += len(found)
        if not self.tracked:
            self._begin(Phase.REPAIR)

    def _judge(
        self, counter: CounterKey, tracked: TrackedCounter, item: Item, may_correct: Callable[[CounterKey], bool]
    ) -> None:
        """Decide what a pass has shown of a counter. `item` is its item at the end of the pass."""
        revision, amounts = _parse(counter.table, item)
        wrong = tracked.wrong
        tracked.looks += 1
        if revision != tracked.revision:
            self._look_again(counter, tracked, LOOKS_MAX if tracked.suspected else MOVING_LOOKS_MAX)
        elif not wrong:
            self.figures["repaired"] += tracked.reported
        elif wrong != tracked.suspected:
            tracked.suspected = wrong
            self._look_again(counter, tracked, LOOKS_MAX)
        elif self.unreadable:
            self._look_again(counter, tracked, 0)
        else:
            repair = self._report(counter, tracked, amounts)
            if self.repair and not may_correct(counter):
                self.figures["held"] += not tracked.reported
            elif self.repair and tracked.looks < LOOKS_MAX:
                self.repairs.append(repair)
                self.suspects[counter] = tracked
                tracked.looks, tracked.reported = tracked.looks if tracked.reported else 0, True

    def _look_again(self, counter: CounterKey, tracked: TrackedCounter, looks_max: int) -> None:
        if tracked.looks < looks_max:
            self.suspects[counter] = tracked
        elif not tracked.reported:
            self.figures["unverified"] += 1
            self.unverified.add(_to_json(counter))

    def _report(self, counter: CounterKey, tracked: TrackedCounter, amounts: Amounts) -> Repair:
        """Report drift, if that was not done yet, and return its repair."""
        stored: dict[str, int | str] = {}
        expected = {}
        for wrong in sorted(tracked.wrong):  # A damaged attribute comes after its amount.
            name, _, text = wrong.partition("\0")
            stored[name] = text or amounts.get(name, 0)
            expected[name] = amounts.get(name, 0) - tracked.residual.get(name, 0)
        if not tracked.reported:
            self.figures["drifted"] += 1
            self.figures["checked"] += not amounts  # It has no item, so the first pass has not counted it.
            self.products.add([counter])
            self.sample.add({**_to_json(counter), "stored": stored, "expected": expected, "orders": tracked.orders})
        return Repair(counter, tracked.revision, expected)

    def _repair(self) -> Steps[None]:
        """Repair what has drifted, then begin the next pass. It finds again what has moved and was not repaired."""
        now = yield Sleep()
        while self.repairs:
            yield self.repairs[0].update(now)
            del self.repairs[0]
            yield Checkpoint()
        flagged = self.checksums.flagged(len(self.checksums.sums))
        if self.suspects or flagged:
            yield Sleep(PAUSE_SECONDS)
        self.end = 0 if self.suspects or not flagged else flagged[-1] + 1
        self.number += 1
        self._begin(Phase.READ if self.suspects or flagged else Phase.DONE)


def _look_up(counters: list[CounterKey]) -> Steps[dict[CounterKey, Item]]:
    """Return the items of these counters. An item that does not exist is empty."""
    found: dict[CounterKey, Item] = {}
    for table in VIEWS:
        keys = [counter.key for counter in counters if counter.table == table]
        items = (yield BatchGet(table, keys)) if keys else {}
        found |= {CounterKey(table, key): items.get(key, {}) for key in keys}
    return found


def _parse(table: str, item: Item) -> tuple[str, Amounts]:
    """Return the revision of a counter, "" if it is missing or not a number, and its amounts."""
    revision = ""
    amounts: Amounts = {}
    for name, value in item.items():
        text = value.get("N", "not a number")
        if name == REVISION and "N" in value:
            revision = text
        elif text.lstrip("-").isdigit():
            amounts[name] = int(text)
        elif name not in (*VIEWS[table].key, VIEWS[table].stamp):
            amounts[f"{name}\0{text}"] = 1
    return revision, amounts


def _to_json(counter: CounterKey) -> dict[str, Any]:
    return {"table": counter.table, "product": product_of(counter), "key": list(counter.key)}


def _bytes(counter: CounterKey, tracked: TrackedCounter) -> int:
    """Return about how many bytes of a cursor's JSON a counter takes."""
    return _COUNTER_BYTES + sum(len(value.encode()) for value in counter.key) + _AMOUNT_BYTES * len(tracked.residual)
