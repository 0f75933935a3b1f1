"""The steps of the demo. Each step does the same to both handlers, with real faults.

The proxy loses responses and kills the functions' processes, and Lambda delivers the batches again.
"""

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from localcloud.demo.cloud import HANDLERS, PLAIN, Columns, DemoCloud, DemoError, Handler, wait_until
from localcloud.stack import FunctionError

QUANTITIES = (5, 3, 8, 4, 6, 2)
HAS_NUMBER = {"Pattern": json.dumps({"dynamodb": {"NewImage": {"Quantity": {"N": [{"exists": True}]}}}})}
"""The filter that passes new orders whose quantity is a number."""


class Done(NamedTuple):
    """A finished step: its name, a description of at most 44 characters, and the quantities after it."""

    step: str
    text: str
    columns: Columns


class Demo:
    """Carry out steps, one at a time, and keep a log of them."""

    def __init__(self, cloud: DemoCloud) -> None:
        self.cloud = cloud
        self.log: list[Done] = []
        self.lock = threading.Lock()
        """Held while a step is carried out."""
        self._numbers = itertools.count(1)
        self._newest = ""  # The id of the newest order.
        self._quantities = itertools.cycle(QUANTITIES)

    def run(self, step: str) -> Done:
        """Carry out one of STEPS, wait until both handlers are done, and log it. Raise DemoError."""
        with self.lock:
            text = getattr(self, step)()
            self.log.append(Done(step, text, self.cloud.columns()))
            return self.log[-1]

    def place(self) -> str:
        """Place an order."""
        with self._wait():
            return f"Ordered {self._place()}"

    def redeliver(self) -> str:
        """Deliver the batch with the last new order again."""
        event = self.cloud.batch_with(self._newest)
        for handler in HANDLERS:
            with contextlib.suppress(FunctionError):
                self.cloud.stack.invoke(handler.function, event)
        return "Delivered the last batch again"

    def kill(self) -> str:
        """Kill both functions after DynamoDB has applied their write, before they receive the response."""
        killed: list[int] = []
        functions, kill_workers = self.cloud.stack.functions, self.cloud.emulator.kill_workers
        with self._wait(tries=2), self._fault(lambda each: killed.append(kill_workers(functions[each.function]))):
            quantity = self._place()
        if not all(killed):
            raise DemoError("Found no process to kill. This step looks for processes in /proc, so it needs Linux.")
        return f"Ordered {quantity}, killed both after their write"

    def lose(self) -> str:
        """Lose the responses to both writes."""
        with self._wait(), self._fault():
            return f"Ordered {self._place()}, lost both responses"

    def amend(self) -> str:
        """Amend the newest order."""
        order = self._orders()[-1]
        old = int(order["Quantity"]["N"])
        new = old // 2 or 4
        with self._wait():
            self.cloud.dynamodb.put_item(**put(order["OrderID"]["S"], {"N": str(new)}))
        return f"Amended an order from {old} to {new}"

    def cancel(self) -> str:
        """Cancel the oldest order."""
        order = self._orders()[0]
        with self._wait():
            self.cloud.dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": order["OrderID"]})
        return f"Cancelled an order of {order['Quantity']['N']}"

    def poison(self) -> str:
        """Write a malformed order between two good ones. Filter it out for plain ADD after two tries."""
        since, change_mapping = time.time(), partial(self.cloud.change_mapping, PLAIN)
        change_mapping(Enabled=False)  # All three orders must be in one batch.
        orders = [put(self._next_id(), quantity) for quantity in ({"N": "1"}, {"S": "three"}, {"N": "1"})]
        self.cloud.dynamodb.transact_write_items(TransactItems=[{"Put": order} for order in orders])
        change_mapping(Enabled=True)
        self.cloud.wait_for_tries(PLAIN, since, 2, succeeded=False)
        change_mapping(FilterCriteria={"Filters": [HAS_NUMBER]})
        self.cloud.wait_for_tries(PLAIN, since, 3)
        change_mapping(FilterCriteria={"Filters": []})
        last = {"OrderID": {"S": self._newest}}
        wait_until(lambda: "Item" in self.cloud.dynamodb.get_item(TableName="LedgerTable", Key=last))
        return "Ordered 1, wrote a malformed order, ordered 1"

    def audit(self) -> str:
        """Audit the app's totals."""
        result = self.cloud.stack.invoke("Audit", {"gracePeriodSeconds": 1})
        while result["cursor"]:
            result = self.cloud.stack.invoke("Audit", {"cursor": result["cursor"]})
        return f"Audited {result['orders']['checked']} orders: {result['verdict']}"

    @contextlib.contextmanager
    def _wait(self, tries: int = 1) -> Iterator[None]:
        """After the block, wait until Lambda has invoked both handlers `tries` times, the last time successfully."""
        since = time.time()
        yield
        for handler in HANDLERS:
            self.cloud.wait_for_tries(handler, since, tries)

    @contextlib.contextmanager
    def _fault(self, then: Callable[[Handler], object] = lambda handler: None) -> Iterator[None]:
        """Lose each handler's next response and call `then`. After the block, wait until both are lost."""
        lose = self.cloud.proxy.lose_response
        faults = [lose(each.operation, each.table, then=partial(then, each)) for each in HANDLERS]
        yield
        wait_until(lambda: all(fault.happened.is_set() for fault in faults))

    def _place(self) -> int:
        quantity = next(self._quantities)
        self.cloud.dynamodb.put_item(**put(self._next_id(), {"N": str(quantity)}))
        return quantity

    def _next_id(self) -> str:
        self._newest = f"order-{next(self._numbers):04}"
        return self._newest

    def _orders(self) -> list[dict[str, Any]]:
        if orders := self.cloud.orders():
            return orders
        raise DemoError("There is no order. Place one first.")


def put(order_id: str, quantity: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of PutItem for an order."""
    order = {"OrderID": {"S": order_id}, "Product": {"S": "Notebook"}, "Quantity": quantity}
    return {"TableName": "OrdersTable", "Item": order}


STEPS = ("place", "redeliver", "kill", "lose", "amend", "cancel", "poison", "audit")
"""The methods of Demo that `run` accepts, in the order of the script."""
