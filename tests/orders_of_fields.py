"""Hypothesis strategies for orders, derived from the model's fields."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from chalicelib import fields, orders, timestamps
from chalicelib.fields import FieldType
from chalicelib.orders import Order

TIMES = st.datetimes(datetime(1, 1, 1)).map(lambda moment: timestamps.parse(moment.isoformat()))


def values_of(type_: FieldType) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field type."""
    match type_:
        case fields.WholeNumber():
            return st.integers(type_.minimum, type_.maximum)
        case fields.DecimalNumber():
            lowest, highest = (int(limit.scaleb(type_.places)) for limit in (type_.minimum, type_.maximum))
            return st.integers(lowest, highest).map(lambda units: type_.check(Decimal(f"{units}E-{type_.places}")))
        case fields.Choice():
            return st.sampled_from(type_.choices)
        case fields.Boolean():
            return st.booleans()
        case fields.Timestamp():
            return TIMES
    texts = st.text(min_size=1, max_size=30) | st.just(type_.example)
    return texts.filter(lambda text: fields.is_valid(type_, text))


def any_order() -> st.SearchStrategy[Order]:
    """Return a strategy for valid orders."""
    ids = st.text("abcXYZ019._:-", min_size=1, max_size=9)
    strategies = {"order_id": ids.filter(lambda text: fields.is_valid(orders.ORDER_ID.type, text)), "placed_at": TIMES}
    for field in orders.FIELDS:
        values = values_of(field.type) | st.sampled_from([field.examples.new, field.examples.amended]).map(
            field.type.check
        )
        strategies[field.python_name] = values if field.required else st.none() | values
    return st.builds(Order, **strategies)
