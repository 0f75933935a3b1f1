"""A model of DynamoDB in memory that behaves as badly as its documentation allows.

One call at a time on an emulator shows neither conflicts nor stale reads nor half of a commit. This model does. Where
the documentation leaves something open, `choose(n)` returns a number below n that decides it, so a seed determines
every run. A choice of 0 is always the friendly one: with `calm`, the model behaves like an emulator.

- expressions.py: attribute values, conditions and updates
- database.py: tables and the operations on them
- streams.py: shards, records, and Lambda's event source mapping
- client.py: the SDK, which retries and loses responses

Sources are pages of the DynamoDB Developer Guide, unless another one is named. `ATC'23` is the paper "Distributed
Transactions at Scale in Amazon DynamoDB" (USENIX ATC 2023).
"""

from collections.abc import Callable

Choose = Callable[[int], int]
"""Returns a whole number from 0 to below its argument."""


def calm(number: int) -> int:
    """Always choose what is friendly."""
    return 0
