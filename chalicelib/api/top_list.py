"""The rows of a view with the largest amounts, from one cached list per view.

Finding them takes a scan of the view's table. So the first ROWS_MAX are kept in StateTable, all readers share them,
and they are refreshed only while somebody reads them:

1. A request that finds the list too old claims its refresh. Only one request gets the claim: it scans the table and
   writes the new list. All others return the old list.
2. A claim names the list that it replaces, so that a request with an older list cannot claim again. If its owner
   crashed, another request can take it over after CLAIM_SECONDS.
3. A request scans at most PAGES_MAX pages. If the table has more, the claim only says that somebody wants a new list,
   and the scheduled `refresh_if_wanted` scans. The very first list is then of four pages, and not `complete`.
4. The interval grows with what a refresh costs, so that refreshing costs the same at any size (docs/scale.md).
"""

import heapq
import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from chalicelib import tables, views
from chalicelib.effects import BatchGet, ConditionalUpdate, Key, Scan, Sleep, Steps, update_state
from chalicelib.orders import Item

ROWS_MAX = 100
PAGES_MAX = 4
"""How many pages of 1 MB a request scans."""
PAGE_ITEMS = 20_000  # More than fit into a page, so that its size ends it.

INTERVAL_MIN_SECONDS = 1.0
SECONDS_PER_READ_UNIT = 0.1
READ_UNITS_PER_WRITE_UNIT = 5  # By price: $0.625 and $0.125 per million, on demand in us-east-1.

CLAIM_SECONDS = 30.0  # A request ends after 29 s.
SCHEDULED_CLAIM_SECONDS = 900.0  # Lambda's longest timeout.

# While the first list is being made, others wait for it. After that they scan, since the maker has crashed.
FIRST_LIST_WAITS = 25
FIRST_LIST_WAIT_SECONDS = 0.2

LIST_MAX_BYTES = 380_000  # An item can have 400 KB.
_TEXT_MAX_CHARACTERS = 64  # Of an attribute that is not part of the key, such as a timestamp.


class TopView(NamedTuple):
    """Which rows a list has: those of a view's table with the largest amounts."""

    table: str
    amount: str
    attributes: tuple[str, ...]  # What the list has of a row, besides its key and `amount`.
    places: int = 0  # The decimal places of `amount`.

    @property
    def list_key(self) -> Key:
        """The key of the list's item in StateTable."""
        return (f"top/{self.table}",)

    @property
    def claim_key(self) -> Key:
        """The key of the requests' claim. It is an item of its own, because a write is billed by the item's size."""
        return (f"top/{self.table}/claim",)

    @property
    def scheduled_claim_key(self) -> Key:
        """The key of the schedule's claim."""
        return (f"top/{self.table}/scheduled",)


class TopList(NamedTuple):
    """A list: the rows with the largest amounts, the largest first; rows with equal amounts are ordered by key."""

    rows: list[Item]
    as_of: float  # Epoch seconds just before the scan; 0 if there is no list.
    units: float  # What making it has cost, in read units.
    pages: int  # How many pages were scanned.
    complete: bool  # Whether they were the whole table.

    @property
    def interval_seconds(self) -> float:
        """How old the list may get."""
        return max(INTERVAL_MIN_SECONDS, SECONDS_PER_READ_UNIT * self.units)

    @property
    def is_large(self) -> bool:
        """Whether a request cannot scan the table."""
        return not self.complete or self.pages > PAGES_MAX


NO_LIST = TopList([], 0, 0, 0, True)


def read(view: TopView, now: float) -> Steps[TopList]:
    """Return the list, and refresh it before that if it is due and no other request does. `now` is in epoch seconds."""
    current, replaced, claimed_at = yield from _load(view)
    is_claimed = replaced >= current.as_of and claimed_at >= now - CLAIM_SECONDS
    has_claim = False
    if now >= current.as_of + current.interval_seconds and not is_claimed:
        has_claim = yield _claim(view.claim_key, current, now, CLAIM_SECONDS)
    if current is NO_LIST and not has_claim:
        for _ in range(FIRST_LIST_WAITS):
            yield Sleep(FIRST_LIST_WAIT_SECONDS)
            current, *_ = yield from _load(view)
            if current is not NO_LIST:
                return current
    if current is NO_LIST or (has_claim and not current.is_large):
        fresh = yield from _scan(view, now, PAGES_MAX)
        if current is NO_LIST or fresh.complete:  # Otherwise the table has grown, and the schedule sees the claim.
            yield _write(view, fresh)
            return fresh
    return current


