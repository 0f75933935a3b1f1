"""`make bench`: compare the cost and correctness of Order Totals and its contenders, and write the report.

All contenders run in this process, one after another, against one emulator that enforces IAM. The deployed app is
measured first, on a separate emulator.
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

from benchmarks import batches, chart, container, contenders, correctness, costs, delivery, deployed, growth, report
from benchmarks.interceptor import RequestInterceptor
from benchmarks.progress import show_progress
from infrastructure.local_stage import root_environment
from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT
from localcloud.stack import deploy

LEDGER_SIZES = [1_000, 10_000, 100_000]
# A ledger of a million entries is measured only with 8 GB of free memory. The emulator needs 4 GB and over a minute.
LARGEST_LEDGER = 1_000_000
LARGEST_LEDGER_MEMORY_BYTES = 8 << 30
RATES = [250, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare the cost and correctness of Order Totals and its contenders."
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="use small batches: a smoke test of about a minute")
    mode.add_argument("--redraw", action="store_true", help="measure nothing: write report and charts from the results")
    parser.add_argument("--results", type=Path, default=PROJECT / "benchmarks" / "results.json")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="the folder for the report and its charts")
    options = parser.parse_args(arguments)
    if not options.redraw:
        results = Run(options.quick, show_progress).run()
        options.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_report(json.loads(options.results.read_text(encoding="utf-8")), options.docs)
    print(f"Results: {options.results}; report and charts: {options.docs}/bench.md, bench.svg, bench-growth.svg")
    return 0


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write the report and its charts to a folder, and print the report."""
    folder.mkdir(parents=True, exist_ok=True)
    chart.draw(results, folder)
    text = report.text(results)
    (folder / "bench.md").write_text(text, encoding="utf-8")
    print(text)


class Run:
    """One run of all benchmarks."""

    def __init__(self, quick: bool, show_progress: Callable[[str], None]) -> None:
        self._quick = quick
        self._sizes = batches.QUICK if quick else batches.FULL
        self._show_progress = show_progress

    def run(self) -> dict[str, Any]:
        """Run all benchmarks and return the content of results.json."""
        started = time.monotonic()
        results = {"machine": machine(), **self._deployed()}
        with Emulator() as emulator:
            os.environ.update(root_environment(emulator.endpoint_url))
            interceptor = RequestInterceptor()
            loaded = [delivery.load(name, emulator) for name in contenders.NAMES]
            results |= {
                "contenders": {each.name: {"title": each.title} for each in loaded},
                "compared": self._compared(),
                "correctness": self._correctness(loaded, interceptor),
                "container": self._container(),
                "batches": self._batches(loaded, interceptor),
                "growth": self._growth(loaded[0], interceptor),
            }
        results["floor"] = {"requests": costs.FLOOR_REQUESTS, "write_units": costs.FLOOR_WRITE_UNITS}
        results["seconds"] = round(time.monotonic() - started)
        return results

    def _deployed(self) -> dict[str, Any]:
        self._show_progress("Packaging the app and deploying it to an emulator")
        with Emulator() as emulator, tempfile.TemporaryDirectory() as folder:
            package("local", Path(folder))
            zipped, unzipped = container.package_bytes(Path(folder))
            stack = deploy(emulator, Path(folder))
            self._show_progress("Latency and throughput of the deployed app")
            latency = deployed.latency(stack, emulator, 5 if self._quick else 200)
            steps = []
            rates, seconds = (RATES[:1], 1.0) if self._quick else (RATES, 4.0)
            for step in deployed.throughput(stack, emulator, rates, seconds):
                self._show_progress(f"  {step.placed_per_second:,.0f} orders/s: {step.behind_orders:,} not counted yet")
                steps.append(step._asdict())
        return {
            "package": {"zipped_bytes": zipped, "unzipped_bytes": unzipped},
            "latency_ms": latency._asdict(),
            "throughput": steps,
        }

    def _compared(self) -> dict[str, Any]:
        """Return the cases that the report compares, by kind of record and contender."""
        return {
            kind: {name: self._sizes.compared(name, kind)._asdict() for name in contenders.NAMES}
            for kind in batches.KINDS
        }

    def _correctness(self, loaded: list[delivery.Contender], interceptor: RequestInterceptor) -> list[dict[str, Any]]:
        self._show_progress("Correctness")
        return [
            {"scenario": scenario, "contender": contender.name, "truth": truth, **outcome._asdict()}
            for scenario, contender, truth, outcome in correctness.run_all(loaded, interceptor)
        ]

    def _container(self) -> dict[str, Any]:
        self._show_progress("Import time, memory and planning")
        dependencies, app = container.import_ms(2 if self._quick else 20)
        sizes = container.MEMORY_BATCH_SIZES[:1] if self._quick else container.MEMORY_BATCH_SIZES
        return {
            "import_bare_ms": dependencies,
            "import_app_ms": app,
            "planning_us": container.planning_us(),
            "memory": [container.memory(records)._asdict() for records in sizes],
        }

    def _batches(self, loaded: list[delivery.Contender], interceptor: RequestInterceptor) -> list[dict[str, Any]]:
        rows = []
        for contender, case, figures in batches.measure_all(loaded, interceptor, self._sizes):
            self._show_progress(
                f"{contender.title}: {case.records:,} {case.kind}, {case.products:,} products:"
                f" {figures.wall_us:,.0f} µs per order"
            )
            rows.append({"contender": contender.name, **case._asdict(), **figures._asdict()})
        return rows

    def _growth(self, ours: delivery.Contender, interceptor: RequestInterceptor) -> list[dict[str, Any]]:
        rows = []
        for point in growth.measure_growth(ours, interceptor, self._ledger_sizes(), self._sizes.headline):
            self._show_progress(
                f"Ledger of {point.ledger_items:,} entries, {point.case.kind}:"
                f" {point.figures.wall_us:,.0f} µs per order"
            )
            rows.append({"ledger_items": point.ledger_items, **point.case._asdict(), **point.figures._asdict()})
        return rows

    def _ledger_sizes(self) -> list[int]:
        if self._quick:
            return [1_000]
        if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < LARGEST_LEDGER_MEMORY_BYTES:
            self._show_progress(f"Skipping the ledger of {LARGEST_LEDGER:,} entries: it needs 8 GB of free memory")
            return LEDGER_SIZES
        return [*LEDGER_SIZES, LARGEST_LEDGER]


def machine() -> dict[str, Any]:
    """Describe this machine and its load."""
    load = os.getloadavg()[0]
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 1)}


if __name__ == "__main__":
    sys.exit(main())
