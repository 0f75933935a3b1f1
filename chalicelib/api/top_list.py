"""The top list of a view: its rows with the largest amounts, cached in StateTable.

To find these rows, the app must scan the view's table. So all readers share one list of the first ROWS_MAX rows, which
is refreshed only while somebody reads it:

1. A request that finds the list too old claims its refresh. Only one request gets the claim. It scans the table and
   writes the new list. All other requests return the old list.
2. A claim names the list that it replaces, so a request that has read an older list cannot claim again. If the owner of
   a claim crashes, another request can take over after CLAIM_SECONDS.
3. A request scans at most PAGES_MAX pages. If the table has more, the claim only records that a new list is wanted, and
   the scheduled `refresh_if_wanted` scans the table. The first list then covers only four pages and is not `complete`.
4. The refresh interval grows with the cost of a refresh, so refreshing costs the same at any size (docs/scale.md).
"""

import heapq
import json
import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from chalicelib import amounts, tables, views
from chalicelib.amounts import Amount
from chalicelib.effects import BatchGet, ConditionalUpdate, Key, Scan, Sleep, Steps, update_state
from chalicelib.orders import Item

ROWS_MAX = 100
PAGES_MAX = 4
"""The most pages, of 1 MB each, that a request scans."""
PAGE_ITEMS = 20_000  # More items than fit into 1 MB, so every page is as large as possible.

INTERVAL_MIN_SECONDS = 1.0
SECONDS_PER_READ_UNIT = 0.1
READ_UNITS_PER_WRITE_UNIT = 5  # The ratio of the prices, $0.625 and $0.125 per million on demand in us-east-1.

CLAIM_SECONDS = 30.0  # A request takes at most 29 s.
SCHEDULED_CLAIM_SECONDS = 900.0  # A scheduled invocation takes at most 900 s.

# While one request makes the first list, other requests wait up to 5 s for it. If it crashed, they scan themselves.
FIRST_LIST_WAITS = 25
FIRST_LIST_WAIT_SECONDS = 0.2

LIST_MAX_BYTES = 380_000  # The limit for a list. An item may have 400 KB.
_TEXT_MAX_CHARACTERS = 64  # The limit for attributes outside the key, such as a timestamp.


class TopView(NamedTuple):
    """The definition of a top list: the view's table, the amount that ranks rows, and the attributes to keep."""

    table: str
    amount: str
    attributes: tuple[str, ...]  # The attributes that the list keeps, besides the key and `amount`.
    places: int = 0  # The decimal places of `amount`.
    sums: Mapping[str, int] = MappingProxyType({})  # The amounts to add up over all rows, and their decimal places.

    @property
    def list_key(self) -> Key:
        """The key of the list's item in StateTable."""
        return (f"top/{self.table}",)

    @property
    def claim_key(self) -> Key:
        """The key of the requests' claim. A separate item, because a write is billed by the item's size."""
        return (f"top/{self.table}/claim",)

    @property
    def scheduled_claim_key(self) -> Key:
        """The key of the scheduled function's claim."""
        return (f"top/{self.table}/scheduled",)


class TopList(NamedTuple):
    """A top list. Its rows are sorted by amount, the largest first, and by key if amounts are equal."""

    rows: list[Item]
    as_of: float  # The time of the scan in epoch seconds; 0 if there is no list.
    units: float  # The cost of making the list, in read units.
    pages: int  # The number of scanned pages.
    complete: bool  # Whether the scan covered the whole table.
    row_count: int = 0  # The number of scanned rows.
    sums: Item = MappingProxyType({})  # The sums of their amounts, as attributes.

    @property
    def interval_seconds(self) -> float:
        """The age in seconds at which the list must be refreshed."""
        return max(INTERVAL_MIN_SECONDS, SECONDS_PER_READ_UNIT * self.units)

    @property
    def is_large(self) -> bool:
        """Whether the table is too large to scan within a request."""
        return not self.complete or self.pages > PAGES_MAX


NO_LIST = TopList([], 0, 0, 0, True)


def read(view: TopView, now: float) -> Steps[TopList]:
    """Return the list. First refresh it if it is too old and no other request does. `now` is in epoch seconds."""
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
        if current is NO_LIST or fresh.complete:  # Do not replace a complete list by an incomplete one.
            yield _write(view, fresh)
            return fresh
    return current


