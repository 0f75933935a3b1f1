"""Tests that each view in model.py counts every valid order. After you edit the model, they find views that fail."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from chalicelib import fields, views
from chalicelib.orders import Order
from chalicelib.views import Row
from tests.extra_views import changeable_views, declare
from tests.orders_of_fields import any_order, values_of

THOROUGH = settings(max_examples=300, deadline=None, database=None)


@THOROUGH
@given(any_order())
def test_views_of_the_model_count_every_valid_order(order: Order):
    first, again = views.contributions(order), views.contributions(order)
    assert first.problems == {}, f"A view fails for {order}. Correct it in chalicelib/model.py."
    assert again == first, f"A view returns other rows the second time for {order}. It must depend on the order alone."


def test_view_that_fails_for_some_orders_is_found():
    def fragile(order: Order) -> Row:
        return Row((order.product.split()[1],), {"count": 1})

    with changeable_views():
        declare(fragile)
        with pytest.raises(AssertionError, match=r"A view fails for Order\("):
            test_views_of_the_model_count_every_valid_order()


@pytest.mark.parametrize(
    "type_",
    [
        fields.Text(max_bytes=5),
        fields.WholeNumber(-3, 9),
        fields.DecimalNumber(places=2, minimum="0.01"),
        fields.DecimalNumber(places=0),
        fields.Timestamp(),
        fields.Choice("EUR", "USD"),
        fields.Boolean(),
    ],
    ids=lambda type_: type(type_).__name__,
)
def test_drawn_values_are_valid_and_of_the_type_that_a_view_gets(type_: fields.FieldType):
    @settings(max_examples=50, deadline=None, database=None)
    @given(values_of(type_))
    def check(value: Any) -> None:
        assert type(value) is type_.python_type
        assert fields.is_valid(type_, value)
        assert type(value) is not Decimal or value.is_finite()

    check()
