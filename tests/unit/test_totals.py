"""Tests for the API's totals: query parameters, cursors and the largest totals."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import NotFoundError

from chalicelib import tables, views
from chalicelib.api import rows, top_list, totals
from chalicelib.api.rows import RowsQuery
from chalicelib.api.totals import TotalsQuery
from chalicelib.effects import BatchGet, ConditionalUpdate, Page, Scan
from chalicelib.orders import FieldErrors
from tests.doubles import FakeDynamoDB
from tests.unit.test_rows import result

VIEW = views.VIEWS[tables.TOTALS]


def total(product: str, quantity: int) -> dict[str, dict[str, str]]:
    return {
        "product": {"S": product},
        "totalQuantity": {"N": str(quantity)},
        "orderCount": {"N": "1"},
        "updatedAt": {"S": "2026-11-23T10:00:00Z"},
        "revision": {"N": "1"},
    }


def test_total_is_shown_in_plain_numbers():
    assert totals.to_json(total("Pen", 5)) == {
        "product": "Pen", "totalQuantity": 5, "orderCount": 1, "updatedAt": "2026-11-23T10:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "quantity", "count"),
    [
        ({}, 0, 0),
        ({"totalQuantity": {"N": "7"}}, 7, 0),
        ({"totalQuantity": {"N": "7.9"}, "orderCount": {"N": "1E+2"}}, 0, 100),
        ({"totalQuantity": {"S": "many"}, "orderCount": {"NULL": True}, "updatedAt": {"N": "1"}}, 0, 0),
    ],
)
def test_malformed_total_is_shown_with_zeros_and_does_not_hide_the_others(
    item: dict[str, Any], quantity: int, count: int
):
    malformed = {"product": {"S": "Ghost"}, **item}
    expected = {"product": "Ghost", "totalQuantity": quantity, "orderCount": count, "updatedAt": None}
    assert totals.to_json(malformed) == expected
    assert top_list.largest(rows.top_view(VIEW), [malformed, total("Ink", 9)])[0] == total("Ink", 9)


def parse(**query: str) -> TotalsQuery | FieldErrors:
    return totals.parse_query(VIEW, query)


def test_default_is_the_first_page():
    assert parse() == TotalsQuery(RowsQuery(50, None, None), None, 7)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_limit_sets_the_page_size(limit: str):
    assert parse(limit=limit) == TotalsQuery(RowsQuery(int(limit), None, None), None, 7)


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", " 1", "1e1", "٣", "9" * 5000, "0" * 5000 + "1"])
@pytest.mark.parametrize("name", ["limit", "top"])
def test_number_out_of_range_is_an_error(name: str, text: str):
    assert parse(**{name: text}) == {name: "must be a whole number from 1 to 100"}


@pytest.mark.parametrize("product", ["Pen", "C++ & Co / 50%", "筆記本 📓", " ", "\x00", "a" * 2048])
def test_cursor_decodes_to_its_key(product: str):
    cursor = rows.encode_cursor(VIEW, (product,))
    assert cursor
    assert parse(cursor=cursor) == TotalsQuery(RowsQuery(50, (product,), None), None, 7)


def test_last_page_has_no_cursor():
    assert rows.encode_cursor(VIEW, None) is None


KEY_TOO_LONG = rows.encode_cursor(VIEW, ("a" * 2049,))
KEY_EMPTY = rows.encode_cursor(VIEW, ("",))


@pytest.mark.parametrize(
    "cursor", [KEY_TOO_LONG, KEY_EMPTY, "", "x", "UGVu", "AAAAAFBlbg", "é", "a b", "=", "A" * 5000]
)
def test_cursor_from_elsewhere_is_an_error(cursor: str):
    assert parse(cursor=cursor) == {"cursor": "is not a cursor from this API; omit it to start over"}


def test_top_cannot_be_combined_with_pages():
    assert parse(top="3") == TotalsQuery(RowsQuery(50, None, 3), None, 7)
    assert parse(top="3", limit="5") == {"top": "cannot be combined with limit or cursor"}


def test_unknown_parameter_is_an_error():
    assert parse(size="3") == {
        "size": "is not a known parameter; the parameters are limit, cursor, top, recent, trend, days"
    }


def test_trend_of_a_product_comes_with_the_largest_totals_only():
    assert parse(top="3", trend="Pen") == TotalsQuery(RowsQuery(50, None, 3), "Pen", 7)
    assert parse(top="3", trend="Pen", days="30") == TotalsQuery(RowsQuery(50, None, 3), "Pen", 30)
    assert parse(trend="Pen") == {"trend": "needs top"}
    assert parse(top="3", days="30") == {"days": "needs trend"}
    assert parse(top="3", trend="Pen", days="91") == {"days": "must be a whole number from 1 to 90"}


# --- Another model's view of the table ------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"places": {"totalQuantity": 2, "orderCount": 0}}, {"top": "orderCount"}, {"top": None}, {"key": ("sku",)}],
    ids=repr,
)
def test_totals_routes_do_not_serve_a_view_of_another_form(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]):
    """The routes would show decimal quantities as 0, and could mix two lists with different amounts."""
    other = views.VIEWS[tables.TOTALS]._replace(**changes)
    monkeypatch.setitem(views.VIEWS, tables.TOTALS, other)
    with pytest.raises(NotFoundError, match="GET /views"):
        result(totals.show("Pen"), FakeDynamoDB())
    with pytest.raises(NotFoundError, match="GET /views"):
        result(totals.list_totals({"top": "1"}, 0.0), FakeDynamoDB())


def test_largest_totals_and_largest_rows_share_one_list_with_all_amounts(monkeypatch: pytest.MonkeyPatch):
    shipped = views.VIEWS[tables.TOTALS]
    monkeypatch.setitem(views.VIEWS, tables.TOTALS, shipped._replace(places={**shipped.places, "weight": 2}))
    by_totals = written(totals.list_totals({"top": "1"}, 0.0))
    assert by_totals == written(rows.list_rows("totals", {"top": "1"}, 0.0))
    assert by_totals[("top/AggregateTable",)] == [{**WITHOUT_REVISION, "weight": {"N": "1.5"}}]


WITHOUT_REVISION = {name: value for name, value in total("Pen", 5).items() if name != "revision"}


def written(steps: Iterator[Any]) -> dict[Any, Any]:
    """Return the rows that a route writes into StateTable, by the key of their list. The view has one product."""
    item = {**total("Pen", 5), "weight": {"N": "1.5"}}
    lists: dict[Any, Any] = {}
    given: Any = None
    while True:
        try:
            effect = steps.send(given)  # type: ignore[attr-defined]
        except StopIteration:
            return lists
        given = {} if isinstance(effect, BatchGet) else None
        if isinstance(effect, Scan):
            given = Page([item], None, 0.5)
        elif isinstance(effect, ConditionalUpdate):
            given = True
            packed = effect.parameters["ExpressionAttributeValues"].get(":packedRows")
            if packed:
                lists[(effect.parameters["Key"]["name"]["S"],)] = json.loads(zlib.decompress(packed["B"]))
