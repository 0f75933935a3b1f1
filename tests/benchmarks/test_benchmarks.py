"""Tests for `make bench` with small batches: the counts and totals of every contender."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks import bill, contenders, quiet, report, scenarios
from benchmarks.scenarios import Case
from benchmarks.units import Usage, consumed
from tools.capacity import pack

PROJECT = Path(__file__).parents[2]
OTHERS = [name for name in contenders.NAMES if name != "ours"]
WRITTEN = ("benchmarks/results.json", "docs/bench.md", "docs/bench.svg", "docs/bench-growth.svg", "README.md")
CHANGES = {"one amended", "one moved to another product", "one cancelled"}
REDELIVERIES = {"delivered twice", "twice, 11 minutes apart", "again, cut differently"}
FAULTS = {"a response lost", "a crash during the batch"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all files that the command writes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    run = [sys.executable, "-m", "benchmarks", "--smoke", str(folder)]
    process = subprocess.run(run, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    return json.loads((folder / "benchmarks" / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures(results: Any) -> report.Figures:
    return report.Figures(results)


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads((PROJECT / command.RESULTS).read_text(encoding="utf-8"))


# --- Right or wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contender", "wrong"),
    [
        ("ours", set()),
        ("marker", {"one without a quantity"}),
        ("powertools", {"one without a quantity", *FAULTS}),
        # DynamoDB remembers its token for 10 minutes, and a batch that is cut differently has another one.
        ("workshop", {"twice, 11 minutes apart", "again, cut differently", "one without a quantity"}),
        ("guidance", {*CHANGES, *FAULTS}),
        ("add", {*REDELIVERIES, *CHANGES, "one without a quantity", *FAULTS}),
        ("plain", {*REDELIVERIES, *CHANGES, *FAULTS}),
    ],
)
def test_contenders_are_wrong_in_known_scenarios(results: Any, contender: str, wrong: set[str]):
    outcomes = [each for each in results["correctness"] if each["contender"] == contender]
    assert len(outcomes) == 10
    assert {each["scenario"] for each in outcomes if report.is_wrong(each)} == wrong


# --- Cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contender", "kind", "requests", "write_units", "read_units"),
    [
        ("add", "new", 1, 1, 0),
        ("add", "amended", 0, 0, 0),
        ("add", "redelivered", 1, 1, 0),
        ("plain", "amended", 1, 1, 0),
        ("guidance", "new", 3, 2, 0.5),
        ("guidance", "redelivered", 1, 0, 0.5),
        ("powertools", "new", 3, 3, 0),
        ("powertools", "amended", 3, 3, 0),
        ("powertools", "redelivered", 1, 1, 0),
        ("marker", "new", 1, 4, 0),
        ("marker", "redelivered", 1, 4, 0),
    ],
)
def test_contenders_that_share_no_requests_pay_per_record(
    figures: report.Figures, contender: str, kind: scenarios.Kind, requests: int, write_units: float, read_units: float
):
    expected = Usage(requests, write_units, read_units)
    assert figures.usage(figures.busy(contender, kind)) == expected
    assert figures.usage(Case(contender, kind, 1, 1)) == expected


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
    figures: report.Figures, kind: scenarios.Kind, requests: int, write_units: int, read_units: int
):
    usage = figures.usage(Case("ours", kind, 100, 1))
    assert [round(each * 100, 6) for each in usage] == [requests, write_units, read_units]


def test_workshop_pays_for_products_not_for_orders(figures: report.Figures):
    assert figures.usage(Case("workshop", "new", 100, 10)) == Usage(0.01, 0.2, 0)
    # DynamoDB bills a token that it remembers as a read.
    assert figures.usage(Case("workshop", "redelivered", 100, 10)) == Usage(0.01, 0, 0.2)


def test_larger_ledger_does_not_change_the_cost_of_a_batch(figures: report.Figures, results: Any, committed: Any):
    assert {row["kind"] for row in results["growth"]} == {"new", "amended"}
    for row in results["growth"]:
        assert [row[name] for name in Usage._fields] == list(figures.usage(figures.busy("ours", row["kind"])))
    by_kind = [[row for row in committed["growth"] if row["kind"] == kind] for kind in ("new", "amended")]
    for small, large in by_kind:
        assert small["entries"] * 100 == large["entries"]
        assert [small[name] for name in Usage._fields] == [large[name] for name in Usage._fields]


def test_error_with_unknown_price_is_not_counted_as_free():
    with pytest.raises(ValueError, match="ThrottlingException"):
        consumed("UpdateItem", {}, {"Error": {"Code": "ThrottlingException"}})


# --- The bill ------------------------------------------------------------------------------------


def test_bill_uses_the_requests_and_units_that_the_benchmark_counts(figures: report.Figures, committed: Any):
    for name, way in bill.WAYS.items():
        assert figures.lone(name) == Usage(way.requests(1), way.units(1), 0)
    for row in committed["counts"]:
        if row["contender"] == "ours" and row["kind"] == "new":
            packed = pack(row["records"], row["products"])
            assert row["requests"] * row["records"] == pytest.approx(packed.transactions)
            assert row["write_units"] == pytest.approx(packed.units(row["records"]))


# --- The command ---------------------------------------------------------------------------------


def test_report_and_charts_show_every_contender(folder: Path):
    written = (folder / "docs" / "bench.md").read_text(encoding="utf-8")
    drawn = (folder / "docs" / "bench.svg").read_text(encoding="utf-8")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for title, origin in map(contenders.describe, contenders.NAMES):
        assert f"- **{title}**: {origin}" in written
        assert written.count(f"| {title} ") == 3
        assert f"| {title} " in readme
        assert title in drawn
    sections = [written.index(heading) for heading in ("## Right or wrong", "## Cost", "## Speed")]
    assert sections == sorted(sections)


def test_committed_report_charts_and_readme_match_the_committed_results(committed: Any, tmp_path: Path):
    command.write(committed, tmp_path)
    for name in WRITTEN:
        if name.endswith(".svg"):  # The coordinates depend on the fonts of this machine.
            assert texts(tmp_path / name) == texts(PROJECT / name)
        else:
            assert (tmp_path / name).read_text("utf-8") == (PROJECT / name).read_text("utf-8")


FASTER = (
    r"(\d+) to (\d+) times as many orders per second if each request takes 10 ms longer .*? (\d+) times without that"
)


def test_claims_on_the_first_screen_of_the_readme_hold(committed: Any):
    readme = " ".join((PROJECT / "README.md").read_text("utf-8").split())
    figures = report.Figures(committed)
    fewer = 1 / figures.usage(figures.busy("ours")).requests
    (claimed_fewer,) = re.findall(r"sends 1/(\d+) of the requests", readme)
    assert fewer >= int(claimed_fewer)
    (*claimed, without) = map(int, re.search(FASTER, readme).groups())  # type: ignore[union-attr]
    faster = figures.ratios("new", 10, 10)
    assert claimed == [round(min(faster)), round(max(faster))], f"change the README: {faster}"
    assert without <= min(figures.ratios("new", 10, 0))


def texts(chart: Path) -> list[str]:
    """Return the labels and values of a chart."""
    return [text for element in ElementTree.parse(chart).iter() if (text := (element.text or "").strip())]


def test_committed_times_are_those_of_an_idle_machine(committed: Any):
    assert [quiet.Load(**run["load"]).too_busy for run in committed["runs"]] == [""] * len(committed["runs"])


IDLE = quiet.Load(others=0.01, stolen=0.0)
BUSY = quiet.Load(others=0.2, stolen=0.0)
STOLEN = quiet.Load(others=0.0, stolen=0.05)


@pytest.mark.parametrize(
    ("option", "before", "during", "status", "measured", "written"),
    [
        ([], IDLE, IDLE, 0, True, True),
        ([], BUSY, IDLE, 1, False, False),
        ([], STOLEN, IDLE, 1, False, False),
        ([], IDLE, BUSY, 1, True, False),
        (["--force"], BUSY, BUSY, 0, True, False),
    ],
)
def test_results_of_a_busy_machine_are_not_written(
    results: Any,
    option: list[str],
    before: quiet.Load,
    during: quiet.Load,
    status: int,
    measured: bool,
    written: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    calls = []

    def run(_sizes: scenarios.Sizes, runs: int) -> Any:
        calls.append(runs)
        return {**results, "runs": [{**results["runs"][0], "load": during._asdict()}]}

    (tmp_path / "README.md").write_text((PROJECT / "README.md").read_text("utf-8"), encoding="utf-8")
    monkeypatch.setattr(quiet, "probe", lambda: before)
    monkeypatch.setattr(command, "PROJECT", tmp_path)
    assert command.main(option, run) == status
    assert calls == [3] * measured
    assert (tmp_path / "docs" / "bench.md").exists() is written
    output = capsys.readouterr()
    assert ("# What an order costs" in output.out) is measured
    assert ("Nothing is written." in output.err) is (status == 1)


def test_load_of_others_is_what_this_process_and_its_children_did_not_use():
    before = quiet.Sample(total=100, busy=50, stolen=1, own=20)
    after = quiet.Sample(total=300, busy=170, stolen=5, own=120)
    assert quiet.between(before, after) == quiet.Load(others=0.1, stolen=0.02)
    assert quiet.machine_seconds("cpu  100 200 300 4000 50 60 70 80 0 0\ncpu0 1") == tuple(
        each / quiet.TICKS_PER_SECOND for each in (4860, 600, 80)
    )


def test_cpu_time_of_ended_children_is_own_time():
    before = quiet.own_seconds()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert quiet.own_seconds() - before >= 0.25


def test_range_of_one_number_is_that_number():
    assert report.span([1.2, 1.4]) == "1"
    assert report.span([1.2, 1.6, 1.4]) == "1–2"
    assert report.span([1000.26, 1000.31], 1) == "1,000.3"
    assert report.span([]) == "?"


def test_goal_is_met_only_if_every_run_meets_it():
    assert report.Goal("at least 8", [8.0, 9.0], 8).verdict == "met"
    assert report.Goal("at least 8", [7.9, 9.0], 8).verdict == "**missed**"
    assert report.Goal("at most 8", [8.1, 7.0], 8, at_least=False).verdict == "**missed**"
    assert report.Goal("at least 8", [], 8).verdict == "not measured"
