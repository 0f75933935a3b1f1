"""Jobs: how a backfill goes through OrdersTable, and what it tells whoever runs it.

What an order's ledger entry should be is ledger.py's; the requests are app.py's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib import ledger
from chalicelib.ledger import Entry
from chalicelib.orders import Item
from chalicelib.settlement import Counts, Settlement

PAGE_ORDERS = 1000
"""How many orders a backfill holds in memory at a time."""


class BadRequest(ValueError):
    """A job was asked for something that it does not know; its text says what it knows."""


@dataclass
class Progress:
    """How far a backfill has come; as JSON it is the job's answer, and its `cursor` the next one's request."""

    start: dict[str, Any] | None = None  # The key after which the next page starts.
    done: bool = False
    orders: int = 0
    changed: int = 0
    counts: Counts = field(default_factory=Counts)

    def add_page(self, orders: int, last_key: dict[str, Any] | None) -> None:
        """Notes that a page of OrdersTable is done."""
        self.orders += orders
        self.start = last_key
        self.done = last_key is None

    def to_json(self) -> dict[str, Any]:
        """`{"done", "cursor", "orders", "changed"}`; the cursor is null when there is nothing left."""
        cursor = None if self.done or self.start is None else self.start["OrderID"]["S"]
        return {"done": self.done, "cursor": cursor, "orders": self.orders, "changed": self.changed}


def backfill_request(event: Mapping[str, Any] | None) -> Progress:
    """Where a backfill starts: `{}` or `{"cursor": "…"}`. Raises BadRequest for anything else."""
    asked = dict(event or {})
    cursor = asked.pop("cursor", None)
    if asked or not (cursor is None or (isinstance(cursor, str) and cursor)):
        raise BadRequest('A backfill takes {} or {"cursor": "..."}, the cursor being that of an earlier answer.')
    return Progress(start=None if cursor is None else {"OrderID": {"S": cursor}})


def differing(entries: Mapping[str, Entry], items: Mapping[str, Item], now: int) -> list[str]:
    """The orders whose ledger entry is not what their item says."""
    return [
        order_id
        for order_id, item in items.items()
        if ledger.as_item_says(entries[order_id], item, now) is not entries[order_id]
    ]


def comparison(entries: Iterable[Entry], items: Mapping[str, Item], now: int) -> Settlement:
    """The settlement that brings entries to what their orders' items say, beside live traffic.

    The items have been read after the entries, and consistently. Then an entry that is still the same when
    it is replaced has heard of nothing later than the item, and all that happened to the order since will
    still come through the stream. An entry that has become another one ends in `stale`: look again.
    An order whose item is gone is left to the stream, which alone knows whether it was cancelled or archived.
    """
    looked_at = {entry.order_id: entry for entry in entries}

    def plan(entry: Entry) -> Entry | None:
        if entry.revision != looked_at[entry.order_id].revision:
            return None
        item = items.get(entry.order_id)
        return entry if item is None else ledger.as_item_says(entry, item, now)

    return Settlement(plan, known=looked_at.values())
