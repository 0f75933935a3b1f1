"""Totals in the API: AggregateTable's items as JSON, pages with cursors, and the largest totals."""

import heapq
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chalicelib import cursors, orders, views
from chalicelib.api import query_string
from chalicelib.effects import Key, Page
from chalicelib.orders import FieldErrors, Item

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
SCAN_ITEMS = 20_000  # More than fit into the 1 MB of a Scan page, so that the size ends a page.
TOP_MAX = 100
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
    query_string.reject_unknown(query, ["limit", "cursor", "top"], errors)
    return errors or TotalsQuery(limit, start, top)


def page_to_json(page: Page) -> dict[str, Any]:
    """Return a page as `{"totals", "cursor"}`; the cursor of the last page is None."""
    return {"totals": [to_json(item) for item in page.items], "cursor": encode_cursor(page.last)}


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


def top_to_json(items: Iterable[Item], top: int) -> dict[str, Any]:
    """Return the `top` totals with the largest quantities as `{"totals"}`; ties are ordered by product.

    Keep only that many in memory, so that `items` can be a generator over the whole table.
    """
    largest = heapq.nsmallest(
        top, items, key=lambda item: (-views.read_amount(item, "totalQuantity"), item["product"]["S"])
    )
    return {"totals": [to_json(item) for item in largest]}
