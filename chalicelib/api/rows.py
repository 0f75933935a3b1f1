"""Any view's rows in the API: pages of them, the largest, those of a partition, and single ones."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import amounts, cursors, orders, views
from chalicelib.api import query_string, top_list
from chalicelib.api.top_list import TopView
from chalicelib.effects import Key, Page
from chalicelib.orders import FieldErrors, Item
from chalicelib.views import View

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
_CURSOR_MAX_BYTES = 20_000
BAD_CURSOR = "is not a cursor from this API; omit it to start over"


def find(name: str) -> View | None:
    """Return the view with this name, or None."""
    return next((view for view in views.VIEWS.values() if view.name == name), None)


def view_to_json(view: View, complete: bool) -> dict[str, Any]:
    """Return a view as the API shows it."""
    return {
        "view": view.name,
        "key": list(view.key),
        "amounts": [{"name": name, "decimalPlaces": places} for name, places in view.places.items()],
        "top": view.top,
        "keepDays": view.keep and view.keep.days,
        "complete": complete,
    }


def to_json(view: View, item: Item) -> dict[str, Any]:
    """Return a row: its key, all amounts of the view, and the time of its last change if the view has one.

    A decimal amount is a string with all its places: "12.50".
    """
    row: dict[str, Any] = {name: item[name]["S"] for name in view.key}
    for name, places in view.places.items():
        amount = views.read_amount(item, name, places)
        row[name] = amounts.to_text(amount) if places else amount
    return row | ({view.stamp: item.get(view.stamp, {}).get("S")} if view.stamp else {})


def page_to_json(view: View, page: Page) -> dict[str, Any]:
    """Return a page as `{"rows", "cursor"}`; the cursor of the last page is None."""
    cursor = None if page.last is None else cursors.encode([view.table, *page.last])
    return {"rows": [to_json(view, item) for item in page.items], "cursor": cursor}


def top_view(view: View) -> TopView:
    """Return what the list of a view's largest rows has."""
    others = [name for name in view.places if name != view.top]
    return TopView(view.table, str(view.top), (*others, *([view.stamp] if view.stamp else [])))


class RowsQuery(NamedTuple):
    """The query of `GET /views/{view}`, or of `GET /views/{view}/{key}` if the view has a sort key."""

    limit: int  # The maximum number of rows in the page.
    start: Key | None  # The page starts after this key.
    top: int | None = None  # The number of largest rows; None for a page.
    first: str | None = None  # The smallest sort key.
    last: str | None = None  # The largest sort key.


def parse_query(view: View, query: Mapping[str, str] | None) -> RowsQuery | FieldErrors:
    """Return the query for a page of rows, or for the largest, or every error in it."""
    query = query or {}
    errors = FieldErrors()
    limit, start = _parse_page(view, query, errors)
    top = query_string.whole_number(query, "top", top_list.ROWS_MAX, top_list.ROWS_MAX, errors)
    if "top" in query and view.top is None:
        errors["top"] = "is not possible: the view does not name the amount to sort by"
    elif "top" in query and ("limit" in query or "cursor" in query):
        errors["top"] = "cannot be combined with limit or cursor"
    query_string.reject_unknown(query, ["limit", "cursor", "top"], errors)
    return errors or RowsQuery(limit, start, top if "top" in query else None)


def parse_partition_query(view: View, key: str, query: Mapping[str, str] | None) -> RowsQuery | FieldErrors:
    """Return the query for a page of a partition's rows, or every error in it."""
    query = query or {}
    errors = FieldErrors()
    limit, start = _parse_page(view, query, errors)
    if start is not None and start[0] != key:
        errors["cursor"] = BAD_CURSOR
    for name in ("from", "to"):
        if name in query and not orders.can_be_key(query[name]):
            errors[name] = "must be the beginning of a sort key, or all of one"
    query_string.reject_unknown(query, ["limit", "cursor", "from", "to"], errors)
    return errors or RowsQuery(limit, start, None, query.get("from"), query.get("to"))


def _parse_page(view: View, query: Mapping[str, str], errors: FieldErrors) -> tuple[int, Key | None]:
    limit = query_string.whole_number(query, "limit", LIMIT_DEFAULT, LIMIT_MAX, errors)
    start = _decode_cursor(view, query["cursor"]) if "cursor" in query else None
    if "cursor" in query and start is None:
        errors["cursor"] = BAD_CURSOR
    return limit, start


def _decode_cursor(view: View, text: str) -> Key | None:
    """Return the key in a cursor, or None if it is not one for this view. Someone may have written the row by hand."""
    try:
        value = cursors.decode(text, _CURSOR_MAX_BYTES)
    except cursors.CursorError:
        return None
    is_key = isinstance(value, list) and len(value) == 1 + len(view.key) and value[0] == view.table
    return tuple(value[1:]) if is_key and all(type(part) is str and orders.can_be_key(part) for part in value) else None
