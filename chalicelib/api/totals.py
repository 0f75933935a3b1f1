"""Totals as people read them: AggregateTable's items as JSON, pages of them, and the top of them.

How the items come about is not here: see ledger.py and transactions.py.
"""

import base64
import binascii
import heapq
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib import orders, views
from chalicelib.api import query_string
from chalicelib.orders import FieldErrors, Item

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
TOP_MAX = 100

BAD_CURSOR = "is not a cursor from this API; omit it to start over"


def to_json(item: Item) -> dict[str, Any]:
    """One product's total as the API answers with it."""
    return {
        "product": item["product"]["S"],
        "totalQuantity": views.amount(item, "totalQuantity"),
        "orderCount": views.amount(item, "orderCount"),
        "updatedAt": item.get("updatedAt", {}).get("S"),
    }


class TotalsQuery:
    """What a request for many totals asks for: a page of them, or the top."""

    def __init__(self, limit: int, start: dict[str, Any] | None, top: int | None) -> None:
        self.limit = limit  # Totals a page.
        self.start = start  # The key after which the page starts.
        self.top = top  # How many of the largest; None for a page.


def parse_query(query: Mapping[str, str] | None) -> TotalsQuery | FieldErrors:
    """What a query string asks for, or all that is wrong with it."""
    asked = query or {}
    problems: FieldErrors = {}
    limit = query_string.whole(asked, "limit", LIMIT_DEFAULT, LIMIT_MAX, problems)
    top = query_string.whole(asked, "top", TOP_MAX, TOP_MAX, problems) if "top" in asked else None
    start = _key_of(asked["cursor"]) if "cursor" in asked else None
    if "cursor" in asked and start is None:
        problems["cursor"] = BAD_CURSOR
    if top is not None and ("limit" in asked or "cursor" in asked):
        problems["top"] = "cannot be combined with limit or cursor"
    query_string.refuse_others(asked, ["limit", "cursor", "top"], problems)
    return problems or TotalsQuery(limit, start, top)


def cursor(key: Mapping[str, Any] | None) -> str | None:
    """The opaque cursor that stands for `LastEvaluatedKey`, None for the end."""
    if key is None:
        return None
    product = key["product"]["S"].encode()
    return base64.urlsafe_b64encode(zlib.crc32(product).to_bytes(4, "big") + product).decode().rstrip("=")


def _key_of(cursor: str) -> dict[str, Any] | None:
    """Return the key that a cursor stands for, or None if it is not a cursor from this API.

    The key's product need not be valid: someone may have written the item by hand.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        product = raw[4:].decode()
    except (binascii.Error, ValueError):
        return None
    if raw[:4] != zlib.crc32(raw[4:]).to_bytes(4, "big") or not orders.can_be_key(product):
        return None
    return {"product": {"S": product}}


def top_totals(items: Iterable[Item], top: int) -> list[Item]:
    """The `top` items by quantity, ties by name; in memory are never more than these and one."""
    return heapq.nsmallest(top, items, key=lambda item: (-views.amount(item, "totalQuantity"), item["product"]["S"]))
