"""Tests for views: valid and invalid declarations and rows, and views that fail."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import model, views
from chalicelib.orders import Order
from chalicelib.views import CounterKey, DeclarationError, Keep, Row, view

ORDER = Order("order-1", "Notebook", 5, "2026-11-23T18:13:05Z")
DAY = 24 * 60 * 60
NOV_23 = 1_795_392_000  # 2026-11-23T00:00:00Z, in epoch seconds.
SHIPPED = {
    CounterKey("AggregateTable", ("Notebook",)): {"totalQuantity": 5, "orderCount": 1},
    CounterKey("TrendTable", ("Notebook", "2026-11-23")): {"total": 5, "h18": 5},
}


@pytest.fixture(autouse=True)
def _views_of_the_model() -> Iterator[None]:
    """Remove the views that a test adds."""
    before = dict(views.VIEWS)
    yield
    views.VIEWS.clear()
    views.VIEWS.update(before)


def add_view(function: Callable[[Any], Any], **options: Any) -> None:
    view("ExtraTable", **{"key": ("name",), "amounts": ("count",), **options})(function)


def test_shipped_views_count_a_product_and_its_hour():
    assert next(iter(views.VIEWS.values())).function is model.totals
    assert views.contributions(ORDER) == (SHIPPED, {})


# --- Declarations ---------------------------------------------------------------------------------


def other(order: Order) -> None:
    """Count nothing."""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"table": "TrendTable"}, "TrendTable already has a view; give this one its own table"),
        ({"table": "My-Table"}, "its names have up to 64 letters"),
        ({"key": ("a b",)}, "its names have up to 64 letters"),
        ({"key": ()}, "a key has one attribute, or two"),
        ({"key": ("a", "b", "c")}, "a key has one attribute, or two"),
        ({"key": ("count",)}, "need different names"),
        ({"amounts": ("revision",)}, "need different names"),
        ({"stamp": "expiresAt"}, "need different names"),
        ({"amounts": ()}, "name at least one amount"),
        ({"amounts": {"count": 19}}, "name at least one amount"),
        ({"top": "total"}, "top is total, which is not one of its amounts"),
        ({"keep": Keep(90, "day")}, "keep needs 1 day or more"),
        ({"keep": Keep(0, "name")}, "keep needs 1 day or more"),
    ],
)
def test_wrong_declaration_is_rejected_with_what_to_change(options: dict[str, Any], problem: str):
    with pytest.raises(DeclarationError, match=f"The view other: .*{problem}"):
        view(**{"table": "ExtraTable", "key": ("name",), "amounts": ("count",), **options})(other)
    assert "ExtraTable" not in views.VIEWS


def test_two_views_cannot_have_one_name():
    add_view(other)
    with pytest.raises(DeclarationError, match="another view has this name; rename the function"):
        view("OtherTable", key=("name",), amounts=("count",))(other)


# --- Rows -----------------------------------------------------------------------------------------


def extra(rows: Any, **options: Any) -> views.Counted:
    """Return what an order contributes with an extra view that returns these rows."""

    def made(order: Order) -> Any:
        return rows

    add_view(made, **options)
    found = views.contributions(ORDER)
    assert SHIPPED.items() <= found.contributions.items()  # The extra view never affects other views.
    contributions = {c: amounts for c, amounts in found.contributions.items() if c.table == "ExtraTable"}
    return views.Counted(contributions, found.problems)


def test_view_may_return_nothing():
    assert extra(None) == ({}, {})


def test_view_may_return_several_rows_and_equal_keys_are_added_up():
    counted = extra([Row(("a",), {"count": 1}), Row(("b",), {"count": 2}), Row(("a",), {"count": 3})])
    assert counted == (
        {CounterKey("ExtraTable", ("a",)): {"count": 4}, CounterKey("ExtraTable", ("b",)): {"count": 2}},
        {},
    )


def test_decimal_amounts_are_exact():
    counted = extra([Row(("a",), {"sum": Decimal("0.10")}), Row(("a",), {"sum": Decimal("0.20")})], amounts={"sum": 2})
    assert counted.contributions == {CounterKey("ExtraTable", ("a",)): {"sum": Decimal("0.30")}}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((("a",), {"count": 1}), "returns something other than Row((name,), {...})"),
        ("a", "returns something other than Row((name,), {...})"),
        ([("a", 1)], "returns something other than Row((name,), {...})"),
        (Row(("a", "b"), {"count": 1}), "returns something other than Row((name,), {...})"),
        (Row(("",), {"count": 1}), "returns a key with a value that is not a text of 1 to 1024 UTF-8 bytes"),
        (Row(("a" * 1025,), {"count": 1}), "returns a key with a value that is not a text of 1 to 1024 UTF-8 bytes"),
        (Row(("é" * 513,), {"count": 1}), "returns a key with a value that is not a text of 1 to 1024 UTF-8 bytes"),
        (Row(("\ud800",), {"count": 1}), "returns a key with a value that is not a text of 1 to 1024 UTF-8 bytes"),
        (Row((5,), {"count": 1}), "returns a key with a value that is not a text of 1 to 1024 UTF-8 bytes"),  # type: ignore
        (Row(("a",), {"sum": 1}), "adds to sum, which is not one of its amounts"),
        (
            Row(("a",), {"count": 0.5}),  # type: ignore
            "adds to count something other than a number of at most 28 digits, of which 0 are decimal places",
        ),
        (
            Row(("a",), {"count": 10**38}),
            "adds to count something other than a number of at most 28 digits, of which 0 are decimal places",
        ),
        (Row(("a",), None), "returns a row whose amounts are not a dict"),  # type: ignore
        (5, "raises TypeError"),
    ],
)
def test_row_that_cannot_be_counted_is_a_problem_of_its_view_alone(row: Any, problem: str):
    assert extra(row) == ({}, {"made": problem})


def test_view_that_raises_is_named_without_its_message():
    def broken(order: Order) -> None:
        raise LookupError(f"secret of {id(order)}")

    add_view(broken)
    assert views.contributions(ORDER) == (SHIPPED, {"broken": "raises LookupError"})


def test_view_with_too_many_rows_is_left_out():
    rows = [Row((f"line {number}",), {"count": 1}) for number in range(48)]
    assert extra(rows).problems == {"made": "adds 48 rows; an order may have 49 over all views"}


def test_order_may_have_49_rows():
    assert len(extra([Row((f"line {number}",), {"count": 1}) for number in range(47)]).contributions) == 47


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_join_gives_different_texts_for_different_values(left: list[str], right: list[str]):
    assert len(left) != len(right) or (views.join(*left) == views.join(*right)) == (left == right)


def test_join_is_readable():
    assert views.join("/home", "DE", "50%", "a|b") == "/home|DE|50%25|a%7Cb"


# --- Rows that expire -----------------------------------------------------------------------------


def test_rows_freeze_when_their_days_are_over():
    add_view(other, key=("name", "hour"), keep=Keep(days=90, by="hour"))
    counter = CounterKey("ExtraTable", ("a", "2026-11-23T18"))
    end = NOV_23 + 91 * DAY
    assert views.frozen_at(counter) == end
    contributions = {counter: {"count": 1}, **SHIPPED}
    assert views.unfrozen(contributions, end - 1) == contributions
    assert views.unfrozen(contributions, end) == SHIPPED
    assert views.frozen_at(next(iter(SHIPPED))) is None


def test_row_that_expires_needs_a_key_that_begins_with_a_date():
    rows = Row(("a", "today"), {"count": 1})
    counted = extra(rows, key=("name", "hour"), keep=Keep(90, "hour"))
    assert counted.problems == {"made": "returns a hour that does not begin with a date such as 2026-11-23"}
