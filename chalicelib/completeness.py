"""Track which views are complete: a complete view counts every order in OrdersTable.

A new view is incomplete until a backfill has read all of OrdersTable, an audit finds every order counted, or
OrdersTable is empty. The views of a new stage are also complete when its first orders are counted. One item in
StateTable lists the tables of the complete views, and the segments that a running backfill has read.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from chalicelib import effects, tables, views
from chalicelib.counting import ledger
from chalicelib.effects import ConditionalUpdate, Get, Key, Scan, Sleep, Steps
from chalicelib.jobs import reads
from chalicelib.orders import Item
from chalicelib.views import VIEWS

KEY: Key = ("completeViews",)

FIRST_ORDERS = 100
"""How many orders a new stage may have for its views to be complete without a backfill or an audit."""


class Progress(NamedTuple):
    """The complete views, and the progress of a running backfill."""

    complete: frozenset[str]  # The tables of the complete views.
    running: str = ""  # The tables of the views that the backfill counts, joined by commas.
    segments: frozenset[str] = frozenset()  # The segments that the backfill has read, such as "3/8".


def note_segment(segment: int, segments: int) -> Steps[None]:
    """Store that a backfill has read a segment. After the last segment, all views are complete."""
    running = ",".join(sorted(VIEWS))

    def add(before: Progress) -> Progress:
        read = {f"{segment}/{segments}", *(before.segments if before.running == running else ())}
        if all(f"{number}/{segments}" in read for number in range(segments)):
            return Progress(frozenset(VIEWS))
        return Progress(before.complete, running, frozenset(read))

    yield from _change(add)


def incomplete(all_counted: bool = False) -> Steps[list[str]]:
    """Return the names of the incomplete views. With `all_counted`, or if OrdersTable is empty, complete all views.

    Also drop removed views from the item: if such a view returns, it lacks the orders of the time without it.
    """
    current = frozenset(VIEWS)
    progress = yield from _change(
        lambda before: before._replace(complete=current if all_counted else before.complete & current)
    )
    if progress.complete != current and (yield from _has_no_older_orders(is_new_stage=not progress.complete)):
        progress = yield from _change(lambda before: before._replace(complete=current))
    return [view.name for view in VIEWS.values() if view.table not in progress.complete]


def _has_no_older_orders(is_new_stage: bool) -> Steps[bool]:
    """Return whether OrdersTable is empty, or has only the first orders of a new stage and the ledger counts them."""
    page = yield Scan(tables.ORDERS, None, FIRST_ORDERS if is_new_stage else 1)
    items = {item["OrderID"]["S"]: item for item in page.items}
    if page.last is not None or not items:
        return page.last is None
    entries = yield from reads.read_entries(list(items))
    now = yield Sleep()
    return all(ledger.reconcile(entry, items[order_id], now) is entry for order_id, entry in entries.items())


def _change(change: Callable[[Progress], Progress]) -> Steps[Progress]:
    """Apply `change` to the stored progress and return the result. Retry if another invocation has changed it."""
    while True:
        item = (yield Get(tables.STATE, KEY)) or {}
        before = _from_item(item)
        after = change(before)
        if after == before or (yield _update(item, after)):
            return after


def _from_item(item: Item) -> Progress:
    """Return the progress in an item. Ignore attributes of the wrong type."""
    complete, segments = (frozenset(item.get(name, {}).get("SS", ())) for name in ("complete", "segments"))
    return Progress(complete, item.get("running", {}).get("S", ""), segments)


def _update(item: Item, progress: Progress) -> ConditionalUpdate:
    """Return the update that stores `progress` if the item still has the revision that was read."""
    values: dict[str, Any] = {
        "complete": {"SS": sorted(progress.complete)},
        "running": {"S": progress.running},
        "segments": {"SS": sorted(progress.segments)},
        "revision": {"N": str(views.read_amount(item, "revision") + 1)},
    }
    kept = {f":{name}": value for name, value in values.items() if any(value.values())}  # DynamoDB has no empty sets.
    removed = ", ".join(f"#{name}" for name in values if f":{name}" not in kept)
    seen = item.get("revision", {})
    return ConditionalUpdate(
        tables.STATE,
        {
            "Key": effects.key(tables.STATE, KEY),
            "UpdateExpression": f"SET {', '.join(f'#{name[1:]} = {name}' for name in kept)}"
            + (f" REMOVE {removed}" if removed else ""),
            "ConditionExpression": "#revision = :seen" if "N" in seen else "NOT attribute_type(#revision, :seen)",
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": {**kept, ":seen": seen if "N" in seen else {"S": "N"}},
        },
    )
