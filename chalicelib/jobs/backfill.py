"""The backfill: read all of OrdersTable and reconcile each order's ledger entry with its item.

It counts orders that are older than the stream, changes lost in an outage, and contributions to a new view. It can
run during live traffic. `ledger.reconcile` decides what an entry should be.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib import completeness, effects, tables
from chalicelib.counting import ledger
from chalicelib.counting.committer import Committer
from chalicelib.counting.ledger import Entry, Status
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs import invocation, reads
from chalicelib.jobs.invocation import Option
from chalicelib.jobs.state import require
from chalicelib.orders import Item

JOB = "backfill"

PAGE_ORDERS = 10_000
"""The most orders in a page. A larger page puts more orders of a product into one transaction.

A Scan returns at most 1 MB, which is about 9,000 orders.
"""

SEGMENTS_MAX = 1000  # DynamoDB accepts a million, but each segment needs a separate invocation.
OPTIONS = {
    "seconds": invocation.SECONDS,
    "segment": Option(0, "a whole number from 0, below segments", 0, SEGMENTS_MAX - 1),
    "segments": Option(1, f"a whole number from 1 to {SEGMENTS_MAX}", 1, SEGMENTS_MAX),
}

_SHOWN = 20
"""How many orders a response names for each kind of problem."""


@dataclass
class _Position:
    """The state in a backfill's cursor."""

    start: effects.Key | None
    segment: int
    segments: int

    def __post_init__(self) -> None:
        require(self.start is None or len(self.start) == 1)
        require(self.segment < self.segments <= SEGMENTS_MAX)


@dataclass
class Backfill:
    """The progress of a backfill of OrdersTable or of one of its segments."""

    seconds: int = invocation.SECONDS_MAX
    segment: int = 0
    segments: int = 1
    start: effects.Key | None = None  # The key after which the next page starts.
    done: bool = False
    orders: int = 0  # The orders that this invocation has read.
    changed: int = 0  # The orders whose entry this invocation has changed.
    rejected: int = 0  # The invalid orders that this invocation has read.
    uncountable: dict[str, str] = field(default_factory=dict)  # For each order set apart, the reason.
    view_problems: int = 0  # The orders, among those read, that a view failed to count.
    view_problem_orders: dict[str, Mapping[str, str]] = field(default_factory=dict)  # For some of them, what is wrong.

    def steps(self) -> Steps[None]:
        """Read the orders page by page and reconcile each page."""
        while not self.done:
            # An eventually consistent Scan costs half. `_match` reads mismatches again, consistently.
            page = yield Scan(tables.ORDERS, self.start, PAGE_ORDERS, False, self.segment, self.segments)
            yield from self._match({item["OrderID"]["S"]: item for item in page.items})
            if page.last is None:
                yield from completeness.note_segment(self.segment, self.segments)
            self.orders += len(page.items)
            self.start = page.last
            self.done = page.last is None
            yield Checkpoint()

    def _match(self, items: Mapping[str, Item]) -> Steps[None]:
        """Reconcile the ledger entries of these orders with their items."""
        entries = yield from reads.read_entries(list(items), consistent=False)
        now = yield Sleep()
        open_orders = mismatched(entries, items, now)
        problems = {id: each for id, each in entries.items() if each.problems and id not in set(open_orders)}
        rejected = [id for id, entry in problems.items() if entry.status is Status.REJECTED]
        self._note(rejected, {id: problems[id].problems for id in problems.keys() - set(rejected)})
        while open_orders:
            entries = yield from reads.read_entries(open_orders)  # Before the items, as `reconciliation` requires.
            current = yield from reads.read_orders(open_orders)
            work = reconciliation(entries.values(), current, now)
            yield from work.steps()
            self.changed += work.counts.applied
            self.uncountable.update(work.set_apart)
            self._note(work.counts.rejected, work.counts.view_problems)
            open_orders = work.stale

    def _note(self, rejected: Collection[str], view_problems: Mapping[str, Mapping[str, str]]) -> None:
        self.rejected += len(rejected)
        self.view_problems += len(view_problems)
        self.view_problem_orders.update(list(view_problems.items())[: _SHOWN - len(self.view_problem_orders)])

    def to_json(self, requests: int) -> dict[str, Any]:
        """Return the job's response. `requests` is the number of DynamoDB requests that this invocation made.

        The counts are those of this invocation. Orders that are not counted are named with the reasons, some of each
        kind. `cursor` is for the next invocation, and null at the end.
        """
        position = _Position(self.start, self.segment, self.segments)
        return {
            "done": self.done,
            "cursor": None if self.done else invocation.cursor(JOB, position),
            "orders": self.orders,
            "changed": self.changed,
            "rejected": self.rejected,
            "uncountable": len(self.uncountable),
            "uncountableOrders": dict(list(self.uncountable.items())[:_SHOWN]),
            "viewProblems": self.view_problems,
            "viewProblemOrders": self.view_problem_orders,
            "requests": requests,
        }


def request(event: Mapping[str, Any] | None) -> Backfill:
    """Return the backfill for an event such as `{}`, `{"segment": 2, "segments": 8}` or `{"cursor": "..."}`.

    Every event may have `seconds`. Raise BadRequest for any other option.
    """
    given = dict(event or {})
    cursor = given.pop("cursor", None)
    if cursor is None:
        values = invocation.options(JOB, given, OPTIONS)
        if values["segment"] >= values["segments"]:
            raise invocation.BadRequest(f"segment must be {OPTIONS['segment'].rule}.")
        return Backfill(**values)
    position: _Position = invocation.state(JOB, cursor, _Position)
    values = invocation.options(JOB, given, {"seconds": invocation.SECONDS})
    return Backfill(values["seconds"], position.segment, position.segments, position.start)


# --- Reconcile entries with items ----------------------------------------------------------


def mismatched(entries: Mapping[str, Entry], items: Mapping[str, Item], now: int) -> list[str]:
    """Return the ids of the orders whose entry does not match their item."""
    return [order_id for order_id, item in items.items() if differs(entries[order_id], item, now)]


def differs(entry: Entry, item: Item | None, now: int) -> bool:
    """Return whether an entry is unreadable or does not match its order's item."""
    return entry.unreadable is not None or ledger.reconcile(entry, item, now) is not entry


def reconciliation(entries: Iterable[Entry], items: Mapping[str, Item], now: int, *, repair: bool = False) -> Committer:
    """Return a committer that reconciles these entries with the items of their orders.

    The caller must read the entries first and then the items, with consistent reads. Then an entry that has not changed
    since holds nothing newer than the item. Orders whose entry has changed end up in `stale`; read both again.
    Without `repair`, an order without an item is left to the stream, which shows whether it was cancelled or archived.
    With `repair`, such an order is cancelled, and an unreadable entry is rebuilt. Use `repair` only for orders whose
    records the stream has had time to deliver.
    """
    looked_at = {entry.order_id: entry for entry in entries}

    def plan(entry: Entry) -> Entry | None:
        if entry.revision != looked_at[entry.order_id].revision:
            return None
        item = items.get(entry.order_id)
        return entry if item is None and not repair else ledger.reconcile(entry, item, now)

    return Committer(plan, known=looked_at.values(), rebuild=repair, now=now)
