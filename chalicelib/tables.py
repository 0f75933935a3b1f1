"""The tables' logical names, key attributes and environment variables.

infrastructure/tables.py sets their billing, streams and protection. All key attributes are strings.
"""

import re
from collections.abc import Mapping

from chalicelib import model  # noqa: F401 (This import fills VIEWS.)
from chalicelib.views import VIEWS

ORDERS = "OrdersTable"
LEDGER = "LedgerTable"
TOTALS = "AggregateTable"
TREND = "TrendTable"
STATE = "StateTable"
"""The table for the app's own state, such as the stream's lag, the top lists and the running audit."""

TTL = "expiresAt"
"""The TTL attribute of the ledger and of views whose rows expire. Its values are epoch seconds."""

KEYS: dict[str, tuple[str, ...]] = {
    ORDERS: ("OrderID",),
    LEDGER: ("OrderID",),
    STATE: ("name",),
    **{view.table: view.key for view in VIEWS.values()},
}
"""The key attributes of each table, by the table's logical name."""


def expiring() -> list[str]:
    """Return the names of the tables with items that expire."""
    return [LEDGER, *(view.table for view in VIEWS.values() if view.keep)]


def variable(table: str) -> str:
    """Return the environment variable that overrides a table's name: `ORDERS_TABLE` for `OrdersTable`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", table).upper()


def names(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a dict from each table's logical name to its physical name."""
    return {table: environment.get(variable(table), table) for table in KEYS}
