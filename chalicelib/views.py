"""The materialized views: which counters an order adds to, and how much.

To add a view, edit only this file. A view is a pure function from a valid order to a counter and its increments.
`@view` names the view's table and its key attributes. infrastructure/ creates the table from that, and
counting/ledger.py keeps the counters exact.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from chalicelib.fields import Item
from chalicelib.model import Order


class CounterKey(NamedTuple):
    """The key of a counter, which is one item of a view's table: the table's logical name and its key values."""

    table: str
    key: tuple[str, ...]


Increments = Mapping[str, int]
"""Numbers to add to a counter, by attribute: `{"totalQuantity": 5, "orderCount": 1}`."""

Contributions = Mapping[CounterKey, Increments]
"""The increments of one order, by counter."""

ViewFunction = Callable[[Order], tuple[tuple[str, ...], Increments] | None]
"""Returns a counter's key values and increments, or None if the view does not count the order."""


class View(NamedTuple):
    """A view: its table, the names of the table's key attributes, and its function."""

    table: str
    key: tuple[str, ...]
    stamp: str | None  # The attribute that gets the time of the counter's last change, if the view has one.
    function: ViewFunction


VIEWS: dict[str, View] = {}
"""All views by table. A table has only one view, because the ledger finds a contribution's view by the table."""


def view(table: str, key: tuple[str, ...], stamp: str | None = None) -> Callable[[ViewFunction], ViewFunction]:
    """Register a function as the view of `table`. The table's key attributes are `key`; all are strings."""

    def register(function: ViewFunction) -> ViewFunction:
        if table in VIEWS:
            raise ValueError(f"{table} already has a view. Give this one its own table.")
        VIEWS[table] = View(table, key, stamp, function)
        return function

    return register


@view("AggregateTable", key=("product",), stamp="updatedAt")
def totals(order: Order) -> tuple[tuple[str, ...], Increments]:
    """Count a product's quantity and its orders."""
    return (order.product,), {"totalQuantity": order.quantity, "orderCount": 1}


@view("TrendTable", key=("product", "day"))
def trend(order: Order) -> tuple[tuple[str, ...], Increments]:
    """Count a product's quantity by day and by hour, in UTC."""
    day, hour = order.placed_at[:10], order.placed_at[11:13]
    return (order.product, day), {"total": order.quantity, f"h{hour}": order.quantity}


def contributions(order: Order) -> Contributions:
    """Return what a valid order contributes to the counters of all views."""
    increments_by_counter = {}
    for each in VIEWS.values():
        contribution = each.function(order)
        if contribution is not None:
            key, increments = contribution
            increments_by_counter[CounterKey(each.table, key)] = increments
    return increments_by_counter


def read_amount(item: Item, attribute: str) -> int:
    """Return the number in an attribute of a counter's item.

    Return 0 if it is absent or not a number, so that the other totals can still be read. Something other than this app
    must have written it. An audit finds it, and with repair corrects it.
    """
    return int(Decimal(item.get(attribute, {}).get("N", "0")))
