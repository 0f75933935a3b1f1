"""An audit's second proof: every counter is the sum of what the ledger's entries have contributed to it.

The laws, which tests/unit/test_audit_counters.py walks:

1. A pass reads counters, then the whole ledger, then the counters again, consistently. Every transaction that
   changes what any order contributes to a counter raises the counter's revision. So where that is the same
   before and after, nothing has moved in between, and what the ledger sums up to is what the counter should be.
2. A counter that has moved is looked at again in another pass, and in the end it is `unverified`, never drift.
3. A sum that is wrong is drift only if it is wrong by the same amounts in two passes: of a transaction that is
   just being carried out, a reader may see a part (Developer Guide, "Isolation levels").
4. Drift is repaired, where that is asked for, on the condition that the counter has not moved since, and then looked
   at again in another pass. A counter that an order in flight is still to change is `held` and not repaired.
   The ledger that it would be repaired from may lack what the counter has.
5. What is held in memory is bounded. Counters that are too many to be held one by one are first put through a sieve
   (checksums.py), which takes one pass. If those that it does not let through are still too many, they are
   parted by a hash of their keys into partitions, each with passes of its own.

The first pass of a partition takes all its counters, those that stand in the tables and those to which entries
contribute; each further pass takes only those that are still open. Contributions to a table without a view
(law 6 in ledger.py) have no counters here, and are counted as `retired`.

What an unreadable entry has contributed is not known. As long as the ledger has one, a counter that is not the sum
of the other entries is `unverified`, and is not repaired.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast

from chalicelib import effects, stream_lag, tables, timestamps, views
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Entry, Status
from chalicelib.counting.transactions import REVISION
from chalicelib.effects import BatchGet, Checkpoint, ConditionalUpdate, Scan, Sleep, Steps
from chalicelib.jobs import shapes
from chalicelib.jobs.audit import checksums
from chalicelib.jobs.audit.checksums import BucketChecksums, bucket, hash_of
from chalicelib.jobs.audit.findings import FINDINGS, AffectedProducts, FindingSample, product
from chalicelib.orders import Item
from chalicelib.views import CounterKey

PAGE_ITEMS = 1000
"""How many items are held in memory at a time."""

# Of what is held of a partition's counters, about as it stands in the cursor, which is part of a request of at most
# 6 MB (Lambda quotas, synchronous): some 20,000 counters.
HELD_MAX_BYTES = 2_000_000
_COUNTER_BYTES = 40  # Of what is held of one besides its key and its numbers.
_NUMBER_BYTES = 14

MOVED_PASSES_MAX = 3
"""After how many passes in which it moved a counter is unverified."""
PASSES_MAX = 6
"""After how many passes it is in any case."""
PAUSE_SECONDS = 1
"""Between passes: much longer than a transaction takes to become visible as a whole."""

_ORDERS_SHOWN = 10

NOT_A_NUMBER = Decimal("1E-200")
"""Stands for an attribute of a counter that is not a number.

