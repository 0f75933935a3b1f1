"""Your data: what an order is. Edit this file to change it.

A field's type is in fields.py: Text, WholeNumber, DecimalNumber, Timestamp, Choice or Boolean. From the declaration
follow the checks of requests and items, the attributes in OrdersTable, the API's description and the dashboard's form.
"""

from typing import Annotated, NamedTuple

from chalicelib.fields import Examples, Text, WholeNumber


class Order(NamedTuple):
    """An order. `order_id` and `placed_at`, a timestamp in the form of timestamps.py, are fixed.

    A field `card_holder` is `cardHolder` in JSON and the attribute `CardHolder`. A field `X | None` is optional.
    """

    order_id: str
    product: Annotated[str, Text(max_bytes=1024), Examples("Notebook")]
    quantity: Annotated[int, WholeNumber(1, 1_000_000_000), Examples(5, amended=7)]
    placed_at: str
