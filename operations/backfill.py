"""`make backfill STAGE=prod`: brings a stage's ledger and counters to what its OrdersTable says, to the end.

Runs beside live traffic, and can be stopped and started again at any time. Exit status: 0 when every order is
counted, 2 when something went wrong or an order cannot be counted, 130 after Ctrl-C.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from chalicelib import tables
from operations import stage as stages
from operations.display import Display, per_second
from operations.stage import Function

# After so many each invocation answers, so that the bar moves.
SECONDS_PER_INVOCATION = 5
# One invocation does some thousand orders a second; more segments help where there are many.
ORDERS_PER_SEGMENT = 50_000
SEGMENTS_MAX = 8

FIGURES = ("orders", "changed", "rejected", "uncountable", "requests")


class Run:
    """A backfill by several invocations side by side, each with a segment of the table."""

    def __init__(self, function: Function, segments: int, display: Display, about: int) -> None:
        self.figures = dict.fromkeys(FIGURES, 0)
        self.uncountable: dict[str, str] = {}
        self._function = function
        self._segments = segments
        self._display = display
        self._about = about
        self._lock = threading.Lock()
        self._stopped = False

    def to_the_end(self) -> None:
        """Runs it. Raises what EXPECTED names, when all segments have stopped."""
        pool = ThreadPoolExecutor(self._segments)
        running = [pool.submit(self._segment, segment) for segment in range(self._segments)]
        try:
            for each in running:
                each.result()
        finally:
            self._stopped = True  # The others stop after their invocations.
            pool.shutdown()

    def _segment(self, segment: int) -> None:
        request: dict[str, Any] = {"segment": segment, "segments": self._segments}
        while not self._stopped:
            answer = self._function.invoke({**request, "seconds": SECONDS_PER_INVOCATION})
            self._note(answer)
            if answer["done"]:
                return
            request = {"cursor": answer["cursor"]}

    def _note(self, answer: dict[str, Any]) -> None:
        with self._lock:
            for name in FIGURES:
                self.figures[name] += answer[name]
            self.uncountable.update(answer["uncountableOrders"])
            self._display.show("Orders", self.figures["orders"], self._about)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = stages.parser("make backfill", "Brings the ledger and the counters to what OrdersTable says.")
    parser.add_argument("--segments", type=int, help="how many invocations side by side")
    asked = parser.parse_args(arguments)
    console = Console()
    try:
        stage = stages.of(asked)
        function = stage.function("backfill")
        about = stage.item_count(tables.ORDERS, function)
        segments = asked.segments or min(SEGMENTS_MAX, 1 + about // ORDERS_PER_SEGMENT)
        started = time.monotonic()
        with Display(console) as display:
            run = Run(function, segments, display, about)
            run.to_the_end()
            display.end()
    except stages.EXPECTED as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What is counted is counted; run it again to go on.")
        return 130
    console.print(summary(run, segments, time.monotonic() - started))
    for order_id, why in run.uncountable.items():
        console.print(f"{order_id} cannot be counted: {why}", style="red", highlight=False, markup=False)
    return 2 if run.figures["uncountable"] else 0


def summary(run: Run, segments: int, seconds: float) -> Table:
    """What was done."""
    table = Table(title="Backfill", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    names = ("Orders seen", "Changed in the ledger", "Not valid", "Not countable", "Requests of DynamoDB")
    for name, figure in zip(names, run.figures.values(), strict=True):
        table.add_row(name, f"{figure:,}")
    table.add_row("Invocations side by side", str(segments))
    table.add_row("Seconds", f"{seconds:.1f}")
    table.add_row("Orders per second", per_second(run.figures["orders"], seconds))
    return table


if __name__ == "__main__":
    sys.exit(main())