def refresh_if_wanted(view: TopView, now: float) -> Steps[None]:
    """Scan the whole table if a request has claimed to replace the present list, or if that is not complete."""
    current, replaced, _ = yield from _load(view)
    if current.complete and replaced < current.as_of:
        return
    if (yield _claim(view.scheduled_claim_key, current, now, SCHEDULED_CLAIM_SECONDS)):
        yield _write(view, (yield from _scan(view, now, float("inf"))))


def largest(view: TopView, rows: Iterable[Item]) -> list[Item]:
    """Return the ROWS_MAX rows with the largest amounts, in order. Keep only that many in memory."""
    key = tables.KEYS[view.table]
    return heapq.nsmallest(
        ROWS_MAX,
        rows,
        lambda row: (-views.read_amount(row, view.amount, view.places), *(row[name]["S"] for name in key)),
    )


def _load(view: TopView) -> Steps[tuple[TopList, float, float]]:
    """Return the list or NO_LIST, and the requests' claim: the `as_of` of the list that it replaces, and its time."""
    found = yield BatchGet(tables.STATE, [view.list_key, view.claim_key])
    claim = found.get(view.claim_key, {})
    replaced, claimed_at = (float(claim.get(name, {}).get("N", -1)) for name in ("replaces", "claimedAt"))
    return _from_item(found.get(view.list_key)), replaced, claimed_at


def _scan(view: TopView, now: float, pages_max: float) -> Steps[TopList]:
    rows: list[Item] = []
    start, units, pages = None, 0.0, 0
    while pages < pages_max and (start is not None or not pages):
        page = yield Scan(view.table, start, PAGE_ITEMS, consistent=False)
        rows = largest(view, [*rows, *page.items])
        start, units, pages = page.last, units + page.units, pages + 1
    return TopList([_cut(view, row) for row in rows], round(now, 3), units, pages, start is None)


def _cut(view: TopView, row: Item) -> Item:
    """Return what a list has of a row. Leave out attributes that this app cannot have written."""
    values = {name: row.get(name, {}) for name in (view.amount, *view.attributes)}
    kept = {name: each for name, each in values.items() if "N" in each or len(each.get("S", "")) in _TEXT_LENGTHS}
    return {name: row[name] for name in tables.KEYS[view.table]} | kept


_TEXT_LENGTHS = range(1, _TEXT_MAX_CHARACTERS + 1)


# --- Items of StateTable -------------------------------------------------------------------------


def _claim(key: Key, current: TopList, now: float, expires_after: float) -> ConditionalUpdate:
    """Return the request that claims to replace a list, unless somebody has and may still be at it."""
    return update_state(
        key,
        {"replaces": {"N": str(current.as_of)}, "claimedAt": {"N": f"{now:.3f}"}},
        "attribute_not_exists(replaces) OR replaces < :replaces OR claimedAt < :expired",
        {":expired": {"N": f"{now - expires_after:.3f}"}},
    )


def _write(view: TopView, fresh: TopList) -> ConditionalUpdate:
    """Return the request that writes a list, unless there is a newer one.

    The rows are compressed, because a write unit is 1 KB. If too large in spite of that, the last ones are left out.
    """
    rows = fresh.rows
    while len(packed := zlib.compress(json.dumps(rows, separators=(",", ":")).encode())) > LIST_MAX_BYTES:
        rows = rows[: len(rows) * 9 // 10]
    write_units = 2 + len(packed) // 1000  # The claim and the list.
    attributes = {
        "packedRows": {"B": packed},
        "asOf": {"N": str(fresh.as_of)},
        "readUnits": {"N": str(fresh.units + READ_UNITS_PER_WRITE_UNIT * write_units)},
        "pageCount": {"N": str(fresh.pages)},
        "isComplete": {"BOOL": fresh.complete},
    }
    return update_state(
        view.list_key, attributes, "NOT attribute_type(asOf, :number) OR asOf < :asOf", {":number": {"S": "N"}}
    )


def _from_item(item: Item | None) -> TopList:
    """Return the list in an item, or NO_LIST if it is absent or malformed."""
    try:
        fields: dict[str, Any] = dict(item or {})
        return TopList(
            json.loads(zlib.decompress(fields["packedRows"]["B"])),
            float(fields["asOf"]["N"]),
            float(fields["readUnits"]["N"]),
            int(fields["pageCount"]["N"]),
            fields["isComplete"]["BOOL"],
        )
    except (KeyError, TypeError, ValueError, zlib.error):
        return NO_LIST
