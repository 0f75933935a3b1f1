"""Tests for `make bench` with small batches: the counts and totals of every contender."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import contenders, report
from benchmarks.capacity import consumed

PROJECT = Path(__file__).parents[2]
OTHERS = [name for name in contenders.NAMES if name != "ours"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the command. Return the folder with its files, and with its output in printed.txt."""
    folder = tmp_path_factory.mktemp("benchmarks")
    printed = run("--quick", "--results", f"{folder}/results.json", "--docs", str(folder))
    (folder / "printed.txt").write_text(printed, encoding="utf-8")
    return folder


def run(*options: str) -> str:
    """Run the command and return its output."""
    command = [sys.executable, "-m", "benchmarks", *options]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def outcomes(results: Any, contender: str) -> dict[str, tuple[int, bool]]:
    """Return for each scenario the error of a contender's total, and whether its shard is blocked."""
    return {
        each["scenario"]: (each["total"] - each["truth"], each["stuck"])
        for each in results["correctness"]
        if each["contender"] == contender
    }


def figures(results: Any, contender: str, kind: str, records: int, products: int) -> Any:
    """Return a contender's figures for one case."""
    wanted = {"contender": contender, "kind": kind, "records": records, "products": products}
    (row,) = [row for row in results["batches"] if wanted.items() <= row.items()]
    return row


def test_order_totals_is_right_in_every_scenario(results: Any):
    ours = outcomes(results, "ours")
    assert len(ours) == 8
    assert set(ours.values()) == {(0, False)}


@pytest.mark.parametrize("contender", OTHERS)
def test_every_contender_counts_new_orders(results: Any, contender: str):
    assert outcomes(results, contender)["new orders"] == (0, False)


@pytest.mark.parametrize(
    ("contender", "wrong"),
    [
        (
            "update_item",
            {
                "batch delivered twice",
                "one order amended",
                "one order moved to another product",
                "one order cancelled",
                "an order without a quantity among them",
                "a DynamoDB response lost",
                "a crash during the batch",
            },
        ),
        (
            "guidance",
            {
                "one order amended",
                "one order moved to another product",
                "one order cancelled",
                "a DynamoDB response lost",
                "a crash during the batch",
            },
        ),
        (
            "powertools",
            {"an order without a quantity among them", "a DynamoDB response lost", "a crash during the batch"},
        ),
        ("marker", {"an order without a quantity among them"}),
    ],
)
def test_other_contenders_fail_in_known_scenarios(results: Any, contender: str, wrong: set[str]):
    failed = {scenario for scenario, outcome in outcomes(results, contender).items() if outcome != (0, False)}
    assert failed == wrong


@pytest.mark.parametrize(
    ("contender", "kind", "requests", "write_units", "read_units"),
    [
        ("update_item", "new", 1, 1, 0),
        ("update_item", "amended", 0, 0, 0),
        ("update_item", "redelivered", 1, 1, 0),
        ("guidance", "new", 3, 2, 0.5),
        ("guidance", "redelivered", 1, 0, 0.5),
        ("powertools", "new", 3, 3, 0),
        ("powertools", "amended", 3, 3, 0),
        ("powertools", "redelivered", 1, 1, 0),
        ("marker", "new", 1, 4, 0),
        ("marker", "redelivered", 1, 4, 0),
    ],
)
def test_other_contenders_pay_per_record(
    results: Any, contender: str, kind: str, requests: int, write_units: float, read_units: float
):
    row = figures(results, contender, kind, 10, 10)
    assert (row["requests"], row["write_units"], row["read_units"]) == (requests, write_units, read_units)


@pytest.mark.parametrize(
    ("kind", "requests", "write_units", "read_units"),
    [
        # One transaction for 98 orders and two counters, one for the last two orders and the counters.
        ("new", 2, 2 * (98 + 2) + 2 * (2 + 2), 0),
        ("amended", 3, 2 * (98 + 2) + 2 * (2 + 2), 100),
        # The first transaction is rejected but consumes its units; then the last two orders are read.
        ("redelivered", 2, 2 * (98 + 2), 2),
    ],
)
def test_order_totals_shares_transactions_between_orders(
    results: Any, kind: str, requests: int, write_units: int, read_units: int
):
    row = figures(results, "ours", kind, 100, 1)
    totals = [round(row[name] * 100, 6) for name in ("requests", "write_units", "read_units")]
    assert totals == [requests, write_units, read_units]


def test_a_larger_ledger_does_not_change_the_cost_of_a_batch(results: Any):
    with_ledger = {row["kind"]: row for row in results["growth"]}
    for kind in ("new", "amended"):
        without = figures(results, "ours", kind, 10, 10)
        assert with_ledger[kind]["ledger_items"] == 1000
        assert with_ledger[kind]["requests"] == without["requests"]
        assert with_ledger[kind]["write_units"] == without["write_units"]


def test_report_lists_order_totals_from_small_to_large_batches(results: Any):
    listed = [(row["kind"], row["records"], row["products"]) for row in report.our_rows(results)]
    sizes = [(1, 1), (10, 1), (10, 10), (100, 1), (100, 10)]
    assert listed == [(kind, *size) for kind in ("new", "amended", "redelivered") for size in sizes]


def test_report_and_charts_show_every_contender(folder: Path, results: Any):
    written = (folder / "bench.md").read_text(encoding="utf-8")
    assert (folder / "printed.txt").read_text(encoding="utf-8").startswith(written)
    assert list(results["contenders"]) == list(contenders.NAMES)
    descriptions = [contenders.describe(name) for name in contenders.NAMES]
    for title, origin in descriptions:
        assert f"| {title} " in written
        assert f"- **{title}**: {origin}" in written
    for name in ("bench.svg", "bench-growth.svg"):
        assert ElementTree.parse(folder / name).getroot().tag.endswith("svg")
    drawn = (folder / "bench.svg").read_text(encoding="utf-8")
    assert all(title in drawn for title, _ in descriptions)


def test_committed_report_and_charts_match_the_committed_results(tmp_path: Path):
    committed = PROJECT / "docs"
    run("--redraw", "--docs", str(tmp_path))
    assert (tmp_path / "bench.md").read_text("utf-8") == (committed / "bench.md").read_text("utf-8")
    for name in ("bench.svg", "bench-growth.svg"):
        assert texts(tmp_path / name) == texts(committed / name)


def texts(chart: Path) -> list[str]:
    """Return a chart's labels and values, without coordinates, which depend on this machine's fonts."""
    return [text for element in ElementTree.parse(chart).iter() if (text := (element.text or "").strip())]


def test_error_with_unknown_price_is_not_counted_as_free():
    with pytest.raises(ValueError, match="ThrottlingException"):
        consumed("UpdateItem", {}, {"Error": {"Code": "ThrottlingException"}})
