"""Totals for people: pages, cursors and the top."""

from typing import Any

import pytest

from chalicelib.api import totals
from chalicelib.api.totals import TotalsQuery


def total(product: str, quantity: int) -> dict[str, dict[str, str]]:
    return {
        "product": {"S": product},
        "totalQuantity": {"N": str(quantity)},
        "orderCount": {"N": "1"},
        "updatedAt": {"S": "2026-11-23T10:00:00Z"},
        "revision": {"N": "1"},
    }


def test_a_total_is_shown_in_plain_numbers():
    assert totals.to_json(total("Pen", 5)) == {
        "product": "Pen", "totalQuantity": 5, "orderCount": 1, "updatedAt": "2026-11-23T10:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "quantity", "count"),
    [
        ({}, 0, 0),
        ({"totalQuantity": {"N": "7"}}, 7, 0),
        ({"totalQuantity": {"N": "7.9"}, "orderCount": {"N": "1E+2"}}, 7, 100),
        ({"totalQuantity": {"S": "many"}, "orderCount": {"NULL": True}, "updatedAt": {"N": "1"}}, 0, 0),
    ],
)
def test_a_total_that_another_hand_has_written_keeps_nobody_from_the_others(
    item: dict[str, Any], quantity: int, count: int
):
    by_hand = {"product": {"S": "Ghost"}, **item}
    shown = {"product": "Ghost", "totalQuantity": quantity, "orderCount": count, "updatedAt": None}
    assert totals.to_json(by_hand) == shown
    assert totals.top_totals([total("Ink", 9), by_hand], 2) == [total("Ink", 9), by_hand]


def asked(**query: str) -> tuple[int, object, int | None] | dict[str, str]:
    listing = totals.parse_query(query)
    return (listing.limit, listing.start, listing.top) if isinstance(listing, TotalsQuery) else listing


def test_without_a_query_the_first_page_is_asked_for():
    assert asked() == (50, None, None)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_a_page_has_the_size_that_is_asked_for(limit: str):
    assert asked(limit=limit) == (int(limit), None, None)


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", " 1", "1e1", "٣", "9" * 5000, "0" * 5000 + "1"])
@pytest.mark.parametrize("name", ["limit", "top"])
def test_a_number_out_of_bounds_is_refused(name: str, text: str):
    assert asked(**{name: text}) == {name: "must be a whole number from 1 to 100"}


@pytest.mark.parametrize("product", ["Pen", "C++ & Co / 50%", "筆記本 📓", " ", "\x00", "a" * 2048])
def test_a_cursor_leads_to_where_it_was_given(product: str):
    cursor = totals.cursor({"product": {"S": product}})
    assert cursor
    assert asked(cursor=cursor) == (50, {"product": {"S": product}}, None)


def test_the_last_page_has_no_cursor():
    assert totals.cursor(None) is None


TOO_LONG_FOR_A_KEY = totals.cursor({"product": {"S": "a" * 2049}})
OF_NO_KEY = totals.cursor({"product": {"S": ""}})


@pytest.mark.parametrize(
    "cursor", [TOO_LONG_FOR_A_KEY, OF_NO_KEY, "", "x", "UGVu", "AAAAAFBlbg", "é", "a b", "=", "A" * 5000]
)
def test_a_cursor_that_was_never_given_is_refused(cursor: str):
    assert asked(cursor=cursor) == {"cursor": "is not a cursor from this API; omit it to start over"}


def test_the_top_answers_at_once_and_so_has_no_pages():
    assert asked(top="3") == (50, None, 3)
    assert asked(top="3", limit="5") == {"top": "cannot be combined with limit or cursor"}


def test_parameters_that_are_not_there_are_refused():
    assert asked(size="3") == {"size": "is not a parameter here; there is limit, cursor, top"}


def test_the_top_is_by_quantity_and_ties_by_name():
    items = [total("c", 5), total("b", 9), total("a", 5), total("d", 1)]
    assert [item["product"]["S"] for item in totals.top_totals(items, 3)] == ["b", "a", "c"]
