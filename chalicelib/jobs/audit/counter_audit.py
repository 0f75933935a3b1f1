"""An audit's second proof: every counter is the sum of what the ledger's entries have contributed to it.

The laws, which tests/unit/test_audit_counters.py walks:

1. A pass reads counters, then the whole ledger, then the counters again, consistently. Every transaction that
   changes what any order contributes to a counter raises the counter's revision. So where that is the same
   before and after, nothing has moved in between, and what the ledger sums up to is what the counter should be.
2. A counter that has moved is looked at again in another pass, and in the end it is `unsettled`, never drift.
3. A sum that is wrong is drift only if it is wrong by the same amounts in two passes: of a transaction that is
   just being carried out, a reader may see a part (Developer Guide, "Isolation levels").
4. Drift is mended, where that is asked for, on the condition that the counter has not moved since, and then looked
   at again in another pass. A counter that an order in flight is still to change is `held` and not mended.
   The ledger that it would be mended from may lack what the counter has.
5. What is held in memory is bounded. Counters that are too many to be held one by one are first put through a sieve
   (checksums.py), which takes one pass. If those that it does not let through are still too many, they are
   parted by a hash of their keys into slices, each with passes of its own.

The first pass of a slice takes all its counters, those that stand in the tables and those to which entries
contribute; each further pass takes only those that are still open. Contributions to a table without a view
(law 6 in ledger.py) have no counters here, and are counted as `retired`.

What an unreadable entry has contributed is not known. As long as the ledger has one, a counter that is not the sum
of the other entries is `unsettled`, and is not mended.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast

from chalicelib import effects, stream_lag, tables, timestamps, views
from chalicelib.counting import ledger
from chalicelib.counting.ledger import Entry, Status
from chalicelib.counting.transactions import REVISION
from chalicelib.effects import Asking, Checkpoint, Correction, Lookup, Pause, Scan
from chalicelib.jobs import shapes
from chalicelib.jobs.audit import checksums
from chalicelib.jobs.audit.checksums import Screen, bucket, hash_of
from chalicelib.jobs.audit.findings import FINDINGS, Products, Shown, product
from chalicelib.orders import Item
from chalicelib.views import Counter

PAGE_ITEMS = 1000
"""How many items are held in memory at a time."""

# Of what is held of a slice's counters, about as it stands in the cursor, which is part of a request of at most
# 6 MB (Lambda quotas, synchronous): some 20,000 counters.
HELD_MAX_BYTES = 2_000_000
_COUNTER_BYTES = 40  # Of what is held of one besides its key and its numbers.
_NUMBER_BYTES = 14

MOVED_PASSES_MAX = 3
"""After how many passes in which it moved a counter is unsettled."""
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
Amounts = dict[str, Number]

# An item of TrendTable that is none of its counters.
NO_COUNTER = Counter(tables.TREND, effects.key_of(tables.TREND, stream_lag.KEY))


class Stage(StrEnum):
    """What a pass is doing."""

    SCREEN_READ = "screen read"
    SCREEN_SUM = "screen sum"
    SCREEN_CHECK = "screen check"
    READ = "read"
    SUM = "sum"
    CHECK = "check"
    CORRECT = "correct"
    DONE = "done"


_FIGURES = ("checked", "drifted", "mended", "held", "unsettled", "retired")

_SCREEN_STAGES = {Stage.SCREEN_READ, Stage.SCREEN_SUM, Stage.SCREEN_CHECK}


@dataclass
class Held:
    """What is held of a counter."""

    revision: str = ""  # As the pass has first read it; "" if there was no such item.
    rest: Amounts = field(default_factory=dict)  # Stored, minus what the entries contribute.
    doubt: Amounts | None = None  # The rest that a pass before this one has ended with, if that was a sum.
    passes: int = 0  # In which it has been looked at.
    counted: bool = False  # As drift, already.
    orders: int = 0  # That contribute to it; counted where there is a doubt.
    some_orders: list[str] = field(default_factory=list)
    first: Amounts = field(default_factory=dict)  # Stored, as a further pass has first read it.

    def to_list(self) -> list[Any]:
        """As a cursor holds it."""
        doubt = None if self.doubt is None else _texts(self.doubt)
        numbers = [_texts(self.rest), doubt, _texts(self.first)]
        return [self.revision, *numbers, self.passes, self.counted, self.orders, self.some_orders]

    @classmethod
    def of_list(cls, held: list[Any]) -> "Held":
        """From there."""
        revision, rest, doubt, first, passes, counted, orders, some_orders = held
        numbers = _numbers(rest), None if doubt is None else _numbers(doubt)
        return cls(revision, *numbers, passes, counted, orders, some_orders, _numbers(first))


@dataclass
class Wrong:
    """A counter that is to be corrected."""

    counter: Counter
    revision: str
    expected: Mapping[str, int]


class Sums:
    """How far the second proof has come, and what it has found."""

    def __init__(self, repair: bool, may_correct: Callable[[Counter], bool], products: Products) -> None:
        """`may_correct` tells whether a repair may mend a counter that has drifted."""
        self.figures = dict.fromkeys(_FIGURES, 0)
        self.shown = Shown()
        self.unsettled = Shown()
        self.stage = Stage.READ
        self.number = 1  # Of the pass.
        self.items = 0  # Read in the current stage.
        self._repair = repair
        self._may_correct = may_correct
        self._products = products
        self._slices = [(1, 0)]  # Modulus and remainder of the hashes; the first one is under way.
        self._slices_done = 0
        self._table = 0  # Which view's table is being read, in the first pass.
        self._start: effects.Key | None = None
        self._held: dict[Counter, Held] = {}
        self._open: dict[Counter, Held] = {}  # To be looked at in the next pass.
        self._wrong: list[Wrong] = []
        self._bytes = 0  # Of what is held, in the first pass.
        self._unreadable = 0  # Entries, of those that this pass has summed up.
        self._screen: Screen | None = None
        self._buckets: set[int] | None = None  # Those that the sieve has not let through, if there was need of one.

    @property
    def drift(self) -> int:
        """How many counters are wrong and not mended."""
        return self.figures["drifted"] - self.figures["mended"]

    @property
    def slice_of(self) -> tuple[int, int]:
        """The number of the slice under way, from 1, and of how many as far as is known."""
        return self._slices_done + 1, self._slices_done + len(self._slices)

    # --- State, as a cursor holds it -------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the rest of the proof depends on."""
        return {
            "figures": self.figures,
            "shown": self.shown.findings,
            "unsettled": self.unsettled.findings,
            "stage": self.stage.value,
            "number": self.number,
            "items": self.items,
            "slices": self._slices,
            "slicesDone": self._slices_done,
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
        self.shown = Shown(state["shown"])
        self.unsettled = Shown(state["unsettled"])
        self.stage = Stage(state["stage"])
        self.number = state["number"]
        self.items = state["items"]
        self._slices = [(modulus, remainder) for modulus, remainder in state["slices"]]
        self._slices_done = state["slicesDone"]
        self._table = state["table"]
        self._start = None if state["start"] is None else tuple(state["start"])
        self._held = _of_rows(state["held"])
        self._open = _of_rows(state["open"])
        self._wrong = [Wrong(_counter(counter), revision, amounts) for counter, revision, amounts in state["wrong"]]
        self._bytes = state["bytes"]
        self._unreadable = state["unreadable"]
        self._screen = None if state["screen"] is None else Screen.of_state(state["screen"])
        self._buckets = None if state["buckets"] is None else set(state["buckets"])

    # --- Steps -----------------------------------------------------------------------------------

    def steps(self) -> Asking[None]:
        """Pass after pass, slice after slice."""
        stages = {
            Stage.SCREEN_READ: self._screen_read,
            Stage.SCREEN_SUM: self._screen_sum,
            Stage.SCREEN_CHECK: self._screen_check,
            Stage.READ: self._read,
            Stage.SUM: self._sum,
            Stage.CHECK: self._check,
            Stage.CORRECT: self._correct,
        }
        while self.stage is not Stage.DONE:
            yield from stages[self.stage]()
            yield Checkpoint()

    def _read(self) -> Asking[None]:
        if self.number == 1:
            yield from self._read_page()
        else:
            yield from self._read_open()

    def _read_page(self) -> Asking[None]:
        """Of a view's table, in the first pass."""
        for counter, item in (yield from self._page_of_counters()):
            if self._is_in_slice(counter):
                self._hold(counter, Held(_revision(item), _amounts(counter.table, item)))
        self._after_counters(Stage.SUM)

    def _page_of_counters(self) -> Asking[list[tuple[Counter, Item]]]:
        """The next page of all counters."""
        view = list(views.VIEWS.values())[self._table]
        page = yield Scan(view.table, self._start, PAGE_ITEMS)
        self.items += len(page.items)
        self._start = page.last
        self._table += page.last is None
        counters = [(Counter(view.table, effects.key_of(view.table, item)), item) for item in page.items]
        return [(counter, item) for counter, item in counters if counter != NO_COUNTER]

    def _after_counters(self, following: Stage) -> None:
        """Goes on to the next stage if that was the last page, or to the sieve if they are too many."""
        if self._needs_screen():
            self._begin_screen()
        elif self._table == len(views.VIEWS):
            self._begin(following)

    def _read_open(self) -> Asking[None]:
        """What is open, in a further pass."""
        counters = list(self._open)[:PAGE_ITEMS]
        there = yield from _look_up(counters)
        for counter in counters:
            held = self._open.pop(counter)
            item = there.get(counter, {})
            amounts = _amounts(counter.table, item)
            self._held[counter] = Held(
                _revision(item), amounts, held.doubt, held.passes, held.counted, first=dict(amounts)
            )
        self.items += len(counters)
        if not self._open:
            self._begin(Stage.SUM)

    def _sum(self) -> Asking[None]:
        for entry in (yield from self._page_of_entries()):
            self._subtract(entry)
        if self._needs_screen():
            self._begin_screen()
        elif self._start is None:
            self._begin(Stage.CHECK)

    def _page_of_entries(self) -> Asking[list[Entry]]:
        page = yield Scan(tables.LEDGER, self._start, PAGE_ITEMS)
        self.items += len(page.items)
        self._start = page.last
        return [ledger.entry(item["OrderID"]["S"], item) for item in page.items]

    def _subtract(self, entry: Entry) -> None:
        self._unreadable += entry.status is Status.UNREADABLE
        for counter, amounts in entry.contributions.items():
            if counter.table not in views.VIEWS:
                self.figures["retired"] += self.number == 1 and self._slices_done == 0 and self._buckets is None
                continue
            held = self._held.get(counter)
            if held is None:
                if self.number > 1 or not self._is_in_slice(counter):
                    continue
                held = self._hold(counter, Held())
            for name, amount in amounts.items():
                if name not in held.rest:
                    self._bytes += _NUMBER_BYTES
                held.rest[name] = held.rest.get(name, 0) - amount
            if held.doubt is not None:
                held.orders += 1
                if len(held.some_orders) < _ORDERS_SHOWN:
                    held.some_orders.append(entry.order_id)

    def _check(self) -> Asking[None]:
        counters = list(self._held)[:PAGE_ITEMS]
        there = yield from _look_up(counters)
        for counter in counters:
            self._judge(counter, self._held.pop(counter), there.get(counter, {}))
        self.items += len(counters)
        if not self._held:
            self._begin(Stage.CORRECT)

    def _judge(self, counter: Counter, held: Held, item: Item) -> None:
        """Laws 1 to 3, for a counter whose pass ends with this item."""
        held.passes += 1
        wrong = {name: rest for name, rest in held.rest.items() if rest}
        stored = _amounts(counter.table, item)
        if _revision(item) != held.revision:
            self._look_again(counter, held, None, stored, MOVED_PASSES_MAX)
        elif not wrong:
            self.figures["checked"] += not held.counted
            self.figures["mended"] += held.counted
        elif wrong != held.doubt:
            self._look_again(counter, held, wrong, stored, PASSES_MAX)
        elif self._unreadable:
            self._note_unsettled(counter, held, stored)
        else:
            self._note_drift(counter, held, wrong, stored)

    def _look_again(
        self, counter: Counter, held: Held, doubt: Amounts | None, stored: Amounts, passes_max: int
    ) -> None:
        if held.passes < passes_max:
            self._open[counter] = Held(doubt=doubt or held.doubt, passes=held.passes, counted=held.counted)
        else:
            self._note_unsettled(counter, held, stored)

    def _note_unsettled(self, counter: Counter, held: Held, stored: Amounts) -> None:
        if not held.counted:
            self.figures["unsettled"] += 1
            self.unsettled.add({**_name(counter), "between": _between(held, stored)})

    def _note_drift(self, counter: Counter, held: Held, wrong: Amounts, stored: Amounts) -> None:
        expected = {name: int(stored.get(name, 0) - rest) for name, rest in wrong.items()}
        if not held.counted:
            self.figures["checked"] += 1
            self.figures["drifted"] += 1
            self._products.add([counter])
            self.shown.add(
                {
                    **_name(counter),
                    "stored": {name: _json(stored.get(name, 0)) for name in wrong},
                    "expected": expected,
                    "difference": {name: _json(rest) for name, rest in wrong.items()},
                    "orders": {"count": held.orders, "some": held.some_orders},
                }
            )
        if self._repair and not self._may_correct(counter):
            self.figures["held"] += not held.counted
        elif self._repair and held.passes < PASSES_MAX:
            self._wrong.append(Wrong(counter, held.revision, expected))
            self._open[counter] = Held(doubt=wrong, passes=0 if not held.counted else held.passes, counted=True)

    def _correct(self) -> Asking[None]:
        """Law 4; and then the next pass, the next slice, or the end."""
        now = yield Pause()
        while self._wrong:
            yield correction(self._wrong[0], now)  # If it has moved, the next pass will show the same again.
            self._wrong.pop(0)
            yield Checkpoint()
        if self._open:
            yield Pause(PAUSE_SECONDS)
            self.number += 1
            self._begin(Stage.READ)
            return
        self._slices.pop(0)
        self._slices_done += 1
        self.number = 1
        self._table = 0
        self._bytes = 0
        self._begin(Stage.READ if self._slices else Stage.DONE)

    def _begin(self, stage: Stage) -> None:
        if stage in (Stage.SUM, Stage.SCREEN_SUM):
            self._unreadable = 0
        self.stage = stage
        self.items = 0
        self._start = None

    # --- The sieve -------------------------------------------------------------------------------

    def _needs_screen(self) -> bool:
        return self._buckets is None and self.number == 1 and self._bytes > HELD_MAX_BYTES

    def _begin_screen(self) -> None:
        self._screen = Screen()
        self._held = {}
        self._bytes = 0
        self._table = 0
        self.figures["retired"] = 0
        self._begin(Stage.SCREEN_READ)

    def _screen_read(self) -> Asking[None]:
        screen = cast(Screen, self._screen)
        for counter, item in (yield from self._page_of_counters()):
            screen.add(counter, _amounts(counter.table, item), 1)
            screen.begin(counter, _revision_number(item))
        if self._table == len(views.VIEWS):
            self._begin(Stage.SCREEN_SUM)

    def _screen_sum(self) -> Asking[None]:
        screen = cast(Screen, self._screen)
        for entry in (yield from self._page_of_entries()):
            for counter, amounts in entry.contributions.items():
                if counter.table in views.VIEWS:
                    screen.add(counter, amounts, -1)
                else:
                    self.figures["retired"] += 1
        if self._start is None:
            self._table = 0
            self._begin(Stage.SCREEN_CHECK)

    def _screen_check(self) -> Asking[None]:
        screen = cast(Screen, self._screen)
        for counter, item in (yield from self._page_of_counters()):
            screen.end(counter, _revision_number(item))
        if self._table == len(views.VIEWS):
            open_buckets = screen.open_buckets()
            self.figures["checked"] += screen.proven(open_buckets)
            self._buckets = set(open_buckets)
            self._screen = None
            self._table = 0
            self._begin(Stage.READ if open_buckets else Stage.DONE)

    # --- Slices ----------------------------------------------------------------------------------

    def _is_in_slice(self, counter: Counter) -> bool:
        if self._buckets is not None and bucket(counter) not in self._buckets:
            return False
        modulus, remainder = self._slices[0]
        return modulus == 1 or hash_of(counter) % modulus == remainder

    def _hold(self, counter: Counter, held: Held) -> Held:
        self._held[counter] = held
        self._bytes += _bytes(counter, held)
        if self._buckets is None:  # There is still the sieve.
            return held
        while self._bytes > HELD_MAX_BYTES and len(self._held) > 1:
            self._halve()
        return held

    def _halve(self) -> None:
        """Law 5: leaves the half of the slice for later."""
        modulus, remainder = self._slices[0]
        self._slices[0] = (2 * modulus, remainder)
        self._slices.append((2 * modulus, modulus + remainder))
        self._held = {counter: held for counter, held in self._held.items() if self._is_in_slice(counter)}
        self._bytes = sum(_bytes(counter, held) for counter, held in self._held.items())


# --- The shape of the state ----------------------------------------------------------------------


def _is_counter(value: Any) -> bool:
    is_row = shapes.row(shapes.one_of(*views.VIEWS), shapes.array(shapes.text))
    return is_row(value) and shapes.key_of(value[0])(value[1])


def _is_bucket(value: Any) -> bool:
    return shapes.whole(largest=checksums.BUCKETS - 1)(value)


def _fits(state: dict[str, Any]) -> bool:
    """Return whether the parts of a state fit together."""
    stage, table = state["stage"], state["table"]
    names = list(views.VIEWS)
    reads_views = stage in (Stage.SCREEN_READ, Stage.SCREEN_CHECK) or (stage == Stage.READ and state["number"] == 1)
    reads_ledger = stage in (Stage.SUM, Stage.SCREEN_SUM)
    if table > len(names) or (reads_views and table == len(names)):
        return False
    read = names[table] if reads_views else tables.LEDGER if reads_ledger else None
    return (
        (state["start"] is None or (read is not None and shapes.key_of(read)(state["start"])))
        and (state["screen"] is not None) == (stage in _SCREEN_STAGES)
        and (bool(state["slices"]) or stage == Stage.DONE)
        and all(remainder < modulus for modulus, remainder in state["slices"])
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
            "unsettled": FINDINGS,
            "stage": shapes.one_of(*Stage),
            "number": shapes.whole(1),
            "items": shapes.whole(),
            "slices": shapes.array(shapes.row(shapes.whole(1), shapes.whole())),
            "slicesDone": shapes.whole(),
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
"""The shape of `Sums.state`."""


# --- The correction ------------------------------------------------------------------------------


def correction(wrong: Wrong, now: int) -> Correction:
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
    return Correction(
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


# How a correction makes sure that a counter without a readable revision has not moved.
_UNMOVED: Mapping[str, tuple[str, dict[str, Any]]] = {
    _NO_REVISION: ("attribute_not_exists(#revision)", {}),
    _BAD_REVISION: (
        "attribute_exists(#revision) AND NOT attribute_type(#revision, :number)",
        {":number": {"S": "N"}},
    ),
}
_REVISION_MAX_DIGITS = 30  # DynamoDB's numbers have 38.


def _look_up(counters: list[Counter]) -> Asking[dict[Counter, Item]]:
    """The items of these counters; those that are not there are left out."""
    there: dict[Counter, Item] = {}
    for table in views.VIEWS:
        keys = [counter.key for counter in counters if counter.table == table]
        if keys:
            items = yield Lookup(table, keys)
            there.update((Counter(table, key), item) for key, item in items.items())
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


def _amounts(table: str, item: Item) -> Amounts:
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
    return number if isinstance(number, int) else str(number)


def _between(held: Held, stored: Amounts) -> dict[str, list[int | str]]:
    """By what each amount of a counter that has moved is wrong, at the least and at the most.

    That is so if orders have only been added meanwhile. Then the ledger's sum, made little by little, is at least
    that of the counter as it was first read, and at most that of the counter as it is `stored` at last.
    """
    between = {}
    for name in {**held.rest, **stored}:
        rest = held.rest.get(name, 0)
        moved = stored.get(name, 0) - held.first.get(name, 0)
        low, high = sorted([rest, rest + moved])
        between[name] = [_json(low), _json(high)]
    return between


def _name(counter: Counter) -> dict[str, Any]:
    return {"table": counter.table, "product": product(counter), "key": list(counter.key)}


def _bytes(counter: Counter, held: Held) -> int:
    return _COUNTER_BYTES + sum(len(value.encode()) for value in counter.key) + _NUMBER_BYTES * len(held.rest)


def _texts(amounts: Amounts) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


def _numbers(texts: Mapping[str, str]) -> Amounts:
    return {name: _number({"N": text}) for name, text in texts.items()}


def _rows(held: Mapping[Counter, Held]) -> list[Any]:
    return [[counter, each.to_list()] for counter, each in held.items()]


def _of_rows(rows: list[Any]) -> dict[Counter, Held]:
    return {_counter(counter): Held.of_list(held) for counter, held in rows}


def _counter(row: Any) -> Counter:
    table, key = row
    return Counter(table, tuple(key))
