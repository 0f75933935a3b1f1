"""What an audit has found, kept within bounds: all of it is counted, and some of it is shown.

How it is found is in entry_audit.py and counter_audit.py.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from chalicelib import tables
from chalicelib.jobs import shapes
from chalicelib.views import Contributions, CounterKey

# An answer has at most 6 MB (Lambda quotas, synchronous), and what is shown stands also in the cursor.
_SHOWN_MAX = 100
_SHOWN_MAX_CHARACTERS = 200_000

PRODUCTS_MAX = 5000
"""How many products with drift are told apart; 5,000 of them mean 5,000 or more."""

FINDINGS = shapes.array(shapes.both(shapes.mapping(shapes.shallow(6)), bool), _SHOWN_MAX)
"""The shape of a FindingSample's findings."""


class FindingSample:
    """The first findings of one kind, as JSON objects."""

    def __init__(self, findings: Iterable[dict[str, Any]] = ()) -> None:
        self.findings = list(findings)
        self._characters = sum(len(json.dumps(finding)) for finding in self.findings)

    def add(self, finding: dict[str, Any]) -> None:
        """Keeps a finding if there is still room for it."""
        characters = len(json.dumps(finding))
        if len(self.findings) < _SHOWN_MAX and self._characters + characters <= _SHOWN_MAX_CHARACTERS:
            self.findings.append(finding)
            self._characters += characters


class AffectedProducts:
    """How many products the findings concern."""

    def __init__(self, digests: Iterable[str] = ()) -> None:
        self.digests = dict.fromkeys(digests)

    def add(self, counters: Iterable[CounterKey]) -> None:
        """Notes the products of these counters."""
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
    return hashlib.blake2b(product(counter).encode(), digest_size=6).hexdigest()


def product(counter: CounterKey) -> str:
    """The product that a counter is of; where its view has no such key attribute, the first one of the key."""
    names = tables.KEYS.get(counter.table, ())
    return counter.key[names.index("product") if "product" in names else 0]


def contributions_to_json(contributions: Contributions) -> list[dict[str, Any]]:
    """`[{"table", "key", "amounts"}]`."""
    return [
        {"table": counter.table, "key": list(counter.key), "amounts": dict(amounts)}
        for counter, amounts in contributions.items()
    ]
