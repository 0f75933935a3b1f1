"""Page views: count how often each page was viewed, by hour and country, and by day. Rows are kept for 90 days.

To use it, copy it to chalicelib/model.py. An order is a page view, and its order id is the page view's id.
"""

from typing import Annotated, NamedTuple

from chalicelib.fields import Examples, Text
from chalicelib.views import Keep, Row, join, view


class Order(NamedTuple):
    """A page view. `placed_at` is the time of the view."""

    order_id: str
    path: Annotated[str, Text(max_bytes=1000), Examples("/pricing", amended="/docs")]
    country: Annotated[str, Text(max_bytes=2), Examples("DE")]
    placed_at: str


@view("HourTable", key=("path", "hourAndCountry"), amounts=("views",), keep=Keep(90, by="hourAndCountry"))
def hours(order: Order) -> Row:
    """Count a page's views by hour (UTC) and country."""
    return Row((order.path, join(order.placed_at[:13], order.country)), {"views": 1})


@view("DayTable", key=("day", "path"), amounts=("views",), top="views", keep=Keep(90, by="day"))
def days(order: Order) -> Row:
    """Count a page's views by day (UTC)."""
    return Row((order.placed_at[:10], order.path), {"views": 1})
