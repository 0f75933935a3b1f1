"""Measure whether a batch costs more with a larger ledger. ImportTable fills the ledger."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.batches import HEADLINE_PRODUCTS, Case, Figures, Kind, measure, new_orders
from benchmarks.delivery import Contender, create_parameters
from benchmarks.interceptor import RequestInterceptor
from benchmarks.records import OrdersStream
from chalicelib import tables
from chalicelib.counting import entry_item, ledger, stream
from localcloud.emulator import Emulator

BUCKET = "order-totals-bench"
PART_ITEMS = 50_000
POLL_SECONDS = 0.2
KINDS: tuple[Kind, ...] = ("new", "amended")
ROUNDS = 5


class Point(NamedTuple):
    """The cost of a batch at one ledger size."""

    ledger_items: int
    case: Case
    figures: Figures


def measure_growth(ours: Contender, interceptor: RequestInterceptor, sizes: list[int], records: int) -> Iterator[Point]:
    """Measure a batch of new orders and a batch of amendments at each ledger size."""
    for items in sizes:
        replace_ledger(ours.emulator, items)
        for kind in KINDS:
            case = Case(kind, records, HEADLINE_PRODUCTS)
            yield Point(items, case, measure([ours], [case], interceptor, ROUNDS)[0])


def replace_ledger(emulator: Emulator, items: int) -> None:
    """Replace the ledger by one with `entries` entries."""
    storage = emulator.client("s3")
    storage.create_bucket(Bucket=BUCKET)
    entry = sample_entry()
    keys = [f"{items}/{start}.json" for start in range(0, items, PART_ITEMS)]
    for key, start in zip(keys, range(0, items, PART_ITEMS), strict=True):
        lines = (import_line(entry, number) for number in range(start, min(start + PART_ITEMS, items)))
        storage.put_object(Bucket=BUCKET, Key=key, Body="\n".join(lines).encode())
    emulator.client("dynamodb").delete_table(TableName=tables.LEDGER)
    import_ledger(emulator.client("dynamodb"), f"{items}/")
    for key in keys:
        storage.delete_object(Bucket=BUCKET, Key=key)


def sample_entry() -> Any:
    """Return a ledger entry's item as the app writes it."""
    (record,) = stream.read(new_orders(OrdersStream(), Case("new", 1, 1), 5)).records_by_order.popitem()[1]
    entry = ledger.apply(ledger.absent(record.order_id), record)
    return entry_item.to_item(entry)


def import_line(entry: Any, number: int) -> str:
    """Return a copy of the entry with another order id, as a line for ImportTable."""
    return json.dumps({"Item": {**entry, "OrderID": {"S": f"filler-{number:07}"}}})


def import_ledger(client: Any, prefix: str) -> None:
    """Import the ledger from S3 objects with this prefix, and wait for the end. Raise RuntimeError if it fails."""
    result = client.import_table(
        S3BucketSource={"S3Bucket": BUCKET, "S3KeyPrefix": prefix},
        InputFormat="DYNAMODB_JSON",
        TableCreationParameters=create_parameters(tables.LEDGER, tables.KEYS[tables.LEDGER]),
    )
    state = result["ImportTableDescription"]
    while state["ImportStatus"] == "IN_PROGRESS":
        time.sleep(POLL_SECONDS)
        state = client.describe_import(ImportArn=state["ImportArn"])["ImportTableDescription"]
    if state["ImportStatus"] != "COMPLETED":
        raise RuntimeError(f"ImportTable did not complete: {state}")
