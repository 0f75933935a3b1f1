"""Delivering batches to a way's handler in this process, against the emulator, as Lambda would."""

import contextlib
import importlib
import io
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from infrastructure.tables import key_schema
from localcloud.emulator import Emulator

FUNCTION = "aggregate"


class Context:
    """Lambda's context, as far as handlers here look at it."""

    function_name = FUNCTION
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, seconds: float = 120.0) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """What is left of the invocation's time."""
        return int((self._end - time.monotonic()) * 1000)


class Way(NamedTuple):
    """A way to keep a total, with its tables in the emulator."""

    name: str
    title: str
    origin: str  # Where it comes from.
    handler: Callable[[Any, Any], Any]
    total: tuple[str, str, str]  # The table, key attribute and attribute.
    emulator: Emulator

    def deliver(self, event: Any, seconds: float = 120.0) -> None:
        """Has a batch counted by an invocation that may take so long. Raises what the handler raises."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.handler(event, Context(seconds))

    def shown(self, product: str) -> int:
        """The total that people are shown."""
        table, key, attribute = self.total
        item = self.emulator.client("dynamodb").get_item(TableName=table, Key={key: {"S": product}}).get("Item", {})
        return int(item.get(attribute, {"N": "0"})["N"])


def load(name: str, emulator: Emulator) -> Way:
    """Imports a way and makes its tables. A Wire sees only the clients of ways that are loaded after it."""
    logging.getLogger("botocore").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module(f"bench.ways.{name}")
    dynamodb = emulator.client("dynamodb")
    for table, key in module.TABLES.items():
        dynamodb.create_table(**create_parameters(table, key))
    title, _, origin = str(module.__doc__).partition("\n\n")
    return Way(name, title, " ".join(origin.split()), module.handler, module.TOTAL, emulator)


def create_parameters(table: str, key: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of CreateTable, on demand and with string keys."""
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in key],
        "KeySchema": key_schema(key),
    }