def refresh_if_wanted(view: TopView, now: float) -> Steps[None]:
    """Refresh the list from the whole table if a request has claimed its refresh, or if it is not complete."""
    current, replaced, _ = yield from _load(view)
    if current.complete and replaced < current.as_of:
        return
    if (yield _claim(view.scheduled_claim_key, current, now, SCHEDULED_CLAIM_SECONDS)):
        yield _write(view, (yield from _scan(view, now, float("inf"))))


def largest(view: TopView, rows: Iterable[Item]) -> list[Item]:
    """Return the ROWS_MAX rows with the largest amounts, in order, without holding all rows in memory."""
    key = tables.KEYS[view.table]
    return heapq.nsmallest(
        ROWS_MAX,
        rows,
        lambda row: (-views.read_amount(row, view.amount, view.places), *(row[name]["S"] for name in key)),
    )


def _load(view: TopView) -> Steps[tuple[TopList, float, float]]:
    """Return the list (or NO_LIST), and from the last claim the `as_of` that it replaces and its time."""
    found = yield BatchGet(tables.STATE, [view.list_key, view.claim_key])
    claim = found.get(view.claim_key, {})
    replaced, claimed_at = (float(claim.get(name, {}).get("N", -1)) for name in ("replaces", "claimedAt"))
    return _from_item(found.get(view.list_key)), replaced, claimed_at


def _scan(view: TopView, now: float, pages_max: float) -> Steps[TopList]:
    rows: list[Item] = []
    start, units, pages = None, 0.0, 0
    count, sums = 0, dict[str, Amount]()
    while pages < pages_max and (start is not None or not pages):
        page = yield Scan(view.table, start, PAGE_ITEMS, consistent=False)
        rows = largest(view, [*rows, *page.items])
        count += len(page.items)
        for item in page.items:
            amounts.add_to(sums, {name: views.read_amount(item, name, places) for name, places in view.sums.items()})
        start, units, pages = page.last, units + page.units, pages + 1
    rows = [_cut(view, row) for row in rows]
    attributes = {name: {"N": amounts.to_text(amount)} for name, amount in sums.items()}
    return TopList(rows, round(now, 3), units, pages, start is None, count, attributes)


def _cut(view: TopView, row: Item) -> Item:
    """Return the attributes of a row that the list keeps, without values that this app cannot have written."""
    values = {name: row.get(name, {}) for name in (view.amount, *view.attributes)}
    kept = {name: each for name, each in values.items() if "N" in each or len(each.get("S", "")) in _TEXT_LENGTHS}
    return {name: row[name] for name in tables.KEYS[view.table]} | kept


_TEXT_LENGTHS = range(1, _TEXT_MAX_CHARACTERS + 1)


# --- Items of StateTable -------------------------------------------------------------------------


def _claim(key: Key, current: TopList, now: float, expires_after: float) -> ConditionalUpdate:
    """Return the update that claims the refresh of a list. It fails if another claim is still valid."""
    return update_state(
        key,
        {"replaces": {"N": str(current.as_of)}, "claimedAt": {"N": f"{now:.3f}"}},
        "attribute_not_exists(replaces) OR replaces < :replaces OR claimedAt < :expired",
        {":expired": {"N": f"{now - expires_after:.3f}"}},
    )


def _write(view: TopView, fresh: TopList) -> ConditionalUpdate:
    """Return the update that stores a list. It fails if the stored list is newer.

    The rows are compressed, because a write costs one unit per KB. If they are still too large, the last rows are cut.
    """
    rows = fresh.rows
    while len(packed := zlib.compress(json.dumps(rows, separators=(",", ":")).encode())) > LIST_MAX_BYTES:
        rows = rows[: len(rows) * 9 // 10]
    write_units = 2 + len(packed) // 1000  # One unit for the claim, the others for the list.
    attributes = {
        "packedRows": {"B": packed},
        "asOf": {"N": str(fresh.as_of)},
        "readUnits": {"N": str(fresh.units + READ_UNITS_PER_WRITE_UNIT * write_units)},
        "pageCount": {"N": str(fresh.pages)},
        "isComplete": {"BOOL": fresh.complete},
        "rowCount": {"N": str(fresh.row_count)},
        "sums": {"M": fresh.sums},
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
            int(fields["rowCount"]["N"]),
            fields["sums"]["M"],
        )
    except (KeyError, TypeError, ValueError, zlib.error):
        return NO_LIST
