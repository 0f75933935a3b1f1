"""The route that shows an order and whether the totals include it."""

from typing import Any

from chalicelib import effects, orders, tables
from chalicelib.api import http
from chalicelib.counting import entry_item, ledger
from chalicelib.effects import Get, Steps


def show(segment: str) -> Steps[dict[str, Any]]:
    """Return an order and whether it is counted. The path segment is percent-encoded."""
    key = http.order_key(segment)
    place = effects.key_of(tables.ORDERS, key)
    item = yield Get(tables.ORDERS, place)
    if item is None:
        raise http.order_not_found(key)
    entry = entry_item.from_item(place[0], (yield Get(tables.LEDGER, place)))
    return {**orders.to_json(item), **ledger.order_status(entry, item)}
