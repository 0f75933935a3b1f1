"""A shop for tests of the jobs: OrdersTable, its stream and all that is counted, and ways to do damage to them."""

import copy
from typing import Any

from chalicelib import effects, tables
from tests.doubles import FakeDynamoDB, deliver
from tests.streams import Stream, item


class Shop:
    """Orders are written and removed, and the stream delivers when it is told to."""

    def __init__(self) -> None:
        self.dynamo = FakeDynamoDB()
        self.told = Stream()
        self._delivered = 0

    def put(self, *orders: dict[str, Any]) -> None:
        """Places or amends orders; one that is as it was makes no record."""
        for order in orders:
            if self.told.items.get(order["OrderID"]["S"]) != order:
                self.told.put(order)
            self.dynamo.tables[tables.ORDERS][(order["OrderID"]["S"],)] = order

    def remove(self, order_id: str, expired: bool = False) -> None:
        """Cancels an order, or has it archived; one that is not there stays so."""
        if order_id in self.told.items:
            self.told.remove(order_id, expired)
            del self.dynamo.tables[tables.ORDERS][(order_id,)]

    def deliver(self) -> None:
        """All that the stream has not delivered yet."""
        records, self._delivered = self.told.records[self._delivered :], len(self.told.records)
        deliver(records, self.dynamo)

    def lose(self) -> None:
        """All that the stream has not delivered yet is lost, as after a day."""
        self._delivered = len(self.told.records)

    def entry_item(self, order_id: str) -> dict[str, Any]:
        """An order's item in the ledger, to be tampered with."""
        found: dict[str, Any] = self.dynamo.tables[tables.LEDGER][(order_id,)]
        return found

    def counter(self, product: str, day: str | None = None) -> dict[str, Any]:
        """A counter's item, to be tampered with."""
        if day is None:
            return self.dynamo.tables[tables.TOTALS][(product,)]
        return self.dynamo.tables[tables.TREND][(product, day)]

    def state(self) -> dict[str, Any]:
        """All tables, as they are now."""
        return copy.deepcopy(self.dynamo.tables)

    def truth(self) -> dict[Any, dict[str, int]]:
        """What the counters should be: those of another shop in which the same has happened and nothing gone wrong."""
        other = FakeDynamoDB()
        deliver(self.told.records, other)
        return other.counters()


def example() -> Shop:
    """Five orders of two products, one of them cancelled, one not valid; all is counted."""
    shop = Shop()
    shop.put(item("a"), item("b", quantity=7), item("c", "Pen", 2), item("d", "Pen", 3), item("bad", quantity=0))
    shop.remove("d")
    shop.deliver()
    return shop


def is_wait(step: effects.Effect) -> bool:
    """Whether a job lets time pass, in which the stream catches up."""
    return isinstance(step, effects.Sleep) and step.seconds > 0
