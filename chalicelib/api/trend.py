"""The route for trends: a product's quantities by day and hour, in UTC.

TrendTable has an item for each day with orders, which has an attribute for each hour with orders. The JSON has every
day and hour, with zeros where there are no orders.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from chalicelib import orders, tables, timestamps, views
from chalicelib.api import http, query_string
from chalicelib.effects import Get, Query, Steps
from chalicelib.orders import FieldErrors, Item
from chalicelib.views import View

DAYS_DEFAULT = 7
DAYS_MAX = 90  # An item is smaller than 2 KB, so 90 items fit into one page of a Query, which has 1 MB.

_HOURS = [f"h{hour:02}" for hour in range(24)]


def parse_days(query: Mapping[str, str] | None) -> int | FieldErrors:
    """Return the `days` parameter of a trend, or all errors in the parameters."""
    query = query or {}
    errors = FieldErrors()
    days = query_string.whole_number(query, "days", DAYS_DEFAULT, DAYS_MAX, errors)
    query_string.reject_unknown(query, ["days"], errors)
    return errors or days


def days_until(last: str, count: int) -> list[str]:
    """Return `count` consecutive days up to `last`, as texts such as `2026-11-23`."""
    end = date.fromisoformat(last)
    return [(end - timedelta(days=back)).isoformat() for back in reversed(range(count))]


def show(segment: str, params: Mapping[str, str] | None, now: float) -> Steps[dict[str, Any] | FieldErrors]:
    """Return a product's trend. The path segment is percent-encoded. `now` is in epoch seconds."""
    http.require(view())
    count = parse_days(params)
    if isinstance(count, FieldErrors):
        return count
    name = http.decode_segment(segment)
    return http.counted((yield from find(name, count, now)), name)


def find(product: str, count: int, now: float) -> Steps[dict[str, Any] | None]:
    """Return a product's trend, or None if nothing has been counted for it."""
    if not orders.can_be_key(product) or view() is None:
        return None
    days = days_until(timestamps.from_epoch(int(now))[:10], count)
    page = yield Query(tables.TREND, product, days[0], days[-1])
    return to_json(product, days, page.items) if page.items or (yield Get(tables.TOTALS, (product,))) else None


def view() -> View | None:
    """Return the trend's view. Return None if the model has removed or changed the trend or the totals."""
    has_totals = views.of_form(tables.TOTALS, ("product",))
    return views.of_form(tables.TREND, ("product", "day"), "total") if has_totals else None


def to_json(product: str, days: Sequence[str], items: Iterable[Item]) -> dict[str, Any]:
    """Return a product's trend: `{"product", "total", "days": [{"day", "total", "hours": [24 quantities]}]}`.

    It has every day in `days`. Items of other days are ignored. `total` is the sum of these days.
    """
    items_by_day = {item["day"]["S"]: item for item in items}
    trend = [_day_to_json(day, items_by_day.get(day, {})) for day in days]
    return {"product": product, "total": sum(day["total"] for day in trend), "days": trend}


def _day_to_json(day: str, item: Item) -> dict[str, Any]:
    hours = [views.read_amount(item, hour) for hour in _HOURS]
    return {"day": day, "total": views.read_amount(item, "total"), "hours": hours}
