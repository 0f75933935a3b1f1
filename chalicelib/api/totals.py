"""Totals in the API: AggregateTable's items as JSON, pages with cursors, and the largest totals."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import cursors, orders, tables, timestamps, views
from chalicelib.api import http, query_string, rows, top_list, trend
from chalicelib.api.top_list import TopView
from chalicelib.effects import Get, Key, Scan, Steps
from chalicelib.orders import FieldErrors, Item

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
TOP_MAX = top_list.ROWS_MAX
TOP = TopView(tables.TOTALS, "totalQuantity", ("orderCount", "updatedAt"))
_CURSOR_MAX_BYTES = 6 * 2048 + 2  # JSON of a partition key of up to 2048 bytes, with a \\u0000 for each.

BAD_CURSOR = "is not a cursor from this API; omit it to start over"


def to_json(item: Item) -> dict[str, Any]:
    """Return a product's total as the API shows it."""
    return {
        "product": item["product"]["S"],
        "totalQuantity": views.read_amount(item, "totalQuantity"),
        "orderCount": views.read_amount(item, "orderCount"),
        "updatedAt": item.get("updatedAt", {}).get("S"),
    }


class TotalsQuery(NamedTuple):
    """The query of `GET /totals`: a page, or the `top` largest totals."""

    limit: int  # The maximum number of totals in the page.
    start: Key | None  # The page starts after this key; None for the first page.
    top: int | None  # The number of largest totals; None for a page.
    trend_of: str | None = None  # The product whose trend to add to the largest totals, ...
    days: int = trend.DAYS_DEFAULT  # ... and its days.


def parse_query(query: Mapping[str, str] | None) -> TotalsQuery | FieldErrors:
    """Return the parameters of `GET /totals`, or every error in them."""
    query = query or {}
    errors = FieldErrors()
    limit = query_string.whole_number(query, "limit", LIMIT_DEFAULT, LIMIT_MAX, errors)
    top = query_string.whole_number(query, "top", TOP_MAX, TOP_MAX, errors) if "top" in query else None
    start = _decode_cursor(query["cursor"]) if "cursor" in query else None
    if "cursor" in query and start is None:
        errors["cursor"] = BAD_CURSOR
    if top is not None and ("limit" in query or "cursor" in query):
        errors["top"] = "cannot be combined with limit or cursor"
    if "trend" in query and top is None:
        errors["trend"] = "needs top"
    if "days" in query and "trend" not in query:
        errors["days"] = "needs trend"
    days = query_string.whole_number(query, "days", trend.DAYS_DEFAULT, trend.DAYS_MAX, errors)
    query_string.reject_unknown(query, ["limit", "cursor", "top", "trend", "days"], errors)
    return errors or TotalsQuery(limit, start, top, query.get("trend"), days)


def show(segment: str) -> Steps[dict[str, Any]]:
    """Return one product's total. The segment of the path is percent-encoded."""
    http.require(is_kept())
    name = http.decode_segment(segment)
    item = (yield Get(tables.TOTALS, (name,))) if orders.can_be_key(name) else None
    return to_json(http.counted(item, name))


def list_totals(params: Mapping[str, str] | None, now: float) -> Steps[dict[str, Any] | FieldErrors]:
    """Return `{"totals", "cursor"}` for a page, `{"totals", "asOf", "complete"}` for the largest totals.

    Both have `freshness`. `now` is in epoch seconds. The cursor of the last page is None.
    """
    http.require(is_kept())
    query = parse_query(params)
    if isinstance(query, FieldErrors):
        return query
    freshness = {"freshness": (yield from rows.read_freshness())}
    if query.top is None:
        page = yield Scan(tables.TOTALS, query.start, query.limit, consistent=False)
        return {"totals": [to_json(item) for item in page.items], "cursor": encode_cursor(page.last), **freshness}
    found = yield from top_list.read(TOP, now)
    listed = {
        "totals": [to_json(row) for row in found.rows[: query.top]],
        "asOf": timestamps.from_epoch(int(found.as_of)),
        "complete": found.complete,
        **freshness,
    }
    return (
        listed
        if query.trend_of is None
        else {**listed, "trend": (yield from trend.find(query.trend_of, query.days, now))}
    )


def is_kept() -> bool:
    """Return whether the model has the view that these routes show."""
    return http.is_kept(tables.TOTALS, ("product",), "totalQuantity", "orderCount")


def encode_cursor(key: Key | None) -> str | None:
    """Return the opaque cursor for the key of a page's last item, or None for None, the end of the table."""
    if key is None:
        return None
    return cursors.encode(key[0])


def _decode_cursor(cursor: str) -> Key | None:
    """Return the key in a cursor, or None if it is not a cursor from this API.

    The product in the key need not be valid, because someone may have written the item to the table directly.
    """
    try:
        product = cursors.decode(cursor, _CURSOR_MAX_BYTES)
        return (product,) if isinstance(product, str) and orders.can_be_key(product) else None
    except ValueError:  # The text is not a cursor, or the product is not valid Unicode.
        return None
