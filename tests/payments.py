"""A model for tests with a field of each type, and a copy of the project with this model."""

from pathlib import Path

from tests.other_model import copy_with_model

MODEL = '''
"""Payments."""

from decimal import Decimal
from typing import Annotated, NamedTuple

from chalicelib.fields import Boolean, Choice, DecimalNumber, Examples, Named, Text, Timestamp, WholeNumber


class Order(NamedTuple):
    """A payment."""

    order_id: str
    placed_at: str
    amount: Annotated[Decimal, DecimalNumber(places=2, minimum="0.01"), Examples("12.50")]
    currency: Annotated[str, Choice("EUR", "USD")]
    merchant: Annotated[str, Text(max_bytes=100), Examples("Shop")]
    status: Annotated[str, Choice("paid", "refunded"), Named("state", "State")]
    settled_at: Annotated[str, Timestamp()] | None = None
    recurring: Annotated[bool | None, Boolean()] = None
    rates: Annotated[int, WholeNumber(-10, 10)] | None = None
'''


def copy_with_payments(folder: Path) -> Path:
    """Copy the project into a folder with payments as its model, and return the folder."""
    return copy_with_model(folder, MODEL.lstrip())
