"""The DynamoDB price of a million orders on demand, and its floor: the lowest possible price with an item per order.

Prices are for us-east-1 and the standard table class, since November 2024. Lambda and stream reads are not included:
Lambda's price depends on how long it waits for DynamoDB, and stream reads by Lambda triggers are free.
"""

DOLLARS_PER_MILLION_WRITE_UNITS = 0.625
DOLLARS_PER_MILLION_READ_UNITS = 0.125

ACTIONS_MAX = 100
COUNTERS_PER_ORDER = 2  # Order Totals updates the product's total and the day's trend.
FLOOR_REQUESTS = 1 / (ACTIONS_MAX - COUNTERS_PER_ORDER)
"""Requests per order. A transaction has at most 100 actions: the counters, and one item for each order."""
FLOOR_WRITE_UNITS = 2.0
"""Write units per order: one transactional write of an item below 1 KB. The counters' share is not included."""


def dollars_per_million(write_units: float, read_units: float) -> float:
    """Return the price of a million orders from the units that one order consumes."""
    return write_units * DOLLARS_PER_MILLION_WRITE_UNITS + read_units * DOLLARS_PER_MILLION_READ_UNITS