It is smaller than any number that DynamoDB stores (1E-130), so that no sum of entries can equal it.
"""
_NO_REVISION = ""  # The counter's item has none, or there is no item.
_BAD_REVISION = "?"  # It is not a number.

Number = int | Decimal
CounterAmounts = dict[str, Number]

# An item of TrendTable that is none of its counters.
NO_COUNTER = CounterKey(tables.TREND, effects.key_of(tables.TREND, stream_lag.KEY))


class Phase(StrEnum):
    """What a pass is doing."""

    SCREEN_READ = "screen read"
    SCREEN_SUM = "screen sum"
    SCREEN_CHECK = "screen check"
    READ = "read"
    SUM = "sum"
    CHECK = "check"
    CORRECT = "correct"
    DONE = "done"


_FIGURES = ("checked", "drifted", "repaired", "held", "unverified", "retired")

_CHECKSUM_PHASES = {Phase.SCREEN_READ, Phase.SCREEN_SUM, Phase.SCREEN_CHECK}


@dataclass
class TrackedCounter:
    """What is held of a counter."""

    revision: str = ""  # As the pass has first read it; "" if there was no such item.
    residual: CounterAmounts = field(default_factory=dict)  # Stored, minus what the entries contribute.
    doubt: CounterAmounts | None = None  # The residual that a pass before this one has ended with, if that was a sum.
    passes: int = 0  # In which it has been looked at.
    counted: bool = False  # As drift, already.
    orders: int = 0  # That contribute to it; counted where there is a doubt.
    some_orders: list[str] = field(default_factory=list)
    first: CounterAmounts = field(default_factory=dict)  # Stored, as a further pass has first read it.

    def to_list(self) -> list[Any]:
        """As a cursor holds it."""
        doubt = None if self.doubt is None else _texts(self.doubt)
        numbers = [_texts(self.residual), doubt, _texts(self.first)]
        return [self.revision, *numbers, self.passes, self.counted, self.orders, self.some_orders]

    @classmethod
    def of_list(cls, held: list[Any]) -> "TrackedCounter":
        """From there."""
        revision, residual, doubt, first, passes, counted, orders, some_orders = held
        numbers = _numbers(residual), None if doubt is None else _numbers(doubt)
        return cls(revision, *numbers, passes, counted, orders, some_orders, _numbers(first))


@dataclass
class Repair:
    """A counter that is to be corrected."""

    counter: CounterKey
    revision: str
    expected: Mapping[str, int]


class CounterAudit:
    """How far the second proof has come, and what it has found."""

    def __init__(self, repair: bool, may_correct: Callable[[CounterKey], bool], products: AffectedProducts) -> None:
        """`may_correct` tells whether a repair may mend a counter that has drifted."""
        self.figures = dict.fromkeys(_FIGURES, 0)
        self.shown = FindingSample()
        self.unverified = FindingSample()
        self.phase = Phase.READ
        self.number = 1  # Of the pass.
        self.items = 0  # Read in the current phase.
        self._repair = repair
        self._may_correct = may_correct
        self._products = products
        self._partitions = [(1, 0)]  # Modulus and remainder of the hashes; the first one is under way.
        self._partitions_done = 0
        self._table = 0  # Which view's table is being read, in the first pass.
        self._start: effects.Key | None = None
        self._held: dict[CounterKey, TrackedCounter] = {}
        self._open: dict[CounterKey, TrackedCounter] = {}  # To be looked at in the next pass.
        self._wrong: list[Repair] = []
        self._bytes = 0  # Of what is held, in the first pass.
        self._unreadable = 0  # Entries, of those that this pass has summed up.
        self._screen: BucketChecksums | None = None
        self._buckets: set[int] | None = None  # Those that the sieve has not let through, if there was need of one.

    @property
    def drift(self) -> int:
        """How many counters are wrong and not repaired."""
        return self.figures["drifted"] - self.figures["repaired"]

    @property
    def partition_of(self) -> tuple[int, int]:
        """The number of the partition under way, from 1, and of how many as far as is known."""
        return self._partitions_done + 1, self._partitions_done + len(self._partitions)

    # --- State, as a cursor holds it -------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the residual of the proof depends on."""
        return {
            "figures": self.figures,
            "shown": self.shown.findings,
            "unverified": self.unverified.findings,
            "phase": self.phase.value,
            "number": self.number,
            "items": self.items,
            "partitions": self._partitions,
            "partitionsDone": self._partitions_done,
            "table": self._table,
            "start": self._start,
            "held": _rows(self._held),
            "open": _rows(self._open),
            "wrong": [[wrong.counter, wrong.revision, dict(wrong.expected)] for wrong in self._wrong],
            "bytes": self._bytes,
            "unreadable": self._unreadable,
            "screen": None if self._screen is None else self._screen.state(),
            "buckets": None if self._buckets is None else sorted(self._buckets),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.figures = dict(state["figures"])
        self.shown = FindingSample(state["shown"])
        self.unverified = FindingSample(state["unverified"])
        self.phase = Phase(state["phase"])
        self.number = state["number"]
        self.items = state["items"]
        self._partitions = [(modulus, remainder) for modulus, remainder in state["partitions"]]
        self._partitions_done = state["partitionsDone"]
        self._table = state["table"]
        self._start = None if state["start"] is None else tuple(state["start"])
        self._held = _of_rows(state["held"])
        self._open = _of_rows(state["open"])
        self._wrong = [Repair(_counter(counter), revision, amounts) for counter, revision, amounts in state["wrong"]]
        self._bytes = state["bytes"]
        self._unreadable = state["unreadable"]
        self._screen = None if state["screen"] is None else BucketChecksums.of_state(state["screen"])
        self._buckets = None if state["buckets"] is None else set(state["buckets"])

    # --- Steps -----------------------------------------------------------------------------------

    def steps(self) -> Steps[None]:
        """Pass after pass, partition after partition."""
        phases = {
            Phase.SCREEN_READ: self._screen_read,
            Phase.SCREEN_SUM: self._screen_sum,
            Phase.SCREEN_CHECK: self._screen_check,
            Phase.READ: self._read,
            Phase.SUM: self._sum,
            Phase.CHECK: self._check,
            Phase.CORRECT: self._correct,
        }
        while self.phase is not Phase.DONE:
            yield from phases[self.phase]()
            yield Checkpoint()

    def _read(self) -> Steps[None]:
        if self.number == 1:
            yield from self._read_page()
        else:
            yield from self._read_open()

    def _read_page(self) -> Steps[None]:
        """Of a view's table, in the first pass."""
        for counter, item in (yield from self._page_of_counters()):
            if self._is_in_partition(counter):
                self._hold(counter, TrackedCounter(_revision(item), _amounts(counter.table, item)))
        self._after_counters(Phase.SUM)

    def _page_of_counters(self) -> Steps[list[tuple[CounterKey, Item]]]:
        """The next page of all counters."""
        view = list(views.VIEWS.values())[self._table]
        page = yield Scan(view.table, self._start, PAGE_ITEMS)
        self.items += len(page.items)
        self._start = page.last
        self._table += page.last is None
        counters = [(CounterKey(view.table, effects.key_of(view.table, item)), item) for item in page.items]
        return [(counter, item) for counter, item in counters if counter != NO_COUNTER]

    def _after_counters(self, following: Phase) -> None:
        """Goes on to the next phase if that was the last page, or to the sieve if they are too many."""
        if self._needs_screen():
            self._begin_screen()
        elif self._table == len(views.VIEWS):
            self._begin(following)

    def _read_open(self) -> Steps[None]:
        """What is open, in a further pass."""
        counters = list(self._open)[:PAGE_ITEMS]
        there = yield from _look_up(counters)
        for counter in counters:
            held = self._open.pop(counter)
            item = there.get(counter, {})
            amounts = _amounts(counter.table, item)
            self._held[counter] = TrackedCounter(
                _revision(item), amounts, held.doubt, held.passes, held.counted, first=dict(amounts)
            )
        self.items += len(counters)
        if not self._open:
            self._begin(Phase.SUM)

    def _sum(self) -> Steps[None]:
        for entry in (yield from self._page_of_entries()):
            self._subtract(entry)
        if self._needs_screen():
            self._begin_screen()
        elif self._start is None:
            self._begin(Phase.CHECK)

    def _page_of_entries(self) -> Steps[list[Entry]]:
        page = yield Scan(tables.LEDGER, self._start, PAGE_ITEMS)
        self.items += len(page.items)
        self._start = page.last
        return [entry_item.from_item(item["OrderID"]["S"], item) for item in page.items]

    def _subtract(self, entry: Entry) -> None:
        self._unreadable += entry.status is Status.UNREADABLE
        for counter, amounts in entry.contributions.items():
            if counter.table not in views.VIEWS:
                self.figures["retired"] += self.number == 1 and self._partitions_done == 0 and self._buckets is None
                continue
            held = self._held.get(counter)
            if held is None:
                if self.number > 1 or not self._is_in_partition(counter):
                    continue
                held = self._hold(counter, TrackedCounter())
            for name, amount in amounts.items():
                if name not in held.residual:
                    self._bytes += _NUMBER_BYTES
                held.residual[name] = held.residual.get(name, 0) - amount
            if held.doubt is not None:
                held.orders += 1
                if len(held.some_orders) < _ORDERS_SHOWN:
                    held.some_orders.append(entry.order_id)

    def _check(self) -> Steps[None]:
        counters = list(self._held)[:PAGE_ITEMS]
        there = yield from _look_up(counters)
        for counter in counters:
            self._judge(counter, self._held.pop(counter), there.get(counter, {}))
        self.items += len(counters)
        if not self._held:
            self._begin(Phase.CORRECT)

    def _judge(self, counter: CounterKey, held: TrackedCounter, item: Item) -> None:
        """Laws 1 to 3, for a counter whose pass ends with this item."""
        held.passes += 1
        wrong = {name: residual for name, residual in held.residual.items() if residual}
        stored = _amounts(counter.table, item)
        if _revision(item) != held.revision:
            self._look_again(counter, held, None, stored, MOVED_PASSES_MAX)
        elif not wrong:
            self.figures["checked"] += not held.counted
            self.figures["repaired"] += held.counted
        elif wrong != held.doubt:
            self._look_again(counter, held, wrong, stored, PASSES_MAX)
        elif self._unreadable:
            self._note_unsettled(counter, held, stored)
        else:
            self._note_drift(counter, held, wrong, stored)

    def _look_again(
        self,
        counter: CounterKey,
        held: TrackedCounter,
        doubt: CounterAmounts | None,
        stored: CounterAmounts,
        passes_max: int,
    ) -> None:
        if held.passes < passes_max:
            self._open[counter] = TrackedCounter(doubt=doubt or held.doubt, passes=held.passes, counted=held.counted)
        else:
            self._note_unsettled(counter, held, stored)

    def _note_unsettled(self, counter: CounterKey, held: TrackedCounter, stored: CounterAmounts) -> None:
        if not held.counted:
            self.figures["unverified"] += 1
            self.unverified.add({**_name(counter), "between": _between(held, stored)})

    def _note_drift(
        self, counter: CounterKey, held: TrackedCounter, wrong: CounterAmounts, stored: CounterAmounts
    ) -> None:
        expected = {name: int(stored.get(name, 0) - residual) for name, residual in wrong.items()}
        if not held.counted:
            self.figures["checked"] += 1
            self.figures["drifted"] += 1
            self._products.add([counter])
            self.shown.add(
                {
                    **_name(counter),
                    "stored": {name: _json(stored.get(name, 0)) for name in wrong},
                    "expected": expected,
                    "difference": {name: _json(residual) for name, residual in wrong.items()},
                    "orders": {"count": held.orders, "some": held.some_orders},
                }
            )
        if self._repair and not self._may_correct(counter):
            self.figures["held"] += not held.counted
        elif self._repair and held.passes < PASSES_MAX:
            self._wrong.append(Repair(counter, held.revision, expected))
            self._open[counter] = TrackedCounter(
                doubt=wrong, passes=0 if not held.counted else held.passes, counted=True
            )

    def _correct(self) -> Steps[None]:
        """Law 4; and then the next pass, the next partition, or the end."""
        now = yield Sleep()
        while self._wrong:
            yield conditional_update(self._wrong[0], now)  # If it has moved, the next pass will show the same again.
            self._wrong.pop(0)
            yield Checkpoint()
        if self._open:
            yield Sleep(PAUSE_SECONDS)
            self.number += 1
            self._begin(Phase.READ)
            return
        self._partitions.pop(0)
        self._partitions_done += 1
        self.number = 1
        self._table = 0
        self._bytes = 0
        self._begin(Phase.READ if self._partitions else Phase.DONE)

    def _begin(self, phase: Phase) -> None:
        if phase in (Phase.SUM, Phase.SCREEN_SUM):
            self._unreadable = 0
        self.phase = phase
        self.items = 0
        self._start = None

    # --- The sieve -------------------------------------------------------------------------------

    def _needs_screen(self) -> bool:
        return self._buckets is None and self.number == 1 and self._bytes > HELD_MAX_BYTES

    def _begin_screen(self) -> None:
        self._screen = BucketChecksums()
        self._held = {}
        self._bytes = 0
        self._table = 0
        self.figures["retired"] = 0
        self._begin(Phase.SCREEN_READ)

    def _screen_read(self) -> Steps[None]:
        screen = cast(BucketChecksums, self._screen)
        for counter, item in (yield from self._page_of_counters()):
            screen.add(counter, _amounts(counter.table, item), 1)
            screen.begin(counter, _revision_number(item))
        if self._table == len(views.VIEWS):
            self._begin(Phase.SCREEN_SUM)

    def _screen_sum(self) -> Steps[None]:
        screen = cast(BucketChecksums, self._screen)
        for entry in (yield from self._page_of_entries()):
            for counter, amounts in entry.contributions.items():
                if counter.table in views.VIEWS:
                    screen.add(counter, amounts, -1)
                else:
                    self.figures["retired"] += 1
        if self._start is None:
            self._table = 0
            self._begin(Phase.SCREEN_CHECK)

    def _screen_check(self) -> Steps[None]:
        screen = cast(BucketChecksums, self._screen)
        for counter, item in (yield from self._page_of_counters()):
            screen.end(counter, _revision_number(item))
        if self._table == len(views.VIEWS):
            open_buckets = screen.open_buckets()
            self.figures["checked"] += screen.proven(open_buckets)
            self._buckets = set(open_buckets)
            self._screen = None
            self._table = 0
            self._begin(Phase.READ if open_buckets else Phase.DONE)

    # --- Slices ----------------------------------------------------------------------------------

    def _is_in_partition(self, counter: CounterKey) -> bool:
        if self._buckets is not None and bucket(counter) not in self._buckets:
            return False
        modulus, remainder = self._partitions[0]
        return modulus == 1 or hash_of(counter) % modulus == remainder

    def _hold(self, counter: CounterKey, held: TrackedCounter) -> TrackedCounter:
        self._held[counter] = held
        self._bytes += _bytes(counter, held)
        if self._buckets is None:  # There is still the sieve.
            return held
        while self._bytes > HELD_MAX_BYTES and len(self._held) > 1:
            self._halve()
        return held

    def _halve(self) -> None:
        """Law 5: leaves the half of the partition for later."""
        modulus, remainder = self._partitions[0]
        self._partitions[0] = (2 * modulus, remainder)
        self._partitions.append((2 * modulus, modulus + remainder))
        self._held = {counter: held for counter, held in self._held.items() if self._is_in_partition(counter)}
        self._bytes = sum(_bytes(counter, held) for counter, held in self._held.items())


# --- The shape of the state ----------------------------------------------------------------------


def _is_counter(value: Any) -> bool:
    is_row = shapes.row(shapes.one_of(*views.VIEWS), shapes.array(shapes.text))
    return is_row(value) and shapes.key_of(value[0])(value[1])


def _is_bucket(value: Any) -> bool:
    return shapes.whole(largest=checksums.BUCKETS - 1)(value)


def _fits(state: dict[str, Any]) -> bool:
    """Return whether the parts of a state fit together."""
    phase, table = state["phase"], state["table"]
    names = list(views.VIEWS)
    reads_views = phase in (Phase.SCREEN_READ, Phase.SCREEN_CHECK) or (phase == Phase.READ and state["number"] == 1)
    reads_ledger = phase in (Phase.SUM, Phase.SCREEN_SUM)
    if table > len(names) or (reads_views and table == len(names)):
        return False
    read = names[table] if reads_views else tables.LEDGER if reads_ledger else None
    return (
        (state["start"] is None or (read is not None and shapes.key_of(read)(state["start"])))
        and (state["screen"] is not None) == (phase in _CHECKSUM_PHASES)
        and (bool(state["partitions"]) or phase == Phase.DONE)
        and all(remainder < modulus for modulus, remainder in state["partitions"])
    )


_NUMBERS = shapes.mapping(shapes.number)
_REVISION = shapes.either(shapes.number, shapes.one_of(_NO_REVISION, _BAD_REVISION))
_HELD = shapes.row(
    _REVISION,
    _NUMBERS,
    shapes.optional(_NUMBERS),
    _NUMBERS,
    shapes.whole(),
    shapes.flag,
    shapes.whole(),
    shapes.array(shapes.text, _ORDERS_SHOWN),
)
_ROWS = shapes.array(shapes.row(_is_counter, _HELD))
_AMOUNT_MAX = 10**38  # DynamoDB's numbers have 38 digits.
STATE = shapes.both(
    shapes.record(
        {
            "figures": shapes.record(dict.fromkeys(_FIGURES, shapes.whole())),
            "shown": FINDINGS,
            "unverified": FINDINGS,
            "phase": shapes.one_of(*Phase),
            "number": shapes.whole(1),
            "items": shapes.whole(),
            "partitions": shapes.array(shapes.row(shapes.whole(1), shapes.whole())),
            "partitionsDone": shapes.whole(),
            "table": shapes.whole(),
            "start": shapes.optional(shapes.array(shapes.text)),
            "held": _ROWS,
            "open": _ROWS,
            "wrong": shapes.array(
                shapes.row(_is_counter, _REVISION, shapes.mapping(shapes.whole(-_AMOUNT_MAX, _AMOUNT_MAX)))
            ),
            "bytes": shapes.whole(),
            "unreadable": shapes.whole(),
            "screen": shapes.optional(checksums.is_state),
            "buckets": shapes.optional(shapes.array(_is_bucket)),
        }
    ),
    _fits,
)
"""The shape of `CounterAudit.state`."""


# --- The conditional_update ------------------------------------------------------------------------------


def conditional_update(wrong: Repair, now: int) -> ConditionalUpdate:
    """The request that gives a counter the amounts that it should have, unless it has moved.

    It sets them: under that condition this is the same as to add the difference, and it also mends an
    attribute that is no number.
    """
    view = views.VIEWS[wrong.counter.table]
    names = {"#revision": REVISION}
    condition, seen = _UNMOVED.get(wrong.revision, ("#revision = :seen", {":seen": {"N": wrong.revision}}))
    values = {":next": {"N": str(_next_revision(wrong.revision, now))}, **seen}
    settings = ["#revision = :next"]
    for index, (name, amount) in enumerate(wrong.expected.items()):
        if name == REVISION:
            continue
        names[f"#{index}"] = name
        values[f":{index}"] = {"N": str(amount)}
        settings.append(f"#{index} = :{index}")
    if view.stamp:
        names["#stamp"] = view.stamp
        values[":now"] = {"S": timestamps.from_epoch(now)}
        settings.append("#stamp = :now")
    return ConditionalUpdate(
        view.table,
        {
            "Key": effects.key(view.table, wrong.counter.key),
            "UpdateExpression": f"SET {', '.join(settings)}",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        },
    )


# --- Counters as items, and as a cursor holds them -----------------------------------------------


# How a conditional_update makes sure that a counter without a readable revision has not moved.
_UNMOVED: Mapping[str, tuple[str, dict[str, Any]]] = {
    _NO_REVISION: ("attribute_not_exists(#revision)", {}),
    _BAD_REVISION: (
        "attribute_exists(#revision) AND NOT attribute_type(#revision, :number)",
        {":number": {"S": "N"}},
    ),
}
_REVISION_MAX_DIGITS = 30  # DynamoDB's numbers have 38.


def _look_up(counters: list[CounterKey]) -> Steps[dict[CounterKey, Item]]:
    """The items of these counters; those that are not there are left out."""
    there: dict[CounterKey, Item] = {}
    for table in views.VIEWS:
        keys = [counter.key for counter in counters if counter.table == table]
        if keys:
            items = yield BatchGet(table, keys)
            there.update((CounterKey(table, key), item) for key, item in items.items())
    return there


def _revision(item: Item) -> str:
    if REVISION not in item:
        return _NO_REVISION
    revision: str = item[REVISION].get("N", _BAD_REVISION)
    return revision


def _revision_number(item: Item) -> int:
    """Return the revision as a number that is another one when the revision is."""
    revision = _revision(item)
    return int(revision) if revision.isdigit() else zlib.crc32(revision.encode())


def _next_revision(revision: str, now: int) -> int:
    """Return a revision that the counter has not had; `now` is far above those that changes of it come to."""
    if revision == _NO_REVISION:
        return 1
    return int(revision) + 1 if revision.isdigit() and len(revision) <= _REVISION_MAX_DIGITS else now


def _amounts(table: str, item: Item) -> CounterAmounts:
    """Return a counter's amounts by attribute. A revision that is not a number is among them, since it is wrong too."""
    view = views.VIEWS[table]
    amounts = {name: _number(value) for name, value in item.items() if name not in (*view.key, view.stamp, REVISION)}
    if _revision(item) == _BAD_REVISION:
        amounts[REVISION] = NOT_A_NUMBER
    return amounts


def _number(value: Mapping[str, Any]) -> Number:
    """Return an attribute's number, normally an int; but somebody may have written anything into a counter."""
    text = value.get("N")
    if text is None:
        return NOT_A_NUMBER
    return int(text) if text.lstrip("-").isdigit() else Decimal(text)


def _json(number: Number) -> int | str:
    if number == NOT_A_NUMBER:
        return "not a number"
    if isinstance(number, Decimal) and number == number.to_integral_value():
        return int(number)
    return number if isinstance(number, int) else str(number)


def _between(held: TrackedCounter, stored: CounterAmounts) -> dict[str, list[int | str]]:
    """By what each amount of a counter that has moved is wrong, at the least and at the most.

    That is so if orders have only been added meanwhile. Then the ledger's sum, made little by little, is at least
    that of the counter as it was first read, and at most that of the counter as it is `stored` at last.
    """
    between = {}
    for name in {**held.residual, **stored}:
        residual = held.residual.get(name, 0)
        moved = stored.get(name, 0) - held.first.get(name, 0)
        low, high = sorted([residual, residual + moved])
        between[name] = [_json(low), _json(high)]
    return between


def _name(counter: CounterKey) -> dict[str, Any]:
    return {"table": counter.table, "product": product(counter), "key": list(counter.key)}


def _bytes(counter: CounterKey, held: TrackedCounter) -> int:
    return _COUNTER_BYTES + sum(len(value.encode()) for value in counter.key) + _NUMBER_BYTES * len(held.residual)


def _texts(amounts: CounterAmounts) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


def _numbers(texts: Mapping[str, str]) -> CounterAmounts:
    return {name: _number({"N": text}) for name, text in texts.items()}


def _rows(held: Mapping[CounterKey, TrackedCounter]) -> list[Any]:
    return [[counter, each.to_list()] for counter, each in held.items()]


def _of_rows(rows: list[Any]) -> dict[CounterKey, TrackedCounter]:
    return {_counter(counter): TrackedCounter.of_list(held) for counter, held in rows}


def _counter(row: Any) -> CounterKey:
    table, key = row
    return CounterKey(table, tuple(key))
