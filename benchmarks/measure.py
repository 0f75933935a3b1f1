"""Measure the contenders: count what a batch consumes, time it, and see whether a larger ledger costs more."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from benchmarks import scenarios
from benchmarks.contenders import Contender, create_parameters
from benchmarks.interceptor import RequestInterceptor
from benchmarks.records import OrdersStream
from benchmarks.scenarios import Case, Kind, Sizes, make_batch
from benchmarks.units import Usage
from chalicelib import tables
from chalicelib.counting import entry_item, ledger, stream
from localcloud import proxy
from localcloud.emulator import Emulator

Row = dict[str, Any]

GROWTH_KINDS: tuple[Kind, ...] = ("new", "amended")
BUCKET = "order-totals-bench"
PART_ITEMS = 50_000
POLL_SECONDS = 0.2


def count(contender: Contender, case: Case, interceptor: RequestInterceptor) -> Usage:
    """Return what one order of a batch consumes."""
    batch = make_batch(contender, case)
    with interceptor.counting():
        contender.deliver(batch)
    return Usage(*[total / case.records for total in interceptor.usage])


def time_all(
    contenders: Iterable[Contender], cases: Iterable[Case], interceptor: RequestInterceptor, rounds: int
) -> Iterator[Row]:
    """Time each case; yield its microseconds per order: the handler's CPU, and elapsed.

    Each is the best of some deliveries, at most `rounds`: the shorter a time, the more it varies.
    """
    by_name = {contender.name: contender for contender in contenders}
    emulator = next(iter(by_name.values())).emulator
    with proxy.start(emulator.port, latency=0) as delay:
        for case in cases:
            delay.latency = case.latency_ms / 1000
            times = []
            for _ in range(min(rounds, 2 if case.latency_ms else 3 if case.records >= 100 else rounds)):
                batch = make_batch(by_name[case.contender], case)
                with interceptor.sending_to(delay.port) if case.latency_ms else nullcontext():
                    times.append(time_delivery(by_name[case.contender], batch))
            cpu, wall = (min(seconds) * 1e6 / case.records for seconds in zip(*times, strict=True))
            yield {**case._asdict(), "cpu_us": cpu, "wall_us": wall}


def time_delivery(contender: Contender, batch: Any) -> tuple[float, float]:
    """Deliver a batch; return the CPU seconds and the elapsed seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    contender.deliver(batch)
    return time.process_time() - cpu, time.perf_counter() - wall


# --- The ledger's size ---------------------------------------------------------------------------


def growth(ours: Contender, interceptor: RequestInterceptor, sizes: Sizes) -> Iterator[Row]:
    """Count a busy batch with a ledger of each size."""
    for entries in sizes.ledgers:
        replace_ledger(ours.emulator, entries)
        for kind in GROWTH_KINDS:
            case = scenarios.busy_case("ours", kind, sizes)
            yield {"entries": entries, **case._asdict(), **count(ours, case, interceptor)._asdict()}


def replace_ledger(emulator: Emulator, items: int) -> None:
    """Replace the ledger by one with this many entries. ImportTable fills it."""
    storage, dynamodb = emulator.client("s3"), emulator.client("dynamodb")
    storage.create_bucket(Bucket=BUCKET)
    entry = sample_entry()
    for start in range(0, items, PART_ITEMS):
        lines = [import_line(entry, number) for number in range(start, min(start + PART_ITEMS, items))]
        storage.put_object(Bucket=BUCKET, Key=f"{items}/{start}.json", Body="\n".join(lines).encode())
    dynamodb.delete_table(TableName=tables.LEDGER)
    state = dynamodb.import_table(
        S3BucketSource={"S3Bucket": BUCKET, "S3KeyPrefix": f"{items}/"},
        InputFormat="DYNAMODB_JSON",
        TableCreationParameters=create_parameters(tables.LEDGER, tables.KEYS[tables.LEDGER]),
    )["ImportTableDescription"]
    while state["ImportStatus"] == "IN_PROGRESS":
        time.sleep(POLL_SECONDS)
        state = dynamodb.describe_import(ImportArn=state["ImportArn"])["ImportTableDescription"]
    if state["ImportStatus"] != "COMPLETED":
        raise RuntimeError(f"ImportTable did not complete: {state}")


def sample_entry() -> Any:
    """Return an entry's item as the app writes it."""
    (record,) = stream.read(scenarios.new_orders(OrdersStream(), 1, 1)).records_by_order.popitem()[1]
    return entry_item.to_item(ledger.apply(ledger.absent(record.order_id), record))


def import_line(entry: Any, number: int) -> str:
    """Return a copy of the entry, with an order id of its own, as a line for ImportTable."""
    return json.dumps({"Item": {**entry, "OrderID": {"S": f"filler-{number:07}"}}})
