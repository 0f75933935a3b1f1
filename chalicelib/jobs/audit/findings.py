"""What an audit has found, within bounds: everything is counted, and a sample of it is kept."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chalicelib import effects, tables
from chalicelib.jobs.state import require
from chalicelib.views import CounterKey

PAGE_ITEMS = 1000  # Held in memory at a time.
# The sample is part of the response, which has at most 6 MB (Lambda quotas, synchronous), and of the cursor.
_SAMPLE_MAX = 100
_SAMPLE_MAX_CHARACTERS = 200_000

PRODUCTS_MAX = 5000
"""How many products are told apart; a count of 5,000 means 5,000 or more."""

_DRIFT = frozenset({"missing", "differing", "orphaned", "unreadable", "drifted"})

ProductDigests = dict[str, None]
"""A set of products, in order. Digests, because names can be long."""


@dataclass
class Findings:
    """What a part of an audit has found. The part adds its progress, and all of it goes into the cursor."""

    repair: bool = False
    figures: dict[str, int] = field(default_factory=dict)  # Counts of the findings, by kind, and more.
    sample: list[dict[str, Any]] = field(default_factory=list)  # The first findings, as JSON objects.
    products: ProductDigests = field(default_factory=dict)  # That the findings concern.
    start: effects.Key | None = None  # The key after which the next page of a table starts.
    items: int = 0  # Read of this table.

    def __post_init__(self) -> None:
        require(len(self.sample) <= _SAMPLE_MAX and len(self.products) <= PRODUCTS_MAX)

    @property
    def drift(self) -> int:
        """How many findings are not repaired."""
        return sum(self.figures[kind] for kind in _DRIFT & self.figures.keys()) - self.figures["repaired"]

    def turn_page(self, page: effects.Page) -> bool:
        """Go on after this page. Return whether it was the last one of its table."""
        self.start = page.last
        self.items = 0 if page.last is None else self.items + len(page.items)
        return page.last is None

    def add(self, kind: str, counters: Iterable[CounterKey], finding: dict[str, Any]) -> None:
        """Count a finding about these counters, and keep it if there is room for it."""
        self.figures[kind] += 1
        add_products(self.products, counters)
        if len(self.sample) < _SAMPLE_MAX and len(json.dumps([*self.sample, finding])) <= _SAMPLE_MAX_CHARACTERS:
            self.sample.append(finding)


def add_products(products: ProductDigests, counters: Iterable[CounterKey]) -> None:
    """Add the products of these counters, up to PRODUCTS_MAX."""
    for counter in counters:
        if len(products) < PRODUCTS_MAX:
            products[_digest(counter)] = None


def may_include(products: ProductDigests, counter: CounterKey) -> bool:
    """Return whether these include the counter's product, or are too many to know."""
    return len(products) >= PRODUCTS_MAX or _digest(counter) in products


def _digest(counter: CounterKey) -> str:
    return hashlib.blake2b(product_of(counter).encode(), digest_size=6).hexdigest()


def product_of(counter: CounterKey) -> str:
    """Return the product of a counter, or the first value of its key if its view has no key attribute `product`."""
    names = tables.KEYS.get(counter.table, ())
    return counter.key[names.index("product") if "product" in names else 0]
