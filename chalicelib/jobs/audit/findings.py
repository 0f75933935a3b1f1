"""What an audit has found, within bounds: everything is counted, and a sample of it is kept."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chalicelib import tables
from chalicelib.jobs.state import require
from chalicelib.views import Contributions, CounterKey

# The sample is part of the response, which has at most 6 MB (Lambda quotas, synchronous), and of the cursor.
_SAMPLE_MAX = 100
_SAMPLE_MAX_CHARACTERS = 200_000

PRODUCTS_MAX = 5000
"""How many products are told apart; a count of 5,000 means 5,000 or more."""


@dataclass
class FindingSample:
    """The first findings of one kind, as JSON objects."""

    findings: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(len(self.findings) <= _SAMPLE_MAX)
        self._characters = sum(len(json.dumps(finding)) for finding in self.findings)

    def add(self, finding: dict[str, Any]) -> None:
        """Keep a finding if there is room for it."""
        characters = len(json.dumps(finding))
        if len(self.findings) < _SAMPLE_MAX and self._characters + characters <= _SAMPLE_MAX_CHARACTERS:
            self.findings.append(finding)
            self._characters += characters


@dataclass
class AffectedProducts:
    """The products that findings concern, as digests: their names can be long."""

    digests: dict[str, None] = field(default_factory=dict)  # Ordered, unlike a set.

    def __post_init__(self) -> None:
        require(len(self.digests) <= PRODUCTS_MAX)

    def add(self, counters: Iterable[CounterKey]) -> None:
        """Add the products of these counters."""
        for counter in counters:
            if not self.is_full:
                self.digests[_digest(counter)] = None

    def __contains__(self, counter: CounterKey) -> bool:
        return bool(self.digests) and _digest(counter) in self.digests

    @property
    def is_full(self) -> bool:
        """Whether there may be more products than are told apart."""
        return len(self.digests) >= PRODUCTS_MAX


def _digest(counter: CounterKey) -> str:
    return hashlib.blake2b(product_of(counter).encode(), digest_size=6).hexdigest()


def product_of(counter: CounterKey) -> str:
    """Return the product of a counter, or the first value of its key if its view has no key attribute `product`."""
    names = tables.KEYS.get(counter.table, ())
    return counter.key[names.index("product") if "product" in names else 0]


def contributions_to_json(contributions: Contributions) -> list[dict[str, Any]]:
    """Return `[{"table", "key", "amounts"}]`."""
    return [
        {"table": counter.table, "key": list(counter.key), "amounts": dict(amounts)}
        for counter, amounts in contributions.items()
    ]
