"""A small system for tests of the jobs: orders, their stream, the ledger and the counters."""

import copy
from typing import Any

from chalicelib import effects, tables
from tests.doubles import FakeDynamoDB, deliver
from tests.streams import Stream, item


class OrdersAndStream:
    """Orders and their stream. `deliver` counts the stream's new records in the ledger and the counters."""

    def __init__(self) -> None:
        self.dynamo = FakeDynamoDB()
        self.stream = Stream()
        self._delivered = 0

    def put(self, *orders: dict[str, Any]) -> None:
        """Place or amend orders. An order that does not change makes no record."""
        for order in orders:
            if self.stream.items.get(order["OrderID"]["S"]) != order:
                self.stream.put(order)
            self.dynamo.tables[tables.ORDERS][(order["OrderID"]["S"],)] = order

    def remove(self, order_id: str, expired: bool = False) -> None:
        """Cancel an order, or archive it if `expired`. Do nothing if it does not exist."""
        if order_id in self.stream.items:
            self.stream.remove(order_id, expired)
            del self.dynamo.tables[tables.ORDERS][(order_id,)]

    def deliver(self) -> None:
        """Deliver all records that have not been delivered yet."""
        records, self._delivered = self.stream.records[self._delivered :], len(self.stream.records)
        deliver(records, self.dynamo)

    def lose(self) -> None:
        """Lose all records that have not been delivered yet, as the stream does after a day."""
        self._delivered = len(self.stream.records)

    def entry_item(self, order_id: str) -> dict[str, Any]:
        """Return an order's stored ledger item. Tests may change it."""
        item: dict[str, Any] = self.dynamo.tables[tables.LEDGER][(order_id,)]
        return item

    def counter(self, product: str, day: str | None = None) -> dict[str, Any]:
        """Return the stored item of a product's total, or of its trend on a day. Tests may change it."""
        if day is None:
            return self.dynamo.tables[tables.TOTALS][(product,)]
        return self.dynamo.tables[tables.TREND][(product, day)]

    def state(self) -> dict[str, Any]:
        """Return a copy of all tables except StateTable."""
        return copy.deepcopy({table: items for table, items in self.dynamo.tables.items() if table != tables.STATE})

    def truth(self) -> dict[Any, dict[str, int]]:
        """Return the correct counters: those of a new database after all records are delivered."""
        fresh = FakeDynamoDB()
        deliver(self.stream.records, fresh)
        return fresh.counters()


def example() -> OrdersAndStream:
    """Return a system with five delivered orders of two products. One order is cancelled and one is invalid."""
    system = OrdersAndStream()
    system.put(item("a"), item("b", quantity=7), item("c", "Pen", 2), item("d", "Pen", 3), item("bad", quantity=0))
    system.remove("d")
    system.deliver()
    return system


def is_wait(step: effects.Effect) -> bool:
    """Return whether an effect is a pause in which the stream can catch up."""
    return isinstance(step, effects.Sleep) and step.seconds > 0
