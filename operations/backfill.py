"""`make backfill STAGE=prod`: count every order of a stage that is not in its totals yet.

Safe to run during live traffic, and safe to stop and restart at any time. Exit status: 0 if every order is counted in
every view, 2 after an error or if an order cannot be counted, 130 after Ctrl-C.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from chalicelib import tables
from operations import stages
from operations.progress import Display, figures, per_second
from operations.stages import Function

# Each invocation returns after this time, so that the progress bar moves.
SECONDS_PER_INVOCATION = 5
# One invocation counts a few thousand orders per second. More segments help only with many orders.
ORDERS_PER_SEGMENT = 50_000
SEGMENTS_MAX = 8
ORDERS_SHOWN = 20

COUNTS = {
    "orders": "Orders read",
    "changed": "Ledger entries changed",
    "rejected": "Rejected orders",
    "uncountable": "Uncountable orders",
    "viewProblems": "Orders that a view failed to count",
    "requests": "DynamoDB requests",
}
"""The counts in a response, and what the summary calls them."""


class BackfillRun:
    """A backfill whose parallel invocations each take one segment of OrdersTable."""

    def __init__(self, function: Function, segments: int, display: Display, estimate: int) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.uncountable: dict[str, str] = {}
        """Why an order cannot be counted, by order id."""
        self.view_problems: dict[str, dict[str, str]] = {}
        """Why views failed to count an order, by order id and view: of some such orders."""
        self._function = function
        self._segments = segments
        self._display = display
        self._estimate = estimate
        self._lock = threading.Lock()
        self._stopped = False

    def run(self) -> None:
        """Run all segments to the end. Raise one of EXPECTED_ERRORS once every segment has stopped."""
        pool = ThreadPoolExecutor(self._segments)
        running = [pool.submit(self._run_segment, segment) for segment in range(self._segments)]
        try:
            for each in running:
                each.result()
        finally:
            self._stopped = True  # The other segments stop after their current invocation.
            pool.shutdown()

    def _run_segment(self, segment: int) -> None:
        request: dict[str, Any] = {"segment": segment, "segments": self._segments}
        while not self._stopped:
            result = self._function.invoke({**request, "seconds": SECONDS_PER_INVOCATION})
            self._add(result)
            if result["done"]:
                return
            request = {"cursor": result["cursor"]}

    def _add(self, result: dict[str, Any]) -> None:
        with self._lock:
            for name in COUNTS:
                self.counts[name] += result[name]
            self.uncountable.update(result["uncountableOrders"])
            self.view_problems.update(result["viewProblemOrders"])
            self._display.update("Orders", self.counts["orders"], self._estimate)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = stages.parser("make backfill", "Count every order of a stage that its totals do not contain yet.")
    parser.add_argument("--segments", type=int, help="number of parallel invocations")
    options = parser.parse_args(arguments)
    stopped = "Stopped. Orders counted so far stay counted. Run it again to count the rest."
    return stages.run(lambda: _run(options, Console()), stopped)


def _run(options: argparse.Namespace, console: Console) -> int:
    stage = stages.from_options(options)
    function = stage.function("backfill")
    estimate = stage.item_count(tables.ORDERS, function)
    segments = options.segments or min(SEGMENTS_MAX, 1 + estimate // ORDERS_PER_SEGMENT)
    started = time.monotonic()
    with Display(console) as display:
        backfill = BackfillRun(function, segments, display, estimate)
        backfill.run()
        display.end()
    console.print(summary(backfill, segments, time.monotonic() - started))
    for line in problems(backfill):
        console.print(line, style="red", highlight=False, markup=False)
    return 2 if backfill.counts["uncountable"] or backfill.counts["viewProblems"] else 0


def problems(backfill: BackfillRun) -> Iterator[str]:
    """Yield which orders are not counted, why, and what to do."""
    for order_id, reason in backfill.uncountable.items():
        yield f"{order_id} cannot be counted: {reason}"
    for order_id, by_view in list(backfill.view_problems.items())[:ORDERS_SHOWN]:
        yield from (f"{order_id} is not in the view {view}, which {reason}" for view, reason in by_view.items())
    if failed := backfill.counts["viewProblems"]:
        yield f"Views failed for {failed:,} orders. Fix the views, deploy, and run the backfill again."


def summary(backfill: BackfillRun, segments: int, seconds: float) -> Table:
    """Return a table with the backfill's counts."""
    counts = [(COUNTS[name], count) for name, count in backfill.counts.items()]
    speed = [("Seconds", f"{seconds:.1f}"), ("Orders per second", per_second(backfill.counts["orders"], seconds))]
    return figures("Backfill", [*counts, ("Parallel invocations", segments), *speed])


if __name__ == "__main__":
    sys.exit(main())
