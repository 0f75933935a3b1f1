"""Order Totals

This project's own handler, from app.py. It also keeps a trend by day and hour, which the other contenders do not. The
benchmark turns off its lag report, a write that happens once in five seconds at any number of orders.
"""

import app
from chalicelib import stream_lag
from chalicelib.tables import TOTALS
from infrastructure import tables

TABLES = {table.name: table.key for table in tables.all_tables("local")}
TOTAL = (app.NAMES[TOTALS], "product", "totalQuantity")

stream_lag.SECONDS_BETWEEN_WRITES = 1e9

handler = app.aggregate
