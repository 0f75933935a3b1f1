"""The routes for a view's rows: pages of rows, the largest rows, the rows of a partition, and single rows."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from chalice.app import NotFoundError

from chalicelib import completeness, cursors, orders, recent_orders, stream_lag, tables, timestamps, views
from chalicelib.api import http, query_string, top_list
from chalicelib.api.top_list import TopView
from chalicelib.effects import Get, Key, Query, Scan, Steps, key_of
from chalicelib.fields import fits
from chalicelib.orders import FieldErrors, Item
from chalicelib.views import View

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
_CURSOR_MAX_BYTES = 20_000
_END = "\U0010ffff"  # The last Unicode character. `to` + _END sorts after every text that begins with `to`.
BAD_CURSOR = "is not a cursor from this API; omit it to start over"
BAD_SORT_KEY = f"must be the beginning of a sort key, or all of one: 1 to {views.KEY_MAX_BYTES} UTF-8 bytes"

Params = Mapping[str, str] | None
Segment = str
"""A segment of a path, percent-encoded."""


# --- Results of the routes -----------------------------------------------------------------------


def list_views() -> Steps[dict[str, Any]]:
    """Return all views as `{"views": [...]}`."""
    incomplete = yield from completeness.incomplete()
    return {"views": [view_to_json(view, view.name not in incomplete) for view in views.VIEWS.values()]}


def list_rows(name: Segment, params: Params, now: float) -> Steps[dict[str, Any] | FieldErrors]:
    """Return a page of a view's rows, or its largest rows, with `freshness`. `now` is in epoch seconds."""
    view = _find(name)
    query = parse_query(view, params)
    if isinstance(query, FieldErrors):
        return query
    items, more = yield from read(view, query, now)
    return {"rows": [to_json(view, item) for item in items], **more}


def read(view: View, query: "RowsQuery", now: float) -> Steps[tuple[Sequence[Item], dict[str, Any]]]:
    """Return a page of items with `cursor`, or the largest items with `asOf`, `complete` and `all`.

    Both come with `freshness`, and with `recentOrders` if the query has `recent`.
    """
    report = yield from read_report(query.recent)
    if query.top is None:
        page = yield Scan(view.table, query.start, query.limit, consistent=False)
        return page.items, {"cursor": encode_cursor(view, page.last), **report}
    found = yield from top_list.read(top_view(view), now)
    as_of = timestamps.from_epoch(int(found.as_of))
    all_rows = {"rows": found.row_count, "amounts": _amounts_to_json(view, found.sums)}
    return found.rows[: query.top], {"asOf": as_of, "complete": found.complete, "all": all_rows, **report}


def list_orders(params: Params) -> Steps[dict[str, Any] | FieldErrors]:
    """Return the latest counted orders as `{"orders", "freshness"}`."""
    errors = FieldErrors()
    count = _recent(params or {}, errors) or recent_orders.ORDERS_MAX
    query_string.reject_unknown(params or {}, ["recent"], errors)
    if errors:
        return errors
    report = yield from read_report(count)
    return {"orders": report["recentOrders"], "freshness": report["freshness"]}


def list_partition(name: Segment, key: Segment, params: Params) -> Steps[dict[str, Any] | FieldErrors]:
    """Return a page of a partition's rows, or the only row if the view has no sort key."""
    view, partition = _find(name), http.decode_segment(key)
    if len(view.key) == 1:
        errors = FieldErrors()
        query_string.reject_unknown(params or {}, [], errors)
        return errors or (yield from _show(view, (partition,)))
    query = parse_partition_query(view, partition, params)
    if isinstance(query, FieldErrors):
        return query
    if not orders.can_be_key(partition):
        return {"rows": [], "cursor": None}
    page = yield Query(view.table, partition, query.first, query.last, query.start, query.limit)
    return {"rows": [to_json(view, item) for item in page.items], "cursor": encode_cursor(view, page.last)}


def show(name: Segment, key: Segment, sort_key: Segment) -> Steps[dict[str, Any]]:
    """Return the row with a partition key and a sort key."""
    view = _find(name)
    if len(view.key) == 1:
        raise NotFoundError(f"The view {view.name} has no sort key. GET /views/{view.name}/{{key}} shows a row.")
    return (yield from _show(view, (http.decode_segment(key), http.decode_segment(sort_key))))


def _show(view: View, key: Key) -> Steps[dict[str, Any]]:
    item = (yield Get(view.table, key)) if _can_be_key(key) else None
    return to_json(view, http.counted(item, f"{' '.join(key)} in {view.name}"))


def _find(name: Segment) -> View:
    """Return the view with this name. Raise NotFoundError, a 404, if it does not exist."""
    decoded = http.decode_segment(name)
    for view in views.VIEWS.values():
        if view.name == decoded:
            return view
    raise NotFoundError(f"There is no view {decoded}. GET /views lists the views.")


def read_report(recent: int | None) -> Steps[dict[str, Any]]:
    """Return the stream handler's last report as `{"freshness"}`, with `recent` many of its `recentOrders` if given.

    `freshness` is how far the counting was behind, or None before the first report.
    """
    item = yield Get(tables.STATE, key_of(tables.STATE, stream_lag.KEY))
    listed = {} if recent is None else {"recentOrders": recent_orders.to_json(item, recent)}
    return {**listed, "freshness": stream_lag.to_json(item)}


