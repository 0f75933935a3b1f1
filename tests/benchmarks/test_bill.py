"""`make cost`: the bill and how it grows. test_benchmarks.py compares its requests and units with counted ones."""

import pytest

from benchmarks import bill
from benchmarks.bill import WAYS, Workload
from tools.capacity import pack

LEDGERS = {"growth": [{"kind": "new", "entries": 1_000, "write_units": 2.08}]}
MILLION = Workload(orders_per_second=1_000_000 / bill.MONTH_SECONDS, products=1, views=1)


def test_each_line_is_its_arithmetic():
    made = bill.bill(Workload(orders_per_second=100, products=10, views=2, viewers=3, api=True))
    millions = 100 * bill.MONTH_SECONDS / 1e6
    assert made.lines["order writes"].dollars == pytest.approx(millions * 0.625)
    assert made.lines["API Gateway"].dollars == pytest.approx(millions * 3.5)
    assert made.lines["stream reads"].dollars == 0
    assert made.lines["audits"].dollars == pytest.approx(30 * millions * 1.21 * 0.125, rel=0.1)
    assert made.total == pytest.approx(sum(line.dollars for line in made.lines.values()))


def test_lone_orders_cost_two_units_for_the_entry_and_for_each_view():
    for views in (1, 2, 3):
        assert bill.bill(MILLION._replace(views=views)).units == 2 + 2 * views


@pytest.mark.parametrize(("name", "units"), [("add", 1), ("marker", 4), ("powertools", 3)])
def test_million_orders_cost_others_their_units(name: str, units: int):
    line = bill.bill(MILLION, WAYS[name]).lines["counting"]
    assert line.dollars == pytest.approx(units * 0.625)


def test_arm64_and_a_longer_window_save_money():
    load = Workload(100, 10)
    changes = bill.alternatives(load)
    totals = {change: bill.bill(changed).total for change, changed in changes.items()}
    now = bill.bill(load).total
    assert totals["BatchingWindowSeconds=5"] < now < totals["BatchingWindowSeconds=0"]
    assert now < totals["lambda_architecture=x86_64"]
    assert totals["one view fewer"] < now < totals["one view more"]


def test_counting_costs_the_same_with_any_ledger_and_any_number_of_viewers():
    load = Workload(100, 10)
    assert len({bill.bill(load._replace(viewers=viewers)).lines["counting"].dollars for viewers in (0, 1, 100)}) == 1


def test_large_batches_make_products_views_and_shards_cheap():
    lone = pack(1, 1).units(1)
    assert lone == 6
    assert pack(1_000, 1).units(1_000) == pytest.approx(2.044)
    # Ten products cost as little as one; only as many products as orders cost as much as lone orders.
    assert pack(1_000, 10).units(1_000) <= 1.05 * pack(1_000, 1).units(1_000)
    assert pack(1_000, 1_000).units(1_000) == lone
    # Eight views cost a lone order 18 units.
    assert pack(1, 1, views=8).units(1) == 18
    assert pack(1_000, 10, views=8).units(1_000) < 2.5
    # Shards divide the orders of a window.
    assert bill.growth(LEDGERS)["shards, 100 orders/s"][64] > bill.growth(LEDGERS)["shards, 100 orders/s"][4]


def test_output_has_all_bills_the_largest_lines_and_the_sources(capsys: pytest.CaptureFixture[str]):
    assert bill.main(["--orders-per-second", "100", "--products", "10", "--viewers", "2", "--api"]) == 0
    printed = capsys.readouterr().out
    for title in (bill.OURS, *(way.title for way in WAYS.values())):
        assert title in printed
    assert all(price.source in printed for price in bill.PRICES.values())
    assert "Most of it: audits, then API Gateway." in printed


@pytest.mark.parametrize("wrong", [["--orders-per-second", "0"], ["--views", "0"], ["--viewers", "-1"]])
def test_impossible_workload_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        bill.main(wrong)
    assert "must be above 0" in capsys.readouterr().err
