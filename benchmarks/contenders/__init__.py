"""The stream handlers that `make bench` compares, each written in the way its users write it.

Each contender is a module. The first line of its docstring is its title, and the rest names its source. `TABLES` maps
its tables to their key attributes. `TOTAL` says where it stores its total (table, key attribute, attribute).
`handler(event, context)` is the Lambda handler. Clients are created on import, as in Lambda.
"""

import ast
import contextlib
import importlib
import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from infrastructure.tables import key_schema
from localcloud.emulator import Emulator

NAMES = ("ours", "marker", "powertools", "workshop", "guidance", "plain", "add")
"""All contenders: Order Totals, then those with the fewest wrong totals first."""
BATCHING = ("ours", "workshop")
"""Those that share requests between records. The others send the same requests for each record of any batch."""


class Description(NamedTuple):
    """A contender's title and source."""

    title: str
    origin: str


def describe(name: str) -> Description:
    """Read a contender's docstring without importing the module, which would create its clients."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    title, _, origin = str(ast.get_docstring(ast.parse(source))).partition("\n\n")
    return Description(title, " ".join(origin.split()))


def increments(record: Any) -> dict[str, int]:
    """Return what a record adds to each product, from its two images, without zeros. For contenders that use both."""
    moved: dict[str, int] = {}
    for image, sign in (("OldImage", -1), ("NewImage", 1)):
        order = record["dynamodb"].get(image)
        if order:
            product = order["Product"]["S"]
            moved[product] = moved.get(product, 0) + sign * int(order["Quantity"]["N"])
    return {product: amount for product, amount in moved.items() if amount}


class Context:
    """A stand-in for Lambda's context, with the attributes that the handlers use."""

    function_name = "aggregate"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function_name}"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, seconds: float = 120.0) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left of the invocation."""
        return int((self._end - time.monotonic()) * 1000)


class Contender(NamedTuple):
    """A stream handler that keeps totals, with its tables in the emulator."""

    name: str
    handler: Callable[[Any, Any], Any]
    total: tuple[str, str, str]  # Where the total is: table, key attribute, attribute.
    emulator: Emulator

    def deliver(self, event: Any, seconds: float = 120.0) -> None:
        """Invoke the handler with a batch and this much time, as Lambda would. Raise what the handler raises."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.handler(event, Context(seconds))

    def read_total(self, product: str) -> int:
        """Return the total of a product, or 0 if there is none."""
        table, key, attribute = self.total
        item = self.emulator.client("dynamodb").get_item(TableName=table, Key={key: {"S": product}}).get("Item", {})
        return int(item.get(attribute, {"N": "0"})["N"])


def load(name: str, emulator: Emulator) -> Contender:
    """Import a contender and create its tables.

    Create the RequestInterceptor first: it sees only clients that are created after it.
    """
    logging.getLogger("botocore").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module(f"benchmarks.contenders.{name}")
    dynamodb = emulator.client("dynamodb")
    for table, key in module.TABLES.items():
        dynamodb.create_table(**create_parameters(table, key))
    return Contender(name, module.handler, module.TOTAL, emulator)


def create_parameters(table: str, key: tuple[str, ...]) -> dict[str, Any]:
    """Return the CreateTable parameters of an on-demand table with string keys."""
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in key],
        "KeySchema": key_schema(key),
    }
