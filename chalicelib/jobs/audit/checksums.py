"""Compare all counters with the ledger in bounded memory: one checksum for each bucket of counters.

A hash of the key assigns each counter to a bucket. Each attribute of each counter has a weight. A bucket's checksum is
the sum of amount times weight, modulo a prime. The audit adds the stored amounts and subtracts the contributions of
the entries, so the checksum is 0 if they agree. One wrong amount always makes it nonzero. Several wrong amounts in a
bucket can cancel out, with a probability of 1 in 2**61.
"""

import hashlib
import zlib
from array import array
from dataclasses import dataclass, field

from chalicelib import amounts
from chalicelib.jobs.state import require
from chalicelib.views import CounterKey, Increments

BUCKETS = 2**14  # 131 KB of checksums. They take 175 KB in a cursor, which fits into an item of 400 KB.

_PRIME = 2**61 - 1


def bucket(counter: CounterKey) -> int:
    """Return the number of a counter's bucket. Every process returns the same number."""
    return zlib.crc32(_name(counter)) % BUCKETS


@dataclass
class BucketChecksums:
    """A checksum for each bucket."""

    sums: array = field(default_factory=lambda: array("Q", bytes(8 * BUCKETS)))  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        require(len(self.sums) == BUCKETS)

    def add(self, counter: CounterKey, added: Increments, sign: int = 1) -> None:
        """Add a counter's amounts to its bucket's checksum. Subtract them if `sign` is -1."""
        name, at = _name(counter), bucket(counter)
        change = sum(amounts.scaled(amount) * _weight(name, attribute) for attribute, amount in added.items())
        self.sums[at] = (self.sums[at] + sign * change) % _PRIME

    def flagged(self, end: int) -> list[int]:
        """Return the buckets below `end` whose checksum is not 0."""
        return [at for at in range(end) if self.sums[at]]


def _name(counter: CounterKey) -> bytes:
    return "\0".join((counter.table, *counter.key)).encode()


def _weight(name: bytes, attribute: str) -> int:
    """Return an attribute's weight, a pseudorandom number from 1 to _PRIME - 1 that never changes."""
    digest = hashlib.blake2b(name + b"\0\0" + attribute.encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "big") % (_PRIME - 1)
