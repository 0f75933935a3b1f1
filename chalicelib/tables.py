"""The tables as the whole project knows them: logical names, keys, environment variables.

Billing, streams and protection are in infrastructure/; what stands in the items is in the modules that
make them. All key attributes are strings.
"""

import re

from chalicelib.views import VIEWS

ORDERS = "OrdersTable"
LEDGER = "LedgerTable"
TOTALS = "AggregateTable"
TREND = "TrendTable"

LEDGER_TTL = "expiresAt"
"""The ledger's TTL attribute: epoch seconds, on tombstones alone."""

KEYS: dict[str, tuple[str, ...]] = {
    ORDERS: ("OrderID",),
    LEDGER: ("OrderID",),
    **{view.table: view.key for view in VIEWS.values()},
}
"""The names of each table's key attributes, by the table's logical name."""


def variable(table: str) -> str:
    """The environment variable that overrides a table's name: ORDERS_TABLE for OrdersTable."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", table).upper()
