"""Trends as people read them: TrendTable's items of one product as JSON, by day and hour, UTC.

An item stands for a day on which something was placed and has an attribute for each hour in which
something was; here come the days and hours in which nothing was. What fills the items is in views.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from chalicelib import views
from chalicelib.api import query_string
from chalicelib.orders import FieldErrors, Item

DAYS_DEFAULT = 7
DAYS_MAX = 90  # An item stays below 2 KB: these are never more than a Query's one page, 1 MB.

_HOURS = [f"h{hour:02}" for hour in range(24)]


def days_asked(query: Mapping[str, str] | None) -> int | FieldErrors:
    """How many days a query string asks for, or all that is wrong with it."""
    asked = query or {}
    problems: FieldErrors = {}
    days = query_string.whole(asked, "days", DAYS_DEFAULT, DAYS_MAX, problems)
    query_string.refuse_others(asked, ["days"], problems)
    return problems or days


def days_until(last: str, count: int) -> list[str]:
    """`count` days in a row, `last` (`2026-11-23`) being the last of them."""
    end = date.fromisoformat(last)
    return [(end - timedelta(days=back)).isoformat() for back in reversed(range(count))]


def to_json(product: str, days: Sequence[str], items: Iterable[Item]) -> dict[str, Any]:
    """A product's trend as the API answers with it.

    `{"product", "total", "days": [{"day", "total", "hours": [24 quantities]}]}`: every one of `days` and all
    its hours; `total` is the sum over them.
    """
    by_day = {item["day"]["S"]: item for item in items}
    shown = [_day(day, by_day.get(day, {})) for day in days]
    return {"product": product, "total": sum(day["total"] for day in shown), "days": shown}


def _day(day: str, item: Item) -> dict[str, Any]:
    hours = [views.amount(item, hour) for hour in _HOURS]
    return {"day": day, "total": views.amount(item, "total"), "hours": hours}
