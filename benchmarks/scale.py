"""`make scale`: measure backfill and audit at growing numbers of orders, on the emulator.

Each job is a call of the app's function in a new process. Each number of orders has a separate emulator. The table
shows time, CPU, requests, write and read units, and the peak memory of the process. The times are those of the emulator
on this machine and do not apply to AWS. The other columns do.
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

from benchmarks.delivery import Context
from benchmarks.interceptor import RequestInterceptor
from infrastructure.local_stage import root_environment
from infrastructure.tables import all_tables, create_parameters
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment

SIZES = [10_000, 100_000]
PRODUCTS = 500
RUNS = {"backfill": "backfill", "backfill, again": "backfill", "audit": "audit"}
"""The job of each row of the table, by the row's name."""
BATCH_WRITE_MAX = 25  # Source: API reference, BatchWriteItem.
INVOCATION_SECONDS = 900.0  # The longest timeout of a Lambda function.
MIB = 1024 * 1024


# --- Functions that run in the measured process --------------------------------------------------


def measure(job: str) -> dict[str, Any]:
    """Run a job to its end and return the figures."""
    interceptor = RequestInterceptor()
    import app  # Import late, so that its client belongs to the interceptor's session.

    peak_before = peak_bytes()
    started, cpu_started = time.monotonic(), time.process_time()
    with interceptor.counting():
        result = getattr(app, job)({}, Context(INVOCATION_SECONDS))
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    if not result["done"]:
        raise RuntimeError(f"{job} did not finish in one invocation. Measure fewer orders.")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_before_bytes": peak_before,
        "peak_bytes": peak_bytes(),
        **interceptor.usage._asdict(),
    }


def peak_bytes() -> int:
    """Return the peak memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- Functions that run in the command's process -------------------------------------------------


def measure_in_new_process(emulator: Emulator, job: str) -> dict[str, Any]:
    """Run `measure` in a new process and return the figures."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--job", job],
        env={**clean_environment(), **root_environment(emulator.endpoint_url)},
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures


def fill(dynamodb: Any, orders: int) -> None:
    """Create the tables and write orders of many products, over 20 days."""
    for table in all_tables("local"):
        dynamodb.create_table(**create_parameters(table))
    for start in range(0, orders, BATCH_WRITE_MAX):
        requests = [
            {"PutRequest": {"Item": order(number)}} for number in range(start, min(start + BATCH_WRITE_MAX, orders))
        ]
        dynamodb.batch_write_item(RequestItems={"OrdersTable": requests})


def order(number: int) -> dict[str, Any]:
    """Return an order's item, with an id as long as a ULID."""
    return {
        "OrderID": {"S": f"01JD{number:022}"},
        "Product": {"S": f"Product {number % PRODUCTS}"},
        "Quantity": {"N": str(1 + number % 9)},
        "PlacedAt": {"S": f"2026-11-{1 + number // PRODUCTS % 20:02}T{number % 24:02}:15:00Z"},
    }


def rows(sizes: Iterable[int], console: Console) -> Iterable[list[str]]:
    """Measure and yield the rows of the table, one after another."""
    for size in sizes:
        with Emulator() as emulator:
            with console.status(f"Writing {size:,} orders"):
                fill(emulator.client("dynamodb"), size)
            for name, job in RUNS.items():
                with console.status(f"{name}, {size:,} orders"):
                    figures = measure_in_new_process(emulator, job)
                yield row(name, size, figures)


def row(name: str, size: int, figures: dict[str, Any]) -> list[str]:
    """Format one measurement."""
    return [
        name,
        f"{size:,}",
        f"{figures['seconds']:.1f} s",
        f"{figures['cpu_seconds'] / size * 1e6:.0f} µs",
        f"{figures['requests']:,}",
        f"{figures['write_units'] / size:.3f}",
        f"{figures['read_units'] / size:.3f}",
        f"{figures['peak_bytes'] / MIB:.0f} MiB",
        f"{(figures['peak_bytes'] - figures['peak_before_bytes']) / MIB:.0f} MiB",
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make scale", description="Measure backfill and audit on the emulator.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of orders")
    parser.add_argument("--job", choices=sorted(set(RUNS.values())), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job:
        print(json.dumps(measure(options.job)))
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
        "job's share",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "job" else "right")
    for each in rows(options.sizes, console):
        table.add_row(*each)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
