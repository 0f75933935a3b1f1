"""`make bench` in small: every way runs, the counts are right, and ours is right in every story."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import report, ways
from bench.wire import units

PROJECT = Path(__file__).parents[2]
OTHERS = [name for name in ways.NAMES if name != "ours"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command has written."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "bench", "--quick", "--results", f"{folder}/results.json", "--docs", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def shown(results: Any, way: str) -> dict[str, tuple[int, bool]]:
    """By story: how far from the truth a way's total is, and whether it is stuck."""
    return {
        each["story"]: (each["total"] - each["truth"], each["stuck"])
        for each in results["correctness"]
        if each["way"] == way
    }


def figures(results: Any, way: str, kind: str, records: int, products: int) -> Any:
    wanted = {"way": way, "kind": kind, "records": records, "products": products}
    (row,) = [row for row in results["batches"] if wanted.items() <= row.items()]
    return row


def test_ours_is_right_in_every_story(results: Any):
    told = shown(results, "ours")
    assert len(told) == 8
    assert set(told.values()) == {(0, False)}


@pytest.mark.parametrize("way", OTHERS)
def test_every_way_counts_new_orders(results: Any, way: str):
    assert shown(results, way)["new orders"] == (0, False)


@pytest.mark.parametrize(
    ("way", "wrong"),
    [
        (
            "update_item",
            {
                "their batch delivered twice",
                "one of them amended",
                "one moved to another product",
                "one cancelled",
                "one without a quantity among them",
                "an answer of DynamoDB lost",
                "a crash in the midst",
            },
        ),
        (
            "guidance",
            {
                "one of them amended",
                "one moved to another product",
                "one cancelled",
                "an answer of DynamoDB lost",
                "a crash in the midst",
            },
        ),
        (
            "powertools",
            {"one without a quantity among them", "an answer of DynamoDB lost", "a crash in the midst"},
        ),
        ("marker", {"one without a quantity among them"}),
    ],
)
def test_the_other_ways_go_wrong_where_the_table_says(results: Any, way: str, wrong: set[str]):
    assert {story for story, told in shown(results, way).items() if told != (0, False)} == wrong


@pytest.mark.parametrize(
    ("way", "kind", "requests", "write_units", "read_units"),
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
def test_the_other_ways_pay_for_each_record(
    results: Any, way: str, kind: str, requests: int, write_units: float, read_units: float
):
    row = figures(results, way, kind, 10, 10)
    assert (row["requests"], row["write_units"], row["read_units"]) == (requests, write_units, read_units)


@pytest.mark.parametrize(
    ("kind", "requests", "write_units", "read_units"),
    [
        # 98 orders and two counters in one transaction, and two and the counters in the next.
        ("new", 2, 2 * (98 + 2) + 2 * (2 + 2), 0),
        ("amended", 3, 2 * (98 + 2) + 2 * (2 + 2), 100),
        # The first is refused and costs all the same; the two that are left are read.
        ("redelivered", 2, 2 * (98 + 2), 2),
    ],
)
def test_ours_pays_for_a_hundred_orders_at_once(
    results: Any, kind: str, requests: int, write_units: int, read_units: int
):
    row = figures(results, "ours", kind, 100, 1)
    totals = [round(row[name] * 100, 6) for name in ("requests", "write_units", "read_units")]
    assert totals == [requests, write_units, read_units]


def test_a_batch_costs_the_same_beside_a_larger_ledger(results: Any):
    beside = {row["kind"]: row for row in results["growth"]}
    for kind in ("new", "amended"):
        alone = figures(results, "ours", kind, 10, 10)
        assert beside[kind]["ledger_items"] == 1000
        assert beside[kind]["requests"] == alone["requests"]
        assert beside[kind]["write_units"] == alone["write_units"]


def test_ours_is_listed_from_the_smallest_batch_to_the_largest(results: Any):
    listed = [(row["kind"], row["records"], row["products"]) for row in report.of_ours(results)]
    sizes = [(1, 1), (10, 1), (10, 10), (100, 1), (100, 10)]
    assert listed == [(kind, *size) for kind in ("new", "amended", "redelivered") for size in sizes]


def test_what_is_written_shows_every_way(folder: Path, results: Any):
    written = (folder / "bench.md").read_text(encoding="utf-8")
    assert (folder / "printed.txt").read_text(encoding="utf-8").startswith(written)
    for way in results["ways"].values():
        assert f"| {way['title']} " in written
        assert f"- **{way['title']}**: {way['origin']}" in written
    for name in ("bench.svg", "bench-growth.svg"):
        assert ElementTree.parse(folder / name).getroot().tag.endswith("svg")
    drawn = (folder / "bench.svg").read_text(encoding="utf-8")
    assert all(way["title"] in drawn for way in results["ways"].values())


def test_a_refusal_of_which_nothing_is_known_is_no_free_one():
    with pytest.raises(ValueError, match="ThrottlingException"):
        units("UpdateItem", {}, {"Error": {"Code": "ThrottlingException"}})
