"""The routes for totals: a product's total, pages of totals, and the largest totals."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import orders, tables, views
from chalicelib.api import http, query_string, rows, trend
from chalicelib.api.rows import RowsQuery
from chalicelib.effects import Get, Steps
from chalicelib.orders import FieldErrors, Item
from chalicelib.views import View


def to_json(item: Item) -> dict[str, Any]:
    """Return an item of AggregateTable as the API shows it."""
    return {
        "product": item["product"]["S"],
        "totalQuantity": views.read_amount(item, "totalQuantity"),
        "orderCount": views.read_amount(item, "orderCount"),
        "updatedAt": item.get("updatedAt", {}).get("S"),
    }


class TotalsQuery(NamedTuple):
    """The query of `GET /totals`: a page of totals, or the largest totals, which may include a product's trend."""

    rows: RowsQuery
    trend_of: str | None  # The product whose trend to include.
    days: int  # The number of days in the trend.


def parse_query(view: View, query: Mapping[str, str] | None) -> TotalsQuery | FieldErrors:
    """Return the query of `GET /totals`, or all errors in its parameters."""
    query = query or {}
    errors = FieldErrors()
    parsed = rows.parse_query(view, {name: query[name] for name in query if name in rows.QUERY_PARAMETERS})
    if isinstance(parsed, FieldErrors):
        errors.update(parsed)
    if "trend" in query and "top" not in query:
        errors["trend"] = "needs top"
    if "days" in query and "trend" not in query:
        errors["days"] = "needs trend"
    days = query_string.whole_number(query, "days", trend.DAYS_DEFAULT, trend.DAYS_MAX, errors)
    query_string.reject_unknown(query, [*rows.QUERY_PARAMETERS, "trend", "days"], errors)
    if isinstance(parsed, FieldErrors) or errors:
        return errors
    return TotalsQuery(parsed, query.get("trend"), days)


def show(segment: str) -> Steps[dict[str, Any]]:
    """Return one product's total. The path segment is percent-encoded."""
    http.require(view())
    name = http.decode_segment(segment)
    item = (yield Get(tables.TOTALS, (name,))) if orders.can_be_key(name) else None
    return to_json(http.counted(item, name))


def list_totals(params: Mapping[str, str] | None, now: float) -> Steps[dict[str, Any] | FieldErrors]:
    """Return `{"totals", "cursor"}` for a page, `{"totals", "asOf", "complete"}` for the largest totals.

    Both have `freshness`. `now` is in epoch seconds. The cursor of the last page is None.
    """
    kept = http.require(view())
    query = parse_query(kept, params)
    if isinstance(query, FieldErrors):
        return query
    items, more = yield from rows.read(kept, query.rows, now)
    listed = {"totals": [to_json(item) for item in items], **more}
    if query.trend_of is not None:
        listed["trend"] = yield from trend.find(query.trend_of, query.days, now)
    return listed


def view() -> View | None:
    """Return the totals' view, or None if the model has removed it or changed its key or amounts."""
    kept = views.of_form(tables.TOTALS, ("product",), "totalQuantity", "orderCount")
    return kept if kept and kept.top == "totalQuantity" else None
