"""`make bench`: compare Order Totals with its contenders, and write results.json, docs/bench.md and README's table.

All contenders run in this process, one after another, against one emulator with IAM enforced. Times are measured in
three runs. On a machine that others use meanwhile, nothing is written.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import chart, container, contenders, measure, quiet, report, scenarios, show_progress
from benchmarks.interceptor import RequestInterceptor
from infrastructure.local_stage import root_environment
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT

RUNS = 3
RESULTS = "benchmarks/results.json"
ADVICE = "Nothing is written. Run `make bench` again when the machine is idle; `make bench FORCE=yes` only prints."


def main(arguments: list[str] | None = None, run: Callable[[scenarios.Sizes, int], Any] | None = None) -> int:
    """Run the command; return its exit status. `run` measures."""
    parser = argparse.ArgumentParser(prog="make bench", description="Compare Order Totals with its contenders.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--force", action="store_true", help="measure on a busy machine too; print, and write nothing")
    mode.add_argument("--counts", action="store_true", help="measure no times, so that a busy machine does no harm")
    mode.add_argument("--redraw", action="store_true", help="measure nothing: write the report from the last results")
    mode.add_argument("--smoke", type=Path, metavar="FOLDER", help="try it with small batches; write to this folder")
    options = parser.parse_args(arguments)
    run = run or measure_all
    if options.redraw:
        write(json.loads((PROJECT / RESULTS).read_text(encoding="utf-8")), PROJECT)
        return 0
    if options.smoke:
        write(run(scenarios.SMOKE, 1), options.smoke)
        return 0
    if not (options.force or options.counts) and (reason := quiet.probe().too_busy):
        return refuse(reason)
    results = run(scenarios.FULL, 0 if options.counts else RUNS)
    print(report.text(results))
    if options.force:
        return 0
    for each in results["runs"]:
        if reason := quiet.Load(**each["load"]).too_busy:
            return refuse(reason)
    write(results, PROJECT)
    print(f"Written: {RESULTS}, docs/bench.md, its charts, and the table in README.md.")
    return 0


def refuse(reason: str) -> int:
    """Say why nothing is written; return the exit status."""
    print(f"{reason} {ADVICE}", file=sys.stderr)
    return 1


def write(results: Any, folder: Path) -> None:
    """Write results, report and charts to a folder, and the table into its README."""
    for name in ("benchmarks", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    readme = report.in_readme(results, (PROJECT / "README.md").read_text(encoding="utf-8"))
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "docs" / "bench.md").write_text(report.text(results), encoding="utf-8")
    chart.draw(results, folder / "docs")


def measure_all(sizes: scenarios.Sizes, runs: int) -> dict[str, Any]:
    """Measure everything; return the content of results.json."""
    started = time.monotonic()
    cases = scenarios.all_cases(sizes)
    with Emulator() as emulator:
        os.environ.update(root_environment(emulator.endpoint_url))
        interceptor = RequestInterceptor()
        loaded = {name: contenders.load(name, emulator) for name in contenders.NAMES}
        show_progress("Correctness")
        correctness = [
            {"scenario": scenario, "contender": contender.name, "truth": truth, **outcome._asdict()}
            for scenario, contender, truth, outcome in scenarios.run_all(list(loaded.values()), interceptor)
        ]
        show_progress("Requests and units")
        counts = [
            {**case._asdict(), **measure.count(loaded[case.contender], case, interceptor)._asdict()}
            for case in cases
            if not case.latency_ms
        ]
        timed = []
        for number in range(runs):
            show_progress(f"Times, run {number + 1} of {runs}")
            before = quiet.sample()
            times = list(measure.time_all(loaded.values(), cases, interceptor, sizes.rounds))
            of_container = container.times(sizes.rounds)
            load = quiet.between(before, quiet.sample())
            timed.append({"times": times, "container": of_container, "load": load._asdict()})
        show_progress("Memory, and ledgers of several sizes")
        memory = container.memory(sizes.memory)
        growth = list(measure.growth(loaded["ours"], interceptor, sizes))
    return {
        "machine": machine(),
        "seconds": round(time.monotonic() - started),
        "sizes": sizes._asdict(),
        "correctness": correctness,
        "counts": counts,
        "runs": timed,
        "memory": memory,
        "growth": growth,
    }


def machine() -> dict[str, Any]:
    """Name this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    sys.exit(main())
