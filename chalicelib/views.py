"""The materialized views: what an order adds to each of them.

This is the one place to edit to add a view. A view is a pure function from a valid order to the
counter that it moves and by how much; `@view` names the view's table and that table's key. From here
infrastructure/ makes the table, and the ledger keeps the view as exact as all the others.

How contributions are kept exact is not here: that is ledger.py.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from chalicelib.orders import Item, Order


class CounterKey(NamedTuple):
    """One item of a view's table: the table's logical name and the values of its key, strings."""

    table: str
    key: tuple[str, ...]


Increments = Mapping[str, int]
"""What is added to a counter's attributes: `{"totalQuantity": 5, "orderCount": 1}`."""

Contributions = Mapping[CounterKey, Increments]
"""All that one order has added, or should: at most one entry for each counter."""


Adds = Callable[[Order], tuple[tuple[str, ...], Increments] | None]
"""A view's function: the counter's key and what is added, or None for an order that it does not count."""


class View(NamedTuple):
    """A view's table, the names of its key attributes, and its function."""

    table: str
    key: tuple[str, ...]
    stamp: str | None  # The attribute that says when a counter last changed, where people want to know.
    adds: Adds


VIEWS: dict[str, View] = {}
"""All views by their table. One table has one view: by the table the ledger knows whose amounts are whose."""


def view(table: str, key: tuple[str, ...], stamp: str | None = None) -> Callable[[Adds], Adds]:
    """Makes a function the view of `table`, whose items have the key attributes `key`, all strings."""

    def register(adds: Adds) -> Adds:
        if table in VIEWS:
            raise ValueError(f"{table} has a view already; give this one a table of its own")
        VIEWS[table] = View(table, key, stamp, adds)
        return adds

    return register


@view("AggregateTable", key=("product",), stamp="updatedAt")
def totals(order: Order) -> tuple[tuple[str, ...], Increments]:
    """How much of a product is ordered, and in how many orders."""
    return (order.product,), {"totalQuantity": order.quantity, "orderCount": 1}


@view("TrendTable", key=("product", "day"))
def trend(order: Order) -> tuple[tuple[str, ...], Increments]:
    """How much of a product is ordered on a day, and in which of its hours, UTC."""
    day, hour = order.placed_at[:10], order.placed_at[11:13]
    return (order.product, day), {"total": order.quantity, f"h{hour}": order.quantity}


def contributions(order: Order) -> Contributions:
    """What an order should have added, over all views."""
    added = {}
    for each in VIEWS.values():
        contribution = each.adds(order)
        if contribution is not None:
            key, amounts = contribution
            added[CounterKey(each.table, key)] = amounts
    return added


def amount(item: Item, attribute: str) -> int:
    """What an attribute of a counter's item has come to.

    0 if it is not there, or is no number: another hand than this app's must have written it. That is for an audit to
    find and mend; until then it shall not keep people from all the other totals.
    """
    return int(Decimal(item.get(attribute, {}).get("N", "0")))
