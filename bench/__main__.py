"""`make bench`: compares what an order costs, prints what it finds, and writes it down.

All ways run in this process, against one emulator (with IAM on, as its root user), one after another. What is told of
the deployed app is measured before, on an emulator of its own.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import batches, chart, container, correctness, costs, delivery, deployed, growth, report, ways
from bench.wire import Wire
from infrastructure.package import package
from localcloud.emulator import Emulator, root_environment
from localcloud.servers import PROJECT
from localcloud.stack import deploy

# A million entries take the emulator 4 GB and more than a minute.
LEDGER_SIZES = [1_000, 10_000, 100_000]
LARGEST_LEDGER = 1_000_000
LARGEST_LEDGER_MEMORY_BYTES = 8 << 30
RATES = [250, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description="Compares what an order costs.")
    parser.add_argument("--quick", action="store_true", help="small batches, to see in seconds that all of it works")
    parser.add_argument("--results", type=Path, default=PROJECT / "bench" / "results.json")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="the folder of the report and its charts")
    asked = parser.parse_args(arguments)
    results = Run(asked.quick, say).run()
    asked.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    asked.docs.mkdir(parents=True, exist_ok=True)
    chart.draw(results, asked.docs)
    (asked.docs / "bench.md").write_text(report.text(results), encoding="utf-8")
    print(report.text(results))
    print(f"Written: {asked.results}; {asked.docs}/bench.md, bench.svg, bench-growth.svg")
    return 0


def say(text: str) -> None:
    """Tells whoever waits how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Run:
    """One run: everything against one emulator, one after another."""

    def __init__(self, quick: bool, say: Callable[[str], None]) -> None:
        self._quick = quick
        self._sizes = batches.QUICK if quick else batches.FULL
        self._say = say

    def run(self) -> dict[str, Any]:
        """Measures everything; returns it as JSON has it."""
        started = time.monotonic()
        results = {"machine": machine(), **self._deployed()}
        with Emulator() as emulator:
            os.environ.update(root_environment(emulator.endpoint_url))
            wire = Wire()
            all_ways = [delivery.load(name, emulator) for name in ways.NAMES]
            results |= {
                "ways": {way.name: {"title": way.title, "origin": way.origin} for way in all_ways},
                "compared": self._compared(),
                "correctness": self._correctness(all_ways, wire),
                "container": self._container(),
                "batches": self._batches(all_ways, wire),
                "growth": self._growth(all_ways[0], wire),
            }
        results["floor"] = {"requests": costs.FLOOR_REQUESTS, "write_units": costs.FLOOR_WRITE_UNITS}
        results["seconds"] = round(time.monotonic() - started)
        return results

    def _deployed(self) -> dict[str, Any]:
        self._say("Packaging the app and deploying it to an emulator")
        with Emulator() as emulator, tempfile.TemporaryDirectory() as folder:
            package("local", Path(folder))
            zipped, unzipped = container.package_bytes(Path(folder))
            stack = deploy(emulator, Path(folder))
            self._say("From order to total")
            latency = deployed.latency(stack, emulator, 5 if self._quick else 200)
            steps = []
            rates, seconds = (RATES[:1], 1.0) if self._quick else (RATES, 4.0)
            for step in deployed.throughput(stack, emulator, rates, seconds):
                self._say(f"  {step.placed_per_second:,.0f} orders/s: {step.behind_orders:,} behind")
                steps.append(step._asdict())
        return {
            "package": {"zipped_bytes": zipped, "unzipped_bytes": unzipped},
            "latency_ms": latency._asdict(),
            "throughput": steps,
        }

    def _compared(self) -> dict[str, Any]:
        """The cases by which the ways are compared, by kind and way."""
        return {
            kind: {name: self._sizes.compared(name, kind)._asdict() for name in ways.NAMES} for kind in batches.KINDS
        }

    def _correctness(self, all_ways: list[delivery.Way], wire: Wire) -> list[dict[str, Any]]:
        self._say("What each way shows, and what is true")
        return [
            {"story": story, "way": way, "truth": truth, **shown._asdict()}
            for story, way, truth, shown in correctness.table(all_ways, wire)
        ]

    def _container(self) -> dict[str, Any]:
        self._say("Cold start, memory, planning")
        bare, app = container.import_ms(2 if self._quick else 20)
        sizes = container.HANDLER_SIZES[:1] if self._quick else container.HANDLER_SIZES
        return {
            "import_bare_ms": bare,
            "import_app_ms": app,
            "planning_us": container.planning_us(),
            "memory": [container.memory(records)._asdict() for records in sizes],
        }

    def _batches(self, all_ways: list[delivery.Way], wire: Wire) -> list[dict[str, Any]]:
        measured = []
        for way, case, figures in batches.measure(all_ways, wire, self._sizes):
            self._say(f"{way.title}: {case.records:,} {case.kind} of {case.products:,}: {figures.wall_us:,.0f} us each")
            measured.append({"way": way.name, **case._asdict(), **figures._asdict()})
        return measured

    def _growth(self, ours: delivery.Way, wire: Wire) -> list[dict[str, Any]]:
        measured = []
        for point in growth.measure(ours, wire, self._ledger_sizes(), self._sizes.headline):
            self._say(f"Beside {point.ledger_items:,} entries: {point.case.kind} {point.figures.wall_us:,.0f} us each")
            measured.append({"ledger_items": point.ledger_items, **point.case._asdict(), **point.figures._asdict()})
        return measured

    def _ledger_sizes(self) -> list[int]:
        if self._quick:
            return [1_000]
        if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < LARGEST_LEDGER_MEMORY_BYTES:
            self._say(f"Too little memory for a ledger of {LARGEST_LEDGER:,} entries: left out")
            return LEDGER_SIZES
        return [*LEDGER_SIZES, LARGEST_LEDGER]


def machine() -> dict[str, Any]:
    """What it ran on."""
    load = os.getloadavg()[0]
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 1)}


if __name__ == "__main__":
    sys.exit(main())
