"""Measure one Lambda container of Order Totals: import time, memory, and planning in the core, in new processes."""

import json
import subprocess
import sys
from typing import Any

from localcloud.servers import PROJECT

IMPORTS = {
    "bare": "import boto3, chalice.app\nboto3.client('dynamodb')",
    "app": "import app",
}

_TIME_SCRIPT = "import time\nstarted = time.perf_counter()\n{code}\nprint(time.perf_counter() - started)"

_MEMORY_SCRIPT = """
import contextlib, io, json, tracemalloc
with contextlib.redirect_stdout(io.StringIO()):
    import app
    from benchmarks.contenders import Context
    from benchmarks.records import OrdersStream, event
    from benchmarks.scenarios import new_orders
    app.aggregate(event(new_orders(OrdersStream(), 100, 10)), Context())
    text = json.dumps(event(new_orders(OrdersStream(), {records}, 10)))
    tracemalloc.start()
    batch = json.loads(text)
    event_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    app.aggregate(batch, Context())
    peak_bytes = tracemalloc.get_traced_memory()[1]
print(json.dumps({{"event_bytes": event_bytes, "handler_bytes": peak_bytes - event_bytes}}))
"""

_PLANNING_SCRIPT = """
import time
from benchmarks.records import OrdersStream
from benchmarks.scenarios import new_orders
from chalicelib import tables
from chalicelib.counting import committer, stream
from chalicelib.effects import Committed
names = dict(zip(tables.KEYS, tables.KEYS))
batch = new_orders(OrdersStream(), 1000, 10)
def plan():
    steps = committer.for_stream(stream.read(batch).records_by_order).steps()
    effect = next(steps)
    while effect:
        several = getattr(effect, "effects", None)
        for each in several or [effect]:
            each.transaction.actions(names, "2026-11-23T18:13:05Z")
        try:
            effect = steps.send([Committed() for _ in several] if several else Committed())
        except StopIteration:
            break
best = 9.0
for _ in range({rounds}):
    started = time.process_time()
    plan()
    best = min(best, time.process_time() - started)
print(best * 1000)
"""


def times(rounds: int) -> dict[str, float]:
    """Return the milliseconds of imports, the best of `rounds`, and the microseconds of planning an order.

    Planning is that of a batch of 1,000 new orders of 10 products.
    """
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        for name, code in IMPORTS.items():
            seconds[name].append(_python(_TIME_SCRIPT.format(code=code)))
    imports = {f"import_{name}_ms": min(each) * 1000 for name, each in seconds.items()}
    return {**imports, "planning_us": _python(_PLANNING_SCRIPT.format(rounds=20 * rounds))}


def memory(records: int) -> Any:
    """Return the memory of a batch of new orders: the event, and the peak of what the handler allocates in addition.

    The orders are counted in the emulator that the environment points to.
    """
    return _python(_MEMORY_SCRIPT.format(records=records))


def _python(code: str) -> Any:
    """Run a script; return the JSON on its last line."""
    process = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr)
    return json.loads(process.stdout.strip().splitlines()[-1])
