"""Your data: what an order is, and the views that are kept of orders. Edit this file to make the app yours.

A field's type is in fields.py: Text, WholeNumber, DecimalNumber, Timestamp, Choice or Boolean. From the declaration
follow the checks of requests and items, the attributes in OrdersTable, the API's description and the dashboard's form.
A view's declaration is explained in views.py. docs/adapt.md leads through both.
"""

from typing import Annotated, NamedTuple

from chalicelib.fields import Examples, Text, WholeNumber
from chalicelib.views import Row, view


class Order(NamedTuple):
    """An order. `order_id` and `placed_at`, a timestamp in the form of timestamps.py, are fixed.

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
