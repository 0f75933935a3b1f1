"""Payments: revenue and refunds of each merchant by day, and totals by currency.

To use it, copy it to chalicelib/model.py. An order is a payment, and its order id is the payment's id.
"""

from decimal import Decimal
from typing import Annotated, NamedTuple

from chalicelib.fields import Choice, DecimalNumber, Examples, Text
from chalicelib.views import Row, join, view


class Order(NamedTuple):
    """A payment. When it is refunded, amend its status."""

    order_id: str
    merchant: Annotated[str, Text(max_bytes=200), Examples("Book Corner")]
    amount: Annotated[Decimal, DecimalNumber(places=2, minimum="0.01", maximum=1_000_000), Examples("12.50", "14.00")]
    currency: Annotated[str, Choice("EUR", "GBP", "USD")]
    status: Annotated[str, Choice("paid", "refunded", "failed")]
    placed_at: str


@view("RevenueTable", key=("merchantAndCurrency", "day"), amounts={"revenue": 2, "payments": 0})
def revenue(order: Order) -> Row | None:
    """Add a paid amount to the merchant's day (UTC). A refunded payment no longer counts here."""
    if order.status != "paid":
        return None
    return Row(_merchant_and_day(order), {"revenue": order.amount, "payments": 1})


@view("RefundTable", key=("merchantAndCurrency", "day"), amounts={"refunded": 2, "refunds": 0})
def refunds(order: Order) -> Row | None:
    """Add a refunded amount to the merchant's day on which it was paid (UTC)."""
    if order.status != "refunded":
        return None
    return Row(_merchant_and_day(order), {"refunded": order.amount, "refunds": 1})


@view(
    "CurrencyTable",
    key=("currency",),
    amounts={"revenue": 2, "refunded": 2, "payments": 0},
    top="revenue",
    stamp="updatedAt",
)
def currencies(order: Order) -> Row | None:
    """Add a paid or refunded payment to its currency's total. A failed payment counts nowhere."""
    if order.status == "failed":
        return None
    amount = "revenue" if order.status == "paid" else "refunded"
    return Row((order.currency,), {amount: order.amount, "payments": 1})


def _merchant_and_day(order: Order) -> tuple[str, str]:
    # Amounts in different currencies cannot be added, so the currency is part of the key.
    return join(order.merchant, order.currency), order.placed_at[:10]
