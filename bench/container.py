"""What a Lambda container of ours costs: its cold start, its package, its memory, and the core's planning by itself.

Each is measured in processes of its own.
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

BARE = "import boto3, chalice.app\nboto3.client('dynamodb')"
APP = "import app"
HANDLER_SIZES = (1_000, 10_000)

_TIME = "import time\nstarted = time.perf_counter()\n{code}\nprint(time.perf_counter() - started)"

_MEMORY = """
import contextlib, io, json, sys, tracemalloc
with contextlib.redirect_stdout(io.StringIO()):
    import app
    from bench.batches import Case, orders
    from bench.delivery import Context
    from bench.records import Feed, event
    records, products = {records}, 10
    app.aggregate(event(orders(Feed(), Case("new", 100, products), 5)), Context())
    text = json.dumps(event(orders(Feed(), Case("new", records, products), 5)))
    tracemalloc.start()
    batch = json.loads(text)
    event_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    app.aggregate(batch, Context())
    peak_bytes = tracemalloc.get_traced_memory()[1]
print(json.dumps([len(text), event_bytes, peak_bytes - event_bytes]))
"""

_PLANNING = """
import time
from bench.batches import Case, orders
from bench.records import Feed
from chalicelib import tables
from chalicelib.counting import committer, stream
from chalicelib.effects import Committed
names = {table: table for table in tables.KEYS}
batch = orders(Feed(), Case("new", 1000, 10), 5)
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
    """What a batch takes."""

    records: int
    payload_bytes: int
    """The event as JSON, as Lambda is sent it; it sends 6 MB at the most (Lambda quotas)."""
    event_bytes: int
    """The event as Python objects, which the runtime makes of it."""
    handler_bytes: int
    """What the handler takes at its peak besides."""


def import_ms(rounds: int) -> tuple[float, float]:
    """Milliseconds to import boto3 with a client and chalice, and the app: the best of some rounds, in turn."""
    bare, app = [], []
    for _ in range(rounds):
        bare.append(float(_python(_TIME.format(code=BARE))))
        app.append(float(_python(_TIME.format(code=APP))))
    return min(bare) * 1000, min(app) * 1000


def memory(records: int) -> Memory:
    """What a batch of new orders takes, counted against the emulator that the environment names."""
    return Memory(records, *json.loads(_python(_MEMORY.format(records=records))))


def planning_us() -> float:
    """Microseconds of CPU for each of 1,000 new orders of 10 products in the core, without any request."""
    return float(_python(_PLANNING)) * 1e6


def package_bytes(build: Path) -> tuple[int, int]:
    """The size of the packaged code, zipped and unzipped."""
    with zipfile.ZipFile(build / CODE) as archive:
        return (build / CODE).stat().st_size, sum(entry.file_size for entry in archive.infolist())


def _python(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip().splitlines()[-1]
