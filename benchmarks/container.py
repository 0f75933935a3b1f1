"""Measure one Lambda container of Order Totals: import time, package size, memory, and CPU time for planning.

Import time, memory and planning are measured in new processes.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from infrastructure.package import CODE
from localcloud.servers import PROJECT

IMPORT_DEPENDENCIES = "import boto3, chalice.app\nboto3.client('dynamodb')"
IMPORT_APP = "import app"
MEMORY_BATCH_SIZES = (1_000, 10_000)

_TIME_SCRIPT = "import time\nstarted = time.perf_counter()\n{code}\nprint(time.perf_counter() - started)"

_MEMORY_SCRIPT = """
import contextlib, io, json, sys, tracemalloc
with contextlib.redirect_stdout(io.StringIO()):
    import app
    from benchmarks.batches import Case, new_orders
    from benchmarks.delivery import Context
    from benchmarks.records import OrdersStream, event
    records, products = {records}, 10
    app.aggregate(event(new_orders(OrdersStream(), Case("new", 100, products), 5)), Context())
    text = json.dumps(event(new_orders(OrdersStream(), Case("new", records, products), 5)))
    tracemalloc.start()
    batch = json.loads(text)
    event_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    app.aggregate(batch, Context())
    peak_bytes = tracemalloc.get_traced_memory()[1]
print(json.dumps([len(text), event_bytes, peak_bytes - event_bytes]))
"""

_PLANNING_SCRIPT = """
import time
from benchmarks.batches import Case, new_orders
from benchmarks.records import OrdersStream
from chalicelib import tables
from chalicelib.counting import committer, stream
from chalicelib.effects import Committed
names = {table: table for table in tables.KEYS}
batch = new_orders(OrdersStream(), Case("new", 1000, 10), 5)
def plan():
    steps = committer.for_stream(stream.read(batch).records_by_order).steps()
    effect = next(steps)
    while effect:
        effect.transaction.actions(names, "2026-11-23T18:13:05Z")
        try:
            effect = steps.send(Committed())
        except StopIteration:
            break
best = 9.0
for _ in range(100):
    started = time.process_time()
    plan()
    best = min(best, time.process_time() - started)
print(best / 1000)
"""


class Memory(NamedTuple):
    """The memory that a process needs to count a batch."""

    records: int
    payload_bytes: int
    """The event as JSON. Lambda sends at most 6 MB (Lambda quotas)."""
    event_bytes: int
    """The event as Python objects, made by the Lambda runtime."""
    handler_bytes: int
    """The peak of what the handler allocates in addition."""


def import_ms(rounds: int) -> tuple[float, float]:
    """Return the milliseconds to import boto3 and chalice, and to import the app. Each is the best of `rounds`."""
    dependencies, app = [], []
    for _ in range(rounds):
        dependencies.append(float(_python(_TIME_SCRIPT.format(code=IMPORT_DEPENDENCIES))))
        app.append(float(_python(_TIME_SCRIPT.format(code=IMPORT_APP))))
    return min(dependencies) * 1000, min(app) * 1000


def memory(records: int) -> Memory:
    """Measure the memory for a batch of new orders. Environment variables select the emulator."""
    return Memory(records, *json.loads(_python(_MEMORY_SCRIPT.format(records=records))))


def planning_us() -> float:
    """Return the CPU time of planning a batch of 1,000 new orders of 10 products, in microseconds per order."""
    return float(_python(_PLANNING_SCRIPT)) * 1e6


def package_bytes(build: Path) -> tuple[int, int]:
    """Return the zipped and the unzipped size of the packaged code, in bytes."""
    with zipfile.ZipFile(build / CODE) as archive:
        return (build / CODE).stat().st_size, sum(entry.file_size for entry in archive.infolist())


def _python(code: str) -> Any:
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise RuntimeError(process.stderr)
    return process.stdout.strip().splitlines()[-1]
