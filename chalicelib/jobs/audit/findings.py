"""The findings of an audit, in bounded memory: count every finding and keep a sample."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chalicelib import effects, tables
from chalicelib.jobs.state import require
from chalicelib.views import CounterKey

PAGE_ITEMS = 1000  # The items that the audit reads at a time.
# The sample goes into the cursor and into the response, which Lambda limits to 6 MB (Lambda quotas, synchronous).
_SAMPLE_MAX = 100
_SAMPLE_MAX_CHARACTERS = 200_000

PRODUCTS_MAX = 5000
"""The most products that an audit counts. A count of 5,000 means 5,000 or more."""

_DRIFT = frozenset({"missing", "differing", "orphaned", "unreadable", "drifted"})

ProductDigests = dict[str, None]
"""An ordered set of products. It holds short hashes, because product names can be long."""


@dataclass
class Findings:
    """The findings of one part of an audit. A subclass adds its progress. The cursor holds all fields."""

    repair: bool = False
    figures: dict[str, int] = field(default_factory=dict)  # Counts of findings by kind, and other counts.
    sample: list[dict[str, Any]] = field(default_factory=list)  # The first findings, as JSON objects.
    products: ProductDigests = field(default_factory=dict)  # The products with findings.
    start: effects.Key | None = None  # The key after which the next page of a table starts.
    items: int = 0  # The number of items read from this table.

    def __post_init__(self) -> None:
        require(len(self.sample) <= _SAMPLE_MAX and len(self.products) <= PRODUCTS_MAX)

    @property
    def drift(self) -> int:
        """The number of findings that are drift and not repaired."""
        return sum(self.figures[kind] for kind in _DRIFT & self.figures.keys()) - self.figures["repaired"]

    def turn_page(self, page: effects.Page) -> bool:
        """Advance past this page. Return whether it was the table's last page."""
        self.start = page.last
        self.items = 0 if page.last is None else self.items + len(page.items)
        return page.last is None

    def add(self, kind: str, counters: Iterable[CounterKey], finding: dict[str, Any]) -> None:
        """Count a finding about these counters, and keep it in the sample if there is room."""
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
    """Return whether the set may include the counter's product. A full set may include any product."""
    return len(products) >= PRODUCTS_MAX or _digest(counter) in products


def _digest(counter: CounterKey) -> str:
    return hashlib.blake2b(product_of(counter).encode(), digest_size=6).hexdigest()


def product_of(counter: CounterKey) -> str:
    """Return a counter's product: the key attribute `product`, or the first key attribute if there is no `product`."""
    names = tables.KEYS.get(counter.table, ())
    return counter.key[names.index("product") if "product" in names else 0]
