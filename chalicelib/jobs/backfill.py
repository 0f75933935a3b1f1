"""The backfill: goes through OrdersTable and brings each order's ledger entry to what its item says.

It counts orders that are older than the stream, what an outage lost, and what a new view lacks, beside live
traffic. What an entry should be is ledger.py's; the requests are app.py's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib import effects, tables
from chalicelib.counting import ledger
from chalicelib.counting.committer import Committer
from chalicelib.counting.ledger import Entry, Status
from chalicelib.effects import Checkpoint, Scan, Sleep, Steps
from chalicelib.jobs import invocation, reads, shapes
from chalicelib.jobs.invocation import Option
from chalicelib.orders import Item

JOB = "backfill"

PAGE_ORDERS = 10_000
"""How many orders a backfill holds in memory at a time: the more, the more of each product come together.

Some 9,000 orders are the 1 MB that DynamoDB answers a Scan with at the most.
"""

SEGMENTS_MAX = 1000  # DynamoDB takes a million; each one here is an invocation of its own.
OPTIONS = {
    "seconds": invocation.SECONDS,
    "segment": Option(0, "a whole number from 0, below segments", 0, SEGMENTS_MAX - 1),
    "segments": Option(1, f"a whole number from 1 to {SEGMENTS_MAX}", 1, SEGMENTS_MAX),
}

_UNCOUNTABLE_SHOWN = 20

_STATE = shapes.both(
    shapes.record(
        {
            "start": shapes.optional(shapes.key_of(tables.ORDERS)),
            "segment": OPTIONS["segment"].takes,
            "segments": OPTIONS["segments"].takes,
        }
    ),
    lambda state: state["segment"] < state["segments"],
)


@dataclass
class Backfill:
    """How far a backfill of a table, or of a segment of it, has come."""

    seconds: int = invocation.SECONDS_MAX
    segment: int = 0
    segments: int = 1
    start: effects.Key | None = None  # The key after which the next page starts.
    done: bool = False
    # What this invocation has done:
    orders: int = 0  # Seen.
    changed: int = 0  # Whose entry it has changed.
    rejected: int = 0  # Of those seen, not valid; the ledger says why.
    uncountable: dict[str, str] = field(default_factory=dict)  # That DynamoDB refuses for good to count: why, by order.

    def steps(self) -> Steps[None]:
        """Page after page until it is done."""
        while not self.done:
            # What is read of a page may be a second old: all that differs is read again.
            page = yield Scan(tables.ORDERS, self.start, PAGE_ORDERS, False, self.segment, self.segments)
            yield from self._match({item["OrderID"]["S"]: item for item in page.items})
            self.orders += len(page.items)
            self.start = page.last
            self.done = page.last is None
            yield Checkpoint()

    def _match(self, items: Mapping[str, Item]) -> Steps[None]:
        """Brings the ledger to what these items say."""
        entries = yield from reads.read_entries(list(items), consistent=False)
        now = yield Sleep()
        open_orders = mismatched(entries, items, now)
        self._note_unchanged(entries, open_orders)
        while open_orders:
            entries = yield from reads.read_entries(open_orders)  # Before the items, always: see comparison.
            current = yield from reads.read_orders(open_orders)
            work = reconciliation(entries.values(), current, now)
            yield from work.steps()
            self._note_settled(work)
            open_orders = work.stale

    def _note_unchanged(self, entries: Mapping[str, Entry], open_orders: Sequence[str]) -> None:
        unchanged = entries.keys() - set(open_orders)
        self.rejected += sum(entries[order_id].status is Status.REJECTED for order_id in unchanged)

    def _note_settled(self, work: Committer) -> None:
        self.changed += work.counts.applied
        self.rejected += len(work.counts.rejected)
        self.uncountable.update(work.set_apart)

    def to_json(self, requests: int) -> dict[str, Any]:
        """The job's answer; `requests` is how many it has made of DynamoDB.

        `{"done", "cursor", "orders", "changed", "rejected", "uncountable", "uncountableOrders", "requests"}`: what
        this invocation has done, and the cursor to go on from, null when there is nothing left.
        """
        state = {"start": self.start, "segment": self.segment, "segments": self.segments}
        return {
            "done": self.done,
            "cursor": None if self.done else invocation.cursor(JOB, state),
            "orders": self.orders,
            "changed": self.changed,
            "rejected": self.rejected,
            "uncountable": len(self.uncountable),
            "uncountableOrders": dict(list(self.uncountable.items())[:_UNCOUNTABLE_SHOWN]),
            "requests": requests,
        }


def request(event: Mapping[str, Any] | None) -> Backfill:
    """The backfill that is asked for: `{}`, `{"segment": 2, "segments": 8}` or `{"cursor": "..."}`.

    `seconds` can stand in each of them. Raises BadRequest for anything else.
    """
    asked = dict(event or {})
    text = asked.pop("cursor", None)
    if text is None:
        values = invocation.options(JOB, asked, OPTIONS)
        if values["segment"] >= values["segments"]:
            raise invocation.BadRequest(f"segment must be {OPTIONS['segment'].rule}.")
        return Backfill(**values)
    held = invocation.state(JOB, text, _STATE)
    values = invocation.options(JOB, asked, {"seconds": invocation.SECONDS})
    start = None if held["start"] is None else tuple(held["start"])
    return Backfill(values["seconds"], held["segment"], held["segments"], start)


# --- What differs, and how it is repaired ----------------------------------------------------------


def mismatched(entries: Mapping[str, Entry], items: Mapping[str, Item], now: int) -> list[str]:
    """The orders whose ledger entry is not what their item says."""
    return [order_id for order_id, item in items.items() if differs(entries[order_id], item, now)]


def differs(entry: Entry, item: Item | None, now: int) -> bool:
    """Return whether a ledger entry does not match its order's item, or cannot be read."""
    return entry.unreadable is not None or ledger.reconcile(entry, item, now) is not entry


def reconciliation(entries: Iterable[Entry], items: Mapping[str, Item], now: int, *, repair: bool = False) -> Committer:
    """The settlement that brings entries to what their orders' items say, beside live traffic.

    The items have been read after the entries, and consistently. Then an entry that is still the same when
    it is replaced has heard of nothing later than the item, and all that happened to the order since will
    still come through the stream. An entry that has become another one ends in `stale`: look again.
    An order whose item is gone is left to the stream, which alone knows whether it was cancelled or archived.
    With `repair`, which is for orders that the stream has had time to deliver, such an order is cancelled, and
    an unreadable entry is built anew.
    """
    looked_at = {entry.order_id: entry for entry in entries}

    def plan(entry: Entry) -> Entry | None:
        if entry.revision != looked_at[entry.order_id].revision:
            return None
        item = items.get(entry.order_id)
        return entry if item is None and not repair else ledger.reconcile(entry, item, now)

    return Committer(plan, known=looked_at.values(), rebuild=repair)
