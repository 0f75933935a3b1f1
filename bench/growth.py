"""Whether a batch costs more beside a larger ledger, which is filled by ImportTable as a real one could be."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.batches import Case, Figures, Kind, figures, orders
from bench.delivery import Way, create_parameters
from bench.records import Feed
from bench.wire import Wire
from chalicelib import tables
from chalicelib.counting import entry_item, ledger, stream
from localcloud.emulator import Emulator

BUCKET = "order-totals-bench"
PART_ITEMS = 50_000
POLL_SECONDS = 0.2
KINDS: tuple[Kind, ...] = ("new", "amended")


class Point(NamedTuple):
    """What a batch costs beside a ledger of some size."""

    ledger_items: int
    case: Case
    figures: Figures


def measure(ours: Way, wire: Wire, sizes: list[int], records: int) -> Iterator[Point]:
    """Measures a batch of new orders and one of amendments beside a ledger of each size."""
    for items in sizes:
        replace_ledger(ours.emulator, items)
        for kind in KINDS:
            case = Case(kind, records, 10)
            yield Point(items, case, figures([ours], [case], wire, rounds=5)[0])


def replace_ledger(emulator: Emulator, items: int) -> None:
    """Puts a ledger with so many entries in the place of the one that is there."""
    storage = emulator.client("s3")
    storage.create_bucket(Bucket=BUCKET)
    entry = an_entry()
    keys = [f"{items}/{start}.json" for start in range(0, items, PART_ITEMS)]
    for key, start in zip(keys, range(0, items, PART_ITEMS), strict=True):
        lines = (line(entry, number) for number in range(start, min(start + PART_ITEMS, items)))
        storage.put_object(Bucket=BUCKET, Key=key, Body="\n".join(lines).encode())
    emulator.client("dynamodb").delete_table(TableName=tables.LEDGER)
    import_ledger(emulator.client("dynamodb"), f"{items}/")
    for key in keys:
        storage.delete_object(Bucket=BUCKET, Key=key)


def an_entry() -> Any:
    """An entry's item, as the app itself makes it."""
    (record,) = stream.read(orders(Feed(), Case("new", 1, 1), 5)).records_by_order.popitem()[1]
    entry = ledger.apply(ledger.absent(record.order_id), record)
    return entry_item.to_item(entry)


def line(entry: Any, number: int) -> str:
    """That entry as another order's, as ImportTable reads it."""
    return json.dumps({"Item": {**entry, "OrderID": {"S": f"filler-{number:07}"}}})


def import_ledger(client: Any, prefix: str) -> None:
    """Makes the ledger of what is in the bucket."""
    answer = client.import_table(
        S3BucketSource={"S3Bucket": BUCKET, "S3KeyPrefix": prefix},
        InputFormat="DYNAMODB_JSON",
        TableCreationParameters=create_parameters(tables.LEDGER, tables.KEYS[tables.LEDGER]),
    )
    state = answer["ImportTableDescription"]
    while state["ImportStatus"] == "IN_PROGRESS":
        time.sleep(POLL_SECONDS)
        state = client.describe_import(ImportArn=state["ImportArn"])["ImportTableDescription"]
    if state["ImportStatus"] != "COMPLETED":
        raise RuntimeError(f"The ledger could not be filled: {state}")
