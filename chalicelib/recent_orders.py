"""The latest counted orders, and how long each took to be counted, for `GET /orders?recent=20`.

They are an attribute of the stream handler's lag report (stream_lag.py), so they cost no extra request. The list is
compressed and cut so that the report stays below 1 KB, which is one write unit.

Every report replaces the list. So each container keeps its own latest orders and those of the reports that it has
replaced, which DynamoDB returns. If invocations overlap, a report lacks the orders of the report just before it, but a
later report has them again.
"""

import heapq
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib import orders, timestamps
from chalicelib.counting.ledger import ChangeRecord
from chalicelib.orders import Item

ATTRIBUTE = "packedOrders"
ORDERS_MAX = 20
PACKED_MAX_BYTES = 850  # The limit for the list. The rest of the report has up to 130 bytes.
_ORDER_ID_MAX_CHARACTERS = orders.ORDER_ID_MAX_CHARACTERS  # The API accepts no longer order ids.
_CONTENT_MAX_CHARACTERS = 200  # Longer content of an order is omitted.
_CLOCKS_DIFFER_SECONDS = 1  # `PlacedAt` is from the API's clock, a record's time from DynamoDB's.


class RecentOrder(NamedTuple):
    """A counted order for the list."""

    order_id: str
    counted_at: int  # When the order was counted, in epoch seconds.
    lag_seconds: float
    content: Mapping[str, Any]  # The order's fields as the API shows them.


def of_batch(
    records_by_order: Mapping[str, Sequence[ChangeRecord]], counted: Iterable[str], now: float
) -> list[RecentOrder]:
    """Return the latest orders that a batch has counted, newest first. `now` is in epoch seconds."""
    last = [records_by_order[order_id][-1] for order_id in counted if len(order_id) <= _ORDER_ID_MAX_CHARACTERS]
    newest = heapq.nlargest(ORDERS_MAX, last, key=lambda record: (record.created_at, record.position))
    return [
        RecentOrder(
            record.order_id, int(now), round(max(0.0, float(now) - _changed_at(record)), 1), _content(record.image)
        )
        for record in newest
    ]


def merge(*lists: Iterable[RecentOrder]) -> list[RecentOrder]:
    """Return the latest orders of several lists. If an order is in two lists, keep the one counted later."""
    found: dict[str, RecentOrder] = {}
    for order in sorted((order for each in lists for order in each), key=lambda order: -order.counted_at):
        found.setdefault(order.order_id, order)
    return list(found.values())[:ORDERS_MAX]


def pack(recent: Sequence[RecentOrder]) -> dict[str, Any]:
    """Return the DynamoDB attribute for a list. Omit the oldest orders if the list is too large."""
    for count in range(len(recent), -1, -1):
        packed = zlib.compress(json.dumps(recent[:count], separators=(",", ":")).encode(), 9)
        if len(packed) <= PACKED_MAX_BYTES:
            break
    return {"B": packed}


def unpack(item: Item | None) -> list[RecentOrder]:
    """Return the list in a report, or an empty one if it is absent or malformed."""
    try:
        listed = json.loads(zlib.decompress((item or {})[ATTRIBUTE]["B"]))
        return [RecentOrder(*each) for each in listed if _is_well_formed(each)]
    except (KeyError, TypeError, ValueError, zlib.error):
        return []


def _is_well_formed(values: Sequence[Any]) -> bool:
    return [type(each) for each in values] == [str, int, float, dict] and 0 <= values[1] <= timestamps.LATEST


def to_json(item: Item | None, count: int) -> list[dict[str, Any]]:
    """Return the latest orders in a report as the API shows them, newest first."""
    return [
        {
            "orderId": order.order_id,
            **order.content,
            "countedAt": timestamps.from_epoch(order.counted_at),
            "lagSeconds": order.lag_seconds,
        }
        for order in unpack(item)[:count]
    ]


def _changed_at(record: ChangeRecord) -> float:
    """Return when an order was placed or amended: the record's time, or the more exact `PlacedAt` if they agree."""
    placed_at = timestamps.to_epoch(orders.to_json(record.image or {}).get("placedAt"))
    is_same = placed_at is not None and abs(placed_at - record.created_at) <= _CLOCKS_DIFFER_SECONDS
    return placed_at if placed_at is not None and record.is_insert and is_same else record.created_at


def _content(image: Item | None) -> dict[str, Any]:
    shown = orders.to_json(image or {})
    content = {field.name: shown[field.name] for field in orders.FIELDS if field.name in shown}
    return content if len(json.dumps(content)) <= _CONTENT_MAX_CHARACTERS else {}
