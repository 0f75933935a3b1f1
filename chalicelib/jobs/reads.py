"""Reads that backfill and audit have in common."""

from collections.abc import Sequence

from chalicelib import tables
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Entry
from chalicelib.effects import BatchGet, Steps
from chalicelib.orders import Item


def read_entries(order_ids: Sequence[str], consistent: bool = True) -> Steps[dict[str, Entry]]:
    """The ledger's entries of these orders, also of those that it does not have."""
    items = yield BatchGet(tables.LEDGER, [(order_id,) for order_id in order_ids], consistent)
    return {order_id: entry_item.from_item(order_id, items.get((order_id,))) for order_id in order_ids}


def read_orders(order_ids: Sequence[str], consistent: bool = True) -> Steps[dict[str, Item]]:
    """The items of these orders; those that are not there are left out."""
    items = yield BatchGet(tables.ORDERS, [(order_id,) for order_id in order_ids], consistent)
    return {order_id: item for (order_id,), item in items.items()}
