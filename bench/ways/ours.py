"""Order Totals

This project: the handler in app.py itself. Besides the totals it keeps a trend by day and hour, which the others do
not. Its note of stream_lag, one write in five seconds however many orders there are, is left out.
"""

import app
from chalicelib import stream_lag
from infrastructure import tables

TABLES = {table.name: table.key for table in tables.all_tables("local")}
TOTAL = (app.TOTALS, "product", "totalQuantity")

stream_lag.SECONDS_BETWEEN_WRITES = 1e9

handler = app.aggregate
