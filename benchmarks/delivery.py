"""Load a contender and deliver batches to its handler as Lambda would, in this process and against the emulator."""

import contextlib
import importlib
import io
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import contenders
from infrastructure.tables import key_schema
from localcloud.emulator import Emulator

FUNCTION = "aggregate"


class Context:
    """A stand-in for Lambda's context, with the attributes that the handlers use."""

    function_name = FUNCTION
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, seconds: float = 120.0) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation in milliseconds."""
        return int((self._end - time.monotonic()) * 1000)


class Contender(NamedTuple):
    """A contender: a stream handler that keeps totals, and its tables in the emulator."""

    name: str
    title: str
    handler: Callable[[Any, Any], Any]
    total: tuple[str, str, str]  # The place of the total: table, key attribute, attribute.
    emulator: Emulator

    def deliver(self, event: Any, seconds: float = 120.0) -> None:
        """Invoke the handler with a batch and a timeout. Raise any error of the handler."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.handler(event, Context(seconds))

    def read_total(self, product: str) -> int:
        """Return the total of a product, or 0 if there is none."""
        table, key, attribute = self.total
        item = self.emulator.client("dynamodb").get_item(TableName=table, Key={key: {"S": product}}).get("Item", {})
        return int(item.get(attribute, {"N": "0"})["N"])


def load(name: str, emulator: Emulator) -> Contender:
    """Import a contender and create its tables.

    Create the RequestInterceptor first, because it intercepts only clients that are created later.
    """
    logging.getLogger("botocore").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module(f"benchmarks.contenders.{name}")
    dynamodb = emulator.client("dynamodb")
    for table, key in module.TABLES.items():
        dynamodb.create_table(**create_parameters(table, key))
    return Contender(name, contenders.describe(name).title, module.handler, module.TOTAL, emulator)


def create_parameters(table: str, key: tuple[str, ...]) -> dict[str, Any]:
    """Return the CreateTable parameters of an on-demand table with string keys."""
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in key],
        "KeySchema": key_schema(key),
    }
