"""`make scale`: what backfill and audit take as orders grow, measured on the emulator.

Each job runs by the app's own function in a process of its own, on an emulator of its own. Measured are time, CPU,
requests, write units as the emulator reports them, read units by DynamoDB's rules, and the most memory that the
process ever had. Times are those of the emulator on this machine and say nothing of AWS; all else does.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from infrastructure.local_stage import root_environment
from infrastructure.tables import all_tables, create_parameters
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment

SIZES = [10_000, 100_000]
PRODUCTS = 500
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "backfill": ("backfill", {}),
    "backfill, again": ("backfill", {}),
    "audit": ("audit", {}),
}
BATCH = 25  # API reference, BatchWriteItem.
MIB = 1024 * 1024


# --- In the process that is measured -------------------------------------------------------------


class Context:
    """A Lambda context of an invocation with all the time there is."""

    def get_remaining_time_in_millis(self) -> int:
        """Lambda's longest timeout."""
        return 900_000


class Meter:
    """Counts a client's requests and the capacity that they take."""

    def __init__(self, client: Any) -> None:
        self.units: dict[str, float] = {"requests": 0, "write": 0, "read": 0}
        self._asked: dict[str, Any] = {}
        self._consistent = True
        client.meta.events.register("provide-client-params.dynamodb", self._ask)
        client.meta.events.register("after-call.dynamodb", self._note)

    def _ask(self, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        self._asked = params.get("RequestItems", {})
        self._consistent = any(
            each["ConsistentRead"] for each in [params, *self._asked.values()] if "ConsistentRead" in each
        )
        return {**params, "ReturnConsumedCapacity": "TOTAL"}

    def _note(self, model: Any, parsed: dict[str, Any], **_: Any) -> None:
        self.units["requests"] += 1
        if model.name in ("TransactWriteItems", "UpdateItem"):
            consumed = parsed.get("ConsumedCapacity", [])
            self.units["write"] += sum(part["CapacityUnits"] for part in _list(consumed))
        elif model.name == "Scan":
            self._read(sum(map(item_bytes, parsed["Items"])))
        elif model.name == "BatchGetItem":
            for table, items in parsed["Responses"].items():
                for each in items:
                    self._read(item_bytes(each))
                self._read(0, times=len(self._asked[table]["Keys"]) - len(items))

    def _read(self, size: int, times: int = 1) -> None:
        """ministack 1.5.33 does not say what a BatchGetItem takes, so this is by the rules of DynamoDB.

        Developer Guide, "Read consumption": 4 KB a unit, half of one where the read need not be consistent, and
        at least one. Each item of a BatchGetItem is rounded up by itself, those of a Scan together.
        """
        self.units["read"] += times * max(1, -(-size // 4096)) * (1 if self._consistent else 0.5)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def item_bytes(value: Any) -> int:
    """The size of an item, or of an attribute's value, as DynamoDB reckons it (Developer Guide, "Item sizes")."""
    kinds = {"S", "N", "BOOL", "NULL", "L", "M"}
    if not (isinstance(value, dict) and len(value) == 1 and kinds.issuperset(value)):
        return sum(len(name.encode()) + item_bytes(each) for name, each in value.items())
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return 1 + (len(content) + 1) // 2
    if kind == "L":
        return 3 + sum(1 + item_bytes(each) for each in content)
    return 3 + len(content) + item_bytes(content) if kind == "M" else 1


def measure(job: str, event: dict[str, Any]) -> dict[str, Any]:
    """Runs a job to its end and says what it has taken."""
    import app  # It reads the environment.

    meter = Meter(app.dynamodb)
    before = peak_bytes()
    started, worked = time.monotonic(), time.process_time()
    answer = getattr(app, job)(event, Context())
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - worked
    assert answer["done"], "It did not come to its end in one invocation."
    del answer["cursor"]
    return {
        "seconds": seconds,
        "cpu": cpu_seconds,
        "before": before,
        "peak": peak_bytes(),
        **meter.units,
        "answer": answer,
    }


def peak_bytes() -> int:
    """The most memory that this process has ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- Around it -----------------------------------------------------------------------------------


def measured(emulator: Emulator, job: str, event: dict[str, Any]) -> dict[str, Any]:
    """`measure` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--job", job, "--event", json.dumps(event)],
        env={**clean_environment(), **root_environment(emulator.endpoint_url)},
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def fill(dynamodb: Any, orders: int) -> None:
    """Makes the tables and writes orders of the kind that a shop has, over some days."""
    for table in all_tables("local"):
        dynamodb.create_table(**create_parameters(table))
    for start in range(0, orders, BATCH):
        requests = [{"PutRequest": {"Item": order(number)}} for number in range(start, min(start + BATCH, orders))]
        dynamodb.batch_write_item(RequestItems={"OrdersTable": requests})


def order(number: int) -> dict[str, Any]:
    """An order with an id of a ULID's length."""
    return {
        "OrderID": {"S": f"01JD{number:022}"},
        "Product": {"S": f"Product {number % PRODUCTS}"},
        "Quantity": {"N": str(1 + number % 9)},
        "PlacedAt": {"S": f"2026-11-{1 + number // PRODUCTS % 20:02}T{number % 24:02}:15:00Z"},
    }


def rows(sizes: Iterable[int], console: Console) -> Iterable[list[str]]:
    """The table's rows, as they are measured."""
    for size in sizes:
        with Emulator() as emulator:
            with console.status(f"Writing {size:,} orders"):
                fill(emulator.client("dynamodb"), size)
            for name, (job, event) in RUNS.items():
                with console.status(f"{name}, {size:,} orders"):
                    figures = measured(emulator, job, event)
                yield row(name, size, figures)


def row(name: str, size: int, figures: dict[str, Any]) -> list[str]:
    """One measurement."""
    return [
        name,
        f"{size:,}",
        f"{figures['seconds']:.1f} s",
        f"{figures['cpu'] / size * 1e6:.0f} µs",
        f"{figures['requests']:,}",
        f"{figures['write'] / size:.3f}",
        f"{figures['read'] / size:.3f}",
        f"{figures['peak'] / MIB:.0f} MiB",
        f"{(figures['peak'] - figures['before']) / MIB:.0f} MiB",
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make scale", description="Measures backfill and audit on the emulator.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of orders")
    parser.add_argument("--job", choices=["backfill", "audit"], help=argparse.SUPPRESS)
    parser.add_argument("--event", type=json.loads, default={}, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.job:
        print(json.dumps(measure(asked.job, asked.event)))
        return 0
    console = Console(width=120)
    table = Table(title=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, ministack")
    names = (
        "job",
        "orders",
        "time",
        "CPU/order",
        "requests",
        "WRU/order",
        "RRU/order",
        "peak memory",
        "of it the job's",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "job" else "right")
    for each in rows(asked.sizes, console):
        table.add_row(*each)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
