"""Tests for the API's rows: JSON, query parameters and cursors, valid and forged."""

from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import NotFoundError

from chalicelib import cursors, tables, views
from chalicelib.api import rows, top_list
from chalicelib.effects import Query, Scan
from chalicelib.orders import FieldErrors
from chalicelib.views import Keep, View
from tests.doubles import FakeDynamoDB, perform

PLAIN = View("plain", "PlainTable", ("merchant",), {"revenue": 2, "payments": 0}, lambda o: None, "revenue", "at", None)
SORTED = View("sorted", "DayTable", ("path", "day"), {"views": 0}, lambda o: None, None, None, Keep(90, "day"))
LONG = "x" * 2049


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> FakeDynamoDB:
    """Return a database with the tables of another model's two views."""
    for view in (PLAIN, SORTED):
        monkeypatch.setitem(views.VIEWS, view.table, view)
        monkeypatch.setitem(tables.KEYS, view.table, view.key)
    made = FakeDynamoDB()
    made.lags = False
    for day in range(1, 8):
        key = ("/a", f"2026-11-0{day}T10")
        made.tables["DayTable"][key] = {"path": {"S": "/a"}, "day": {"S": key[1]}, "views": {"N": str(day)}}
    made.tables["DayTable"]["/b", "2026"] = {"path": {"S": "/b"}, "day": {"S": "2026"}, "views": {"N": "1"}}
    return made


def result(steps: Iterator[Any], dynamo: FakeDynamoDB) -> Any:
    """Perform the effects of a route and return its result."""
    given: Any = None
    while True:
        try:
            given = perform(steps.send(given), dynamo)  # type: ignore[attr-defined]
        except StopIteration as end:
            return end.value


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "revenue", "payments", "at"),
    [
        ({}, "0.00", 0, None),
        ({"revenue": {"N": "12.5"}, "payments": {"N": "3"}, "at": {"S": "2026"}}, "12.50", 3, "2026"),
        ({"revenue": {"N": "-0.5"}, "payments": {"N": "-1"}}, "-0.50", -1, None),
        ({"revenue": {"N": "1E+2"}}, "100.00", 0, None),
        ({"revenue": {"N": "1234567890123456789012345678901234.78"}}, "1234567890123456789012345678901234.78", 0, None),
        ({"revenue": {"N": "0.005"}, "payments": {"N": "1.5"}, "at": {"N": "1"}}, "0.00", 0, None),
        ({"revenue": {"S": "x"}, "payments": {"NULL": True}, "more": {"S": "x"}}, "0.00", 0, None),
    ],
)  # fmt: skip
def test_row_has_every_amount_and_a_malformed_one_as_zero(item: Any, revenue: str, payments: int, at: str | None):
    row = rows.to_json(PLAIN, {"merchant": {"S": "Shop"}, **item})
    assert row == {"merchant": "Shop", "revenue": revenue, "payments": payments, "at": at}


def test_view_without_a_stamp_has_rows_without_one():
    item = {"path": {"S": "/"}, "day": {"S": "2026"}, "views": {"N": "1"}, "updatedAt": {"S": "2026"}}
    assert rows.to_json(SORTED, item) == {"path": "/", "day": "2026", "views": 1}


def test_largest_rows_are_ordered_by_a_decimal_amount(dynamo: FakeDynamoDB):
    items = [{"merchant": {"S": amount}, "revenue": {"N": amount}} for amount in ("2.5", "10.25", "10.3", "x")]
    ordered = top_list.largest(rows.top_view(PLAIN), items)
    assert [each["merchant"]["S"] for each in ordered] == ["10.3", "10.25", "2.5", "x"]


# --- Query parameters and cursors ----------------------------------------------------------------


def cursor(view: View, *key: str) -> str:
    text = rows.encode_cursor(view, key)
    assert isinstance(text, str)
    return text


def test_cursor_decodes_to_its_key():
    assert rows.parse_query(PLAIN, {"cursor": cursor(PLAIN, "筆記本 / 50%")}) == rows.RowsQuery(50, ("筆記本 / 50%",))
    assert rows.parse_query(SORTED, {"cursor": cursor(SORTED, "a", "b")}) == rows.RowsQuery(50, ("a", "b"))


BAD_CURSORS = [
    cursor(SORTED, "a", "b"), cursor(PLAIN, ""), cursor(PLAIN, "a" * 2049), cursor(PLAIN, "a", "b"),
    cursors.encode("a"), cursors.encode(["PlainTable"]), cursors.encode(["PlainTable", 5]), cursors.encode({"a": 1}),
    cursors.encode(["PlainTable", ["a"]]), cursors.encode([]), cursors.encode(None), "", "x", "é", "A" * 50_000,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_CURSORS, ids=lambda text: text[:20])
def test_cursor_of_another_view_or_from_elsewhere_is_an_error(text: str):
    assert rows.parse_query(PLAIN, {"cursor": text}) == {"cursor": rows.BAD_CURSOR}


def test_cursor_with_half_a_surrogate_pair_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cursors, "decode", lambda text, max_bytes: ["PlainTable", "\ud800"])
    assert rows.parse_query(PLAIN, {"cursor": "x"}) == {"cursor": rows.BAD_CURSOR}


