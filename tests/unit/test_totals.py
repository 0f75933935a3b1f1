"""Totals in the API: query parameters, cursors and the largest totals."""

from typing import Any

import pytest

from chalicelib.api import top_list, totals
from chalicelib.api.totals import TotalsQuery
from chalicelib.orders import FieldErrors


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
    assert top_list.largest(totals.TOP, [malformed, total("Ink", 9)])[0] == total("Ink", 9)


def parse(**query: str) -> TotalsQuery | FieldErrors:
    return totals.parse_query(query)


def test_default_is_the_first_page():
    assert parse() == TotalsQuery(50, None, None)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_limit_sets_the_page_size(limit: str):
    assert parse(limit=limit) == TotalsQuery(int(limit), None, None)


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", " 1", "1e1", "٣", "9" * 5000, "0" * 5000 + "1"])
@pytest.mark.parametrize("name", ["limit", "top"])
def test_number_out_of_range_is_an_error(name: str, text: str):
    assert parse(**{name: text}) == {name: "must be a whole number from 1 to 100"}


@pytest.mark.parametrize("product", ["Pen", "C++ & Co / 50%", "筆記本 📓", " ", "\x00", "a" * 2048])
def test_cursor_decodes_to_its_key(product: str):
    cursor = totals.encode_cursor((product,))
    assert cursor
    assert parse(cursor=cursor) == TotalsQuery(50, (product,), None)


def test_last_page_has_no_cursor():
    assert totals.encode_cursor(None) is None


KEY_TOO_LONG = totals.encode_cursor(("a" * 2049,))
KEY_EMPTY = totals.encode_cursor(("",))


@pytest.mark.parametrize(
    "cursor", [KEY_TOO_LONG, KEY_EMPTY, "", "x", "UGVu", "AAAAAFBlbg", "é", "a b", "=", "A" * 5000]
)
def test_cursor_from_elsewhere_is_an_error(cursor: str):
    assert parse(cursor=cursor) == {"cursor": "is not a cursor from this API; omit it to start over"}


def test_top_cannot_be_combined_with_pages():
    assert parse(top="3") == TotalsQuery(50, None, 3)
    assert parse(top="3", limit="5") == {"top": "cannot be combined with limit or cursor"}


def test_unknown_parameter_is_an_error():
    assert parse(size="3") == {"size": "is not a known parameter; the parameters are limit, cursor, top, trend, days"}


def test_trend_of_a_product_comes_with_the_largest_totals_only():
    assert parse(top="3", trend="Pen") == TotalsQuery(50, None, 3, "Pen", 7)
    assert parse(top="3", trend="Pen", days="30") == TotalsQuery(50, None, 3, "Pen", 30)
    assert parse(trend="Pen") == {"trend": "needs top"}
    assert parse(top="3", days="30") == {"days": "needs trend"}
    assert parse(top="3", trend="Pen", days="91") == {"days": "must be a whole number from 1 to 90"}