def refresh_top_lists(now: float) -> Steps[None]:
    """Refresh the requested top lists whose tables are too large to scan within a request."""
    for view in views.VIEWS.values():
        if view.top:
            yield from top_list.refresh_if_wanted(top_view(view), now)


# --- JSON ----------------------------------------------------------------------------------------


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
    row |= _amounts_to_json(view, item)
    return row | ({view.stamp: item.get(view.stamp, {}).get("S")} if view.stamp else {})


def _amounts_to_json(view: View, item: Item) -> dict[str, Any]:
    amounts = ((name, places, views.read_amount(item, name, places)) for name, places in view.places.items())
    return {name: f"{Decimal(amount):.{places}f}" if places else amount for name, places, amount in amounts}


def encode_cursor(view: View, key: Key | None) -> str | None:
    """Return the opaque cursor for a page's last key, or None if the key is None, at the end of the table."""
    return None if key is None else cursors.encode([view.table, *key])


def top_view(view: View) -> TopView:
    """Return the TopView for a view: the ranking amount and the attributes that its top list keeps."""
    others = [name for name in view.places if name != view.top]
    attributes = (*others, *([view.stamp] if view.stamp else []))
    return TopView(view.table, str(view.top), attributes, view.places[str(view.top)], view.places)


# --- Query parameters ----------------------------------------------------------------------------


class RowsQuery(NamedTuple):
    """The query of `GET /views/{view}`, or of `GET /views/{view}/{key}` if the view has a sort key."""

    limit: int  # The maximum number of rows in the page.
    start: Key | None  # The page starts after this key.
    top: int | None = None  # The number of largest rows; None for a page.
    first: str | None = None  # The smallest sort key to return.
    last: str | None = None  # The largest sort key to return.
    recent: int | None = None  # The number of latest orders.


QUERY_PARAMETERS = ("limit", "cursor", "top", "recent")


def parse_query(view: View, query: Params) -> RowsQuery | FieldErrors:
    """Return the query for a page of rows or for the largest rows, or all errors in the parameters."""
    query = query or {}
    errors = FieldErrors()
    limit, start = _parse_page(view, query, errors)
    top = query_string.whole_number(query, "top", top_list.ROWS_MAX, top_list.ROWS_MAX, errors)
    if "top" in query and view.top is None:
        errors["top"] = "is not possible: the view does not name the amount to sort by"
    elif "top" in query and ("limit" in query or "cursor" in query):
        errors["top"] = "cannot be combined with limit or cursor"
    recent = _recent(query, errors)
    query_string.reject_unknown(query, QUERY_PARAMETERS, errors)
    return errors or RowsQuery(limit, start, top if "top" in query else None, recent=recent)


def _recent(query: Mapping[str, str], errors: FieldErrors) -> int | None:
    most = recent_orders.ORDERS_MAX
    return query_string.whole_number(query, "recent", most, most, errors) if "recent" in query else None


def parse_partition_query(view: View, key: str, query: Params) -> RowsQuery | FieldErrors:
    """Return the query for a page of a partition's rows, or all errors in the parameters.

    `from` and `to` are inclusive. `to` includes all sort keys that begin with its value.
    """
    query = query or {}
    errors = FieldErrors()
    limit, start = _parse_page(view, query, errors)
    first, last = query.get("from"), query.get("to")
    for name, value in (("from", first), ("to", last)):
        if value is not None and not fits(value, views.KEY_MAX_BYTES):
            errors[name] = BAD_SORT_KEY
    if last is not None and fits(last + _END, views.KEY_MAX_BYTES):
        last += _END
    if not errors and first is not None and last is not None and first > last:
        errors["from"] = "must not be after to"
    if start is not None and not (start[0] == key and (first or "") <= start[1] <= (last or _END * len(start[1]))):
        errors["cursor"] = BAD_CURSOR
    query_string.reject_unknown(query, ["limit", "cursor", "from", "to"], errors)
    return errors or RowsQuery(limit, start, None, first, last)


def _parse_page(view: View, query: Mapping[str, str], errors: FieldErrors) -> tuple[int, Key | None]:
    limit = query_string.whole_number(query, "limit", LIMIT_DEFAULT, LIMIT_MAX, errors)
    start = _decode_cursor(view, query["cursor"]) if "cursor" in query else None
    if "cursor" in query and start is None:
        errors["cursor"] = BAD_CURSOR
    return limit, start


def _decode_cursor(view: View, text: str) -> Key | None:
    """Return the key in a cursor, or None if the cursor is not for this view. Accept any key that DynamoDB accepts."""
    try:
        value = cursors.decode(text, _CURSOR_MAX_BYTES)
    except cursors.CursorError:
        return None
    is_key = isinstance(value, list) and len(value) == 1 + len(view.key) and value[0] == view.table
    return tuple(value[1:]) if is_key and _can_be_key(value[1:]) else None


def _can_be_key(key: Any) -> bool:
    """Return whether DynamoDB accepts a key: a partition key and, for some views, a sort key."""
    partition, *sort = key
    return fits(partition, orders.KEY_MAX_BYTES) and all(fits(each, views.KEY_MAX_BYTES) for each in sort)