@pytest.mark.parametrize(
    ("key", "bounds"),
    [(("other", "b"), {}), (("p", "b"), {"from": "c"}), (("p", "b"), {"to": "a"}), (("p", "s" * 1025), {})],
)
def test_cursor_outside_the_partition_or_the_bounds_is_an_error(key: tuple[str, str], bounds: dict[str, str]):
    query = {"cursor": cursor(SORTED, *key), **bounds}
    assert rows.parse_partition_query(SORTED, "p", query) == {"cursor": rows.BAD_CURSOR}


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ({"limit": "0"}, {"limit": "must be a whole number from 1 to 100"}),
        ({"top": "101"}, {"top": "must be a whole number from 1 to 100"}),
        ({"top": "5", "limit": "5"}, {"top": "cannot be combined with limit or cursor"}),
        ({"from": "a"}, {"from": "is not a known parameter; the parameters are limit, cursor, top, recent"}),
    ],
)
def test_wrong_parameter_of_a_list_is_an_error(query: dict[str, str], errors: dict[str, str]):
    assert rows.parse_query(PLAIN, query) == errors


def test_top_is_an_error_for_a_view_without_a_top_list():
    assert rows.parse_query(SORTED, {"top": "5"}) == {
        "top": "is not possible: the view does not name the amount to sort by"
    }


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("value", ["", "x" * 1025, "é" * 513])
def test_bound_that_cannot_be_a_sort_key_is_an_error(name: str, value: str):
    assert rows.parse_partition_query(SORTED, "p", {name: value}) == {name: rows.BAD_SORT_KEY}


def test_bounds_in_the_wrong_order_are_an_error():
    assert rows.parse_partition_query(SORTED, "p", {"from": "b", "to": "a"}) == {"from": "must not be after to"}
    assert not isinstance(rows.parse_partition_query(SORTED, "p", {"from": "ab", "to": "a"}), FieldErrors)
    longest = rows.parse_partition_query(SORTED, "p", {"to": "x" * 1024})
    assert longest == rows.RowsQuery(50, None, None, None, "x" * 1024)


@pytest.mark.parametrize(
    ("bounds", "condition"),
    [
        ({}, ""),
        ({"first": "a"}, " AND #sort >= :first"),
        ({"last": "b"}, " AND #sort <= :last"),
        ({"first": "a", "last": "b"}, " AND #sort BETWEEN :first AND :last"),
    ],
)
def test_query_names_only_what_its_condition_uses(bounds: dict[str, str], condition: str):
    parameters = Query("TrendTable", "p", **bounds).parameters("name")  # type: ignore[arg-type]
    assert parameters["KeyConditionExpression"] == f"#partition = :partition{condition}"
    used = ("#sort" in condition, *(f":{name}" for name in bounds))
    assert ("#sort" in parameters["ExpressionAttributeNames"], *parameters["ExpressionAttributeValues"]) == (
        used[0], ":partition", *used[1:],
    )  # fmt: skip
    assert "Limit" not in parameters


# --- Routes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"from": "2026-11-03"}, [3, 4, 5, 6, 7]),
        ({"to": "2026-11-03"}, [1, 2, 3]),
        ({"from": "2026-11-02T10", "to": "2026-11-03T10"}, [2, 3]),
        ({"from": "2027"}, []),
    ],
)
def test_partition_has_the_rows_between_the_bounds_in_pages(dynamo: FakeDynamoDB, params: Any, found: list[int]):
    seen: list[int] = []
    query = {"limit": "2", **params}
    while True:
        page = result(rows.list_partition("sorted", "%2Fa", query), dynamo)
        seen += [row["views"] for row in page["rows"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert seen == found


def test_row_of_each_kind_of_view_is_shown(dynamo: FakeDynamoDB):
    dynamo.tables["PlainTable"][("a/b",)] = {"merchant": {"S": "a/b"}, "revenue": {"N": "1"}}
    assert result(rows.list_partition("plain", "a%2Fb", None), dynamo)["revenue"] == "1.00"
    assert result(rows.show("sorted", "%2Fb", "2026"), dynamo) == {"path": "/b", "day": "2026", "views": 1}
    assert set(result(rows.list_partition("plain", "a", {"limit": "1"}), dynamo)) == {"limit"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (lambda: rows.list_rows("sums", None, 0), "There is no view sums. GET /views lists the views."),
        (lambda: rows.list_partition("plain", "Ink", None), "Nothing has been counted for Ink in plain yet."),
        (lambda: rows.list_partition("plain", LONG, None), f"Nothing has been counted for {LONG} in plain yet."),
        (lambda: rows.show("sorted", "a", "b"), "Nothing has been counted for a b in sorted yet."),
        (lambda: rows.show("sorted", "a", "b" * 1025), f"Nothing has been counted for a {'b' * 1025} in sorted yet."),
        (lambda: rows.show("plain", "a", "b"), "The view plain has no sort key. GET /views/plain/{key} shows a row."),
    ],
)  # fmt: skip
def test_missing_view_or_row_is_not_found(dynamo: FakeDynamoDB, steps: Any, message: str):
    with pytest.raises(NotFoundError) as error:
        result(steps(), dynamo)
    assert str(error.value) == message


def test_partition_that_dynamodb_would_refuse_is_empty(dynamo: FakeDynamoDB):
    assert result(rows.list_partition("sorted", "x" * 2049, None), dynamo) == {"rows": [], "cursor": None}


def test_page_of_a_view_is_one_eventually_consistent_scan(dynamo: FakeDynamoDB):
    page = result(rows.list_rows("sorted", {"limit": "3"}, 0), dynamo)
    assert (len(page["rows"]), page["freshness"]) == (3, None)
    steps = rows.list_rows("sorted", {"cursor": page["cursor"]}, 0)
    next(steps)
    scan = steps.send(None)
    assert isinstance(scan, Scan)
    assert (scan.limit, scan.consistent) == (50, False)
