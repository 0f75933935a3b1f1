"""Deploy the app and the plain ADD handler on one stream in the emulator, with a proxy between them and DynamoDB."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from localcloud import proxy
from localcloud.emulator import Emulator
from localcloud.stack import Template, deploy

HERE = Path(__file__).parent
POLL_SECONDS = 0.1
SETTLE_SECONDS = 120.0


class DemoError(Exception):
    """A step could not be carried out. The message says why."""


class Handler(NamedTuple):
    """A stream handler, with the operation and table of the request that counts an order."""

    function: str
    operation: str
    table: str


PLAIN = Handler("PlainAdd", "UpdateItem", "PlainAddTable")
OURS = Handler("Aggregate", "TransactWriteItems", "AggregateTable")
HANDLERS = (PLAIN, OURS)


class Columns(NamedTuple):
    """The total ordered quantity: the true one from OrdersTable, and the one that each handler has counted."""

    truth: int
    plain: int
    ours: int


class DemoCloud:
    """The deployed app and the second stream handler."""

    def __init__(self, emulator: Emulator, build: Path) -> None:
        """Deploy the package in the folder `build`, and start the functions."""
        self.emulator = emulator
        self.proxy = proxy.start(emulator.port, latency=0)  # The proxy's threads end with this process.
        self.stack = deploy(emulator, build, change=self._add_plain_add)
        self.stack.warm()
        self.stack.invoke(PLAIN.function, {"Records": []})
        self.dynamodb, self._lambda = emulator.client("dynamodb"), emulator.client("lambda")

    def _add_plain_add(self, template: Template) -> None:
        """Add the second handler to a template in memory, and let both handlers call DynamoDB through the proxy."""
        template["Resources"] |= json.loads((HERE / "plain_add.json").read_text(encoding="utf-8"))
        properties = [template["Resources"][handler.function]["Properties"] for handler in HANDLERS]
        properties[0]["Code"] = {"ZipFile": (HERE / "plain_add.py").read_text(encoding="utf-8")}
        for each in properties:
            variables = each.setdefault("Environment", {}).setdefault("Variables", {})
            variables["AWS_ENDPOINT_URL"] = self.proxy.endpoint_url

    def columns(self) -> Columns:
        """Read the three total quantities from the tables."""
        totals = [sum(int(item["totalQuantity"]["N"]) for item in self._scan(each.table)) for each in HANDLERS]
        return Columns(sum(int(order["Quantity"]["N"]) for order in self.orders()), *totals)

    def orders(self) -> list[dict[str, Any]]:
        """Return the items of all orders whose quantity is a number, sorted by id."""
        valid = [order for order in self._scan("OrdersTable") if "N" in order.get("Quantity", {})]
        return sorted(valid, key=lambda order: str(order["OrderID"]["S"]))

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return (item for page in pages for item in page["Items"])

    def batch_with(self, order_id: str) -> dict[str, Any]:
        """Return the last event with this new order, from the log of the plain ADD handler."""

        def logged() -> list[str]:
            # An invocation makes the emulator log the late output of the previous one.
            self.stack.invoke(PLAIN.function, {"Records": []})
            lines = self.stack.logs(PLAIN.function)
            return [line for line in lines if '"INSERT"' in line and f'"{order_id}"' in line]

        wait_until(logged)
        event: dict[str, Any] = json.loads(logged()[-1])
        return event

    def wait_for_tries(self, handler: Handler, since: float, tries: int, succeeded: bool = True) -> None:
        """Wait until Lambda has invoked a handler `tries` times since a time and the last batch succeeded or failed."""

        def done() -> bool:
            lines = self.stack.logs(handler.function, int(since * 1000))
            enough = sum(line.startswith("END RequestId") for line in lines) >= tries
            return enough and self.stack.mapping(handler.function)["LastProcessingResult"].startswith("OK") == succeeded

        wait_until(done)

    def change_mapping(self, handler: Handler, **changes: Any) -> None:
        """Change a handler's event source mapping."""
        self._lambda.update_event_source_mapping(UUID=self.stack.mapping(handler.function)["UUID"], **changes)


def wait_until(condition: Callable[[], object]) -> None:
    """Poll until a condition is true. Raise DemoError after SETTLE_SECONDS."""
    end = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise DemoError(f"The stream was not processed within {SETTLE_SECONDS:.0f} seconds.")
        time.sleep(POLL_SECONDS)
