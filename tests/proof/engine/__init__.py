"""An in-memory model of DynamoDB that behaves as badly as DynamoDB's documentation allows.

An emulator with one call at a time has no conflicts, no stale reads and no half-visible commits. This model has them.
Where the documentation leaves something open, `choose(n)` decides by returning a number below n, so a seed determines a
run. 0 is always the harmless choice: with `calm`, which always returns 0, the model behaves like an emulator.

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
    """Always make the harmless choice, 0."""
    return 0
