"""Which views are complete, that is, count every order in OrdersTable.

A view that is added to a table with older orders is incomplete until a backfill has read all of the table, an audit
finds nothing wrong, or the table is empty. One item in StateTable holds the tables of the complete views, and the
segments that a running backfill has read.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from chalicelib import effects, tables, views
from chalicelib.effects import ConditionalUpdate, Get, Key, Scan, Steps
from chalicelib.orders import Item
from chalicelib.views import VIEWS

KEY: Key = ("completeViews",)


class Progress(NamedTuple):
    """What the item holds."""

    complete: frozenset[str]  # Tables of views.
    running: str = ""  # The tables of the views that a backfill fills, joined by commas.
    segments: frozenset[str] = frozenset()  # Those that it has read, such as "3/8".


def note_segment(segment: int, segments: int) -> Steps[None]:
    """Note that a backfill has read a segment. The views are complete when all segments have been read for them."""
    running = ",".join(sorted(VIEWS))

    def add(before: Progress) -> Progress:
        read = {f"{segment}/{segments}", *(before.segments if before.running == running else ())}
        if all(f"{number}/{segments}" in read for number in range(segments)):
            return Progress(frozenset(VIEWS))
        return Progress(before.complete, running, frozenset(read))

    yield from _change(add)


def incomplete(all_counted: bool = False) -> Steps[list[str]]:
    """Return the names of the views that are not complete. None is if `all_counted`, or if OrdersTable is empty.

    Forget tables whose views were removed: if one returns, it lacks the orders of the meantime.
    """
    current = frozenset(VIEWS)
    progress = yield from _change(
        lambda before: before._replace(complete=current if all_counted else before.complete & current)
    )
    if progress.complete != current:
        page = yield Scan(tables.ORDERS, None, 1)
        if not page.items and page.last is None:
            progress = yield from _change(lambda before: before._replace(complete=current))
    return [view.name for view in VIEWS.values() if view.table not in progress.complete]


def _change(change: Callable[[Progress], Progress]) -> Steps[Progress]:
    """Store what `change` returns, and return it. Start again if the item has been changed meanwhile."""
    while True:
        item = (yield Get(tables.STATE, KEY)) or {}
        before = _from_item(item)
        after = change(before)
        if after == before or (yield _update(item, after)):
            return after


def _from_item(item: Item) -> Progress:
    """Return what an item holds. Ignore attributes of another type."""
    complete, segments = (frozenset(item.get(name, {}).get("SS", ())) for name in ("complete", "segments"))
    return Progress(complete, item.get("running", {}).get("S", ""), segments)


def _update(item: Item, progress: Progress) -> ConditionalUpdate:
    """Return the request that stores `progress`, on the condition that the item's revision is still the same."""
    values: dict[str, Any] = {
        "complete": {"SS": sorted(progress.complete)},
        "running": {"S": progress.running},
        "segments": {"SS": sorted(progress.segments)},
        "revision": {"N": str(views.read_amount(item, "revision") + 1)},
    }
    kept = {f":{name}": value for name, value in values.items() if any(value.values())}  # No set can be empty.
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
