"""A sieve for an audit of more counters than can be held in memory one by one: one number for each of many buckets.

Each counter falls into a bucket by a hash of its key. A bucket's number is the sum, over its counters and their
attributes, of the amount that is stored minus the amounts that entries contribute, each times a weight of its own,
modulo a prime. Where all is as it should be that is 0. Where one amount of a bucket is wrong it never is, and where
several are, with a probability of 1 to 2**61. A second number, the sum of the revisions, tells whether any of
the bucket's counters has moved. So one pass proves all counters at once, but for the buckets that remain open.

Which counters those are, and what is wrong with them, is found in counter_audit.py.
"""

import base64
import binascii
import hashlib
import zlib
from array import array
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from chalicelib.views import CounterKey

BUCKETS = 2**17
"""As many as stand in a cursor of 2 MB: some 100,000 counters have a bucket for themselves."""

PRIME = 2**61 - 1
_NUMBERS_END = 2**62  # Of what a cursor may hold: there is room to add to it.


def hash_of(counter: CounterKey) -> int:
    """A hash of 32 bits, the same for the same counter everywhere."""
    return zlib.crc32(_name(counter))


def bucket(counter: CounterKey) -> int:
    """The bucket of a counter."""
    return hash_of(counter) % BUCKETS


class BucketChecksums:
    """The buckets' numbers."""

    def __init__(self) -> None:
        self._sums = array("q", bytes(8 * BUCKETS))
        self._revisions = array("q", bytes(8 * BUCKETS))
        self._counters = array("q", bytes(8 * BUCKETS))

    def add(self, counter: CounterKey, amounts: Mapping[str, int | Decimal], sign: int) -> None:
        """Adds amounts of a counter, or with the sign -1 takes them away."""
        name = _name(counter)
        at = zlib.crc32(name) % BUCKETS
        total = self._sums[at]
        for attribute, amount in amounts.items():
            whole = amount if isinstance(amount, int) else 0
            # What is no whole number is wrong in any case: by itself it leaves something that nothing takes away.
            unwhole = 0 if isinstance(amount, int) else 1
            total += sign * (whole * _weight(name, attribute) + unwhole * _weight(name, f"{attribute} {amount}"))
        self._sums[at] = total % PRIME

    def begin(self, counter: CounterKey, revision: int) -> None:
        """Notes a counter as the pass has first read it."""
        self._revisions[bucket(counter)] += revision + 1

    def end(self, counter: CounterKey, revision: int) -> None:
        """Notes it as the pass has read it at last."""
        at = bucket(counter)
        self._revisions[at] -= revision + 1
        self._counters[at] += 1

    def open_buckets(self) -> list[int]:
        """Those in which something moved or is wrong."""
        return [at for at in range(BUCKETS) if self._sums[at] or self._revisions[at]]

    def proven(self, open_buckets: Iterable[int]) -> int:
        """How many counters are in the others."""
        return sum(self._counters) - sum(self._counters[at] for at in open_buckets)

    def state(self) -> list[str]:
        """As a cursor holds it."""
        numbers = (self._sums, self._revisions, self._counters)
        return [base64.b64encode(zlib.compress(each.tobytes(), 1)).decode() for each in numbers]

    @classmethod
    def of_state(cls, state: list[str]) -> "BucketChecksums":
        """Return the screen that `state` returned this for. Raises ValueError for anything else."""
        screen = cls()
        screen._sums, screen._revisions, screen._counters = map(_numbers_of, state)
        return screen


def is_state(value: Any) -> bool:
    """Return whether it has the shape of a `BucketChecksums.state`."""
    try:
        BucketChecksums.of_state(value)
    except (TypeError, ValueError):
        return False
    return True


def _numbers_of(text: str) -> "array[int]":
    """Unpack one number for each bucket. Raises ValueError for anything else."""
    size = 8 * BUCKETS
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError from error
    if len(raw) != size:
        raise ValueError
    numbers = array("q", raw)
    if max(numbers) >= _NUMBERS_END or min(numbers) <= -_NUMBERS_END:
        raise ValueError
    return numbers


def _name(counter: CounterKey) -> bytes:
    return "\0".join((counter.table, *counter.key)).encode()


def _weight(name: bytes, attribute: str) -> int:
    """From 1 to PRIME - 1, and without any pattern."""
    digest = hashlib.blake2b(name + b"\0\0" + attribute.encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "big") % (PRIME - 1)
