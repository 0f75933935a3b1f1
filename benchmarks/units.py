"""Capacity units that a DynamoDB request consumes, and their price.

The emulator (ministack 1.5.33) reports write units, but not for rejected writes, and no units for BatchGetItem. This
module calculates these, and those of Scan, by DynamoDB's rules.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

# On demand, us-east-1, standard table class, since November 2024 (https://aws.amazon.com/dynamodb/pricing/on-demand/).
DOLLARS_PER_MILLION_WRITES = 0.625
DOLLARS_PER_MILLION_READS = 0.125

READ_UNIT_BYTES = 4096  # Developer Guide, "Read consumption".
# All items that are written conditionally are below 1 KB: a write consumes 1 unit, and 2 in a transaction. A rejected
# one consumes the same (Developer Guide, "DynamoDB read and write operations" and "Managing complex workflows with
# DynamoDB transactions").
UNITS_PER_REJECTED_WRITE = 1
UNITS_PER_REJECTED_ACTION = 2


class Usage(NamedTuple):
    """The number of requests, and the capacity units that they consumed."""

    requests: float = 0  # HTTP requests: botocore's retries count too.
    write_units: float = 0
    read_units: float = 0

    @property
    def dollars(self) -> float:
        """The price of a million times these units."""
        return self.write_units * DOLLARS_PER_MILLION_WRITES + self.read_units * DOLLARS_PER_MILLION_READS


def consumed(operation: str, parameters: Any, result: Any) -> Usage:
    """Return the capacity that a request consumed. Raise ValueError for an error whose units are unknown."""
    if "Error" in result:
        return Usage(write_units=units_of_rejection(operation, parameters, result["Error"]["Code"]))
    if operation == "BatchGetItem":
        return Usage(read_units=units_of_batch_get(parameters, result))
    if operation == "Scan":
        return Usage(read_units=read_units(map(item_bytes, result["Items"]), parameters))
    capacity = result["ConsumedCapacity"]
    tables = capacity if isinstance(capacity, list) else [capacity]
    total = sum(each["CapacityUnits"] for each in tables)
    # DynamoDB bills a transaction whose token it remembers as a read (API reference, TransactWriteItems).
    if operation == "GetItem" or any("ReadCapacityUnits" in each for each in tables):
        return Usage(read_units=total)
    return Usage(write_units=total)


def units_of_rejection(operation: str, parameters: Any, code: str) -> int:
    """Return the write units of a request that a condition rejected."""
    if code == "ConditionalCheckFailedException":
        return UNITS_PER_REJECTED_WRITE
    if code == "TransactionCanceledException":
        return UNITS_PER_REJECTED_ACTION * len(parameters["TransactItems"])
    raise ValueError(f"{operation} failed with {code}. Add the units that it consumes to benchmarks/units.py.")


def units_of_batch_get(parameters: Any, result: Any) -> float:
    """Return the read units of a BatchGetItem. Each key is a separate read, even if it has no item."""
    units = 0.0
    for table, request in parameters["RequestItems"].items():
        items = result["Responses"].get(table, [])
        sizes = [item_bytes(item) for item in items] + [0] * (len(request["Keys"]) - len(items))
        units += sum(read_units([size], request) for size in sizes)
    return units


def read_units(sizes: Iterable[int], request: Any) -> float:
    """Return the read units of a read of items with these sizes: at least 1, or 0.5 if eventually consistent."""
    units = max(1, math.ceil(sum(sizes) / READ_UNIT_BYTES))
    return units if request.get("ConsistentRead") else units / 2


def item_bytes(item: dict[str, dict[str, Any]]) -> int:
    """Return the size of an item of texts, numbers and booleans (Developer Guide, "Item sizes")."""
    size = 0
    for name, value in item.items():
        ((kind, content),) = value.items()
        size += (
            len(name.encode())
            + {"S": len(str(content).encode()), "N": 1 + (len(str(content)) + 1) // 2, "BOOL": 1}[kind]
        )
    return size
