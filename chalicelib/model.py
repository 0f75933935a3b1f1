"""Your data model: the fields of an order, and the views that count orders. Edit this file to make the app yours.

The field types are in fields.py: Text, WholeNumber, DecimalNumber, Timestamp, Choice and Boolean. The declaration
determines validation, the attributes in OrdersTable, the API's description and the dashboard's form. views.py explains
how to declare a view. docs/adapt.md is a guide to both.
"""

from typing import Annotated, NamedTuple

from chalicelib.fields import Examples, Text, WholeNumber
from chalicelib.views import Row, view


class Order(NamedTuple):
    """An order. Every model needs `order_id` and `placed_at`, a timestamp such as `2026-11-23T18:13:05Z`.

    A field `card_holder` is `cardHolder` in JSON and the attribute `CardHolder`. A field `X | None` is optional.
    """

    order_id: str
    product: Annotated[str, Text(max_bytes=1024), Examples("Notebook")]
    quantity: Annotated[int, WholeNumber(1, 1_000_000_000), Examples(5, amended=7)]
    placed_at: str


@view(
    "AggregateTable", key=("product",), amounts=("totalQuantity", "orderCount"), top="totalQuantity", stamp="updatedAt"
)
def totals(order: Order) -> Row:
    """Count a product's quantity and its orders."""
    return Row((order.product,), {"totalQuantity": order.quantity, "orderCount": 1})


@view("TrendTable", key=("product", "day"), amounts=("total", *(f"h{hour:02}" for hour in range(24))))
def trend(order: Order) -> Row:
    """Count a product's quantity by day and by hour, in UTC."""
    day, hour = order.placed_at[:10], order.placed_at[11:13]
    return Row((order.product, day), {"total": order.quantity, f"h{hour}": order.quantity})
