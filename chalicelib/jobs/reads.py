"""Reads that backfill and audit share: entries, orders and the lag report."""

from collections.abc import Sequence

from chalicelib import effects, stream_lag, tables
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Entry
from chalicelib.effects import BatchGet, Get, Steps
from chalicelib.orders import Item


def read_entries(order_ids: Sequence[str], consistent: bool = True) -> Steps[dict[str, Entry]]:
    """Return the ledger entry of each order, with status `absent` if it has none."""
    items = yield BatchGet(tables.LEDGER, [(order_id,) for order_id in order_ids], consistent)
    return {order_id: entry_item.from_item(order_id, items.get((order_id,))) for order_id in order_ids}


def read_orders(order_ids: Sequence[str], consistent: bool = True) -> Steps[dict[str, Item]]:
    """Return the items of these orders by order id. Leave out orders that do not exist."""
    items = yield BatchGet(tables.ORDERS, [(order_id,) for order_id in order_ids], consistent)
    return {order_id: item for (order_id,), item in items.items()}


def read_lag_report() -> Steps[Item | None]:
    """Return the item with the stream handler's last lag report, or None if there is none yet."""
    item: Item | None = yield Get(tables.STATE, effects.key_of(tables.STATE, stream_lag.KEY))
    return item
