"""Tests that the first table of README.md shows totals that `make bench` has measured."""

import json
import re
from typing import Any

from benchmarks import contenders
from infrastructure.package import PROJECT

BY_TITLE = {contenders.describe(name).title: name for name in contenders.NAMES}
SHOWN = [BY_TITLE["ADD per record"], BY_TITLE["Order Totals"]]


def test_totals_in_the_readme_are_those_that_the_benchmark_measured():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| .+ \| (\d+) \| \*\*(\d+)\*\* \| (\d+) \|$", readme, re.MULTILINE)
    results = json.loads((PROJECT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    scenarios: dict[str, dict[str, Any]] = {}
    for each in results["correctness"]:
        scenarios.setdefault(each["scenario"], {"truth": each["truth"]})[each["contender"]] = each["total"]
    measured = [tuple(str(totals[name]) for name in ("truth", *SHOWN)) for totals in scenarios.values()]
    assert len(shown) == 3
    assert [row for row in shown if row not in measured] == []
