"""What a million orders cost at DynamoDB's on-demand prices, and the least that they could.

Prices: us-east-1, standard table class, since November 2024. What Lambda and the stream's reads cost is left out:
Lambda costs by the time that it waits for DynamoDB, and the reads of a stream by its triggers are free.
"""

DOLLARS_PER_MILLION_WRITE_UNITS = 0.625
DOLLARS_PER_MILLION_READ_UNITS = 0.125

ACTIONS_MAX = 100
COUNTERS_OF_OURS = 2  # That an order moves: its product's total, and its day's trend.
FLOOR_REQUESTS = 1 / (ACTIONS_MAX - COUNTERS_OF_OURS)
"""An atomic record of each order and the counters share a transaction's 100 actions (TransactWriteItems)."""
FLOOR_WRITE_UNITS = 2.0
"""A transactional write of an item below 1 KB, the record of the order; its share of the counters comes on top."""


def dollars_per_million(write_units: float, read_units: float) -> float:
    """What a million orders cost that consume so many units each."""
    return write_units * DOLLARS_PER_MILLION_WRITE_UNITS + read_units * DOLLARS_PER_MILLION_READ_UNITS
