"""`make scale`: measure backfill and audit at growing numbers of orders, on the emulator.

Each job is a call of the app's function in a new process. Each number of orders has a separate emulator. The table
shows time, CPU, requests, write and read units, and the peak memory of the process. The times are those of the emulator
on this machine and do not apply to AWS. The other columns do.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks import show_progress
from benchmarks.contenders import Context
from benchmarks.interceptor import RequestInterceptor
from benchmarks.report import table
from infrastructure.local_stage import root_environment
from infrastructure.tables import all_tables, create_parameters
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment

SIZES = [10_000, 100_000]
PRODUCTS = 500
JOBS = {"backfill": "backfill", "backfill with nothing to do": "backfill", "audit": "audit"}
"""The job of each row of the table, by the row's name."""
BATCH_WRITE_MAX = 25  # Source: API reference, BatchWriteItem.
INVOCATION_SECONDS = 900.0  # Lambda's longest timeout.
HEAD = ["job", "orders", "time", "CPU per order", "requests", "write units", "read units", "peak memory"]


def measure(job: str) -> dict[str, float]:
    """Run a job to its end, in this process; return the figures."""
    interceptor = RequestInterceptor()
    import app  # Import late, so that its client belongs to the interceptor's session.

    started, cpu_started = time.monotonic(), time.process_time()
    with interceptor.counting():
        result = getattr(app, job)({}, Context(INVOCATION_SECONDS))
    if not result["done"]:
        raise RuntimeError(f"{job} did not finish in one invocation. Measure fewer orders.")
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        **interceptor.usage._asdict(),
    }


def row(name: str, size: int, emulator: Emulator) -> list[str]:
    """Run a job in a new process; return its row of the table."""
    command = [sys.executable, "-m", "benchmarks.scale", "--job", JOBS[name]]
    environment = {**clean_environment(), **root_environment(emulator.endpoint_url)}
    output = subprocess.run(command, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures = json.loads(output.splitlines()[-1])
    return [
        name,
        f"{size:,}",
        f"{figures['seconds']:.1f} s",
        f"{figures['cpu_seconds'] / size * 1e6:.0f} µs",
        f"{figures['requests']:,}",
        f"{figures['write_units'] / size:.2f}",
        f"{figures['read_units'] / size:.2f}",
        f"{figures['peak_kib'] / 1024:.0f} MiB",
    ]


def fill(dynamodb: Any, orders: int) -> None:
    """Create the tables and write orders of many products, over 20 days."""
    for each in all_tables("local"):
        dynamodb.create_table(**create_parameters(each))
    for start in range(0, orders, BATCH_WRITE_MAX):
        items = map(order, range(start, min(start + BATCH_WRITE_MAX, orders)))
        dynamodb.batch_write_item(RequestItems={"OrdersTable": [{"PutRequest": {"Item": item}} for item in items]})


def order(number: int) -> dict[str, Any]:
    """Return an order's item, with an id as long as a ULID."""
    return {
        "OrderID": {"S": f"01JD{number:022}"},
        "Product": {"S": f"Product {number % PRODUCTS}"},
        "Quantity": {"N": str(1 + number % 9)},
        "PlacedAt": {"S": f"2026-11-{1 + number // PRODUCTS % 20:02}T{number % 24:02}:15:00Z"},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make scale", description="Measure backfill and audit on the emulator.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of orders")
    parser.add_argument("--job", choices=sorted(set(JOBS.values())), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job:
        print(json.dumps(measure(options.job)))
        return 0
    rows = []
    for size in options.sizes:
        with Emulator() as emulator:
            show_progress(f"Writing {size:,} orders")
            fill(emulator.client("dynamodb"), size)
            for name in JOBS:
                show_progress(f"{name}, {size:,} orders")
                rows.append(row(name, size, emulator))
    print(table(HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
