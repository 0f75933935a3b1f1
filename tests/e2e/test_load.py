"""Tests for `make load`: a short run confirms correct totals and detects wrong ones."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from benchmarks.load import Order, expected_counters, look_up, stored_counters
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.streams import item


@pytest.fixture(scope="module")
def stack(build: Path, eventually: Callable[..., Any]) -> Iterator[Stack]:
    """Deploy the app for this file only, and start its functions, so that the load can kill their processes."""
    with Emulator() as emulator:
        stack = deploy(emulator, build)
        assert look_up(stack, "nothing") is None
        invalid = item("not-valid", "Pen", 0)
        emulator.client("dynamodb").put_item(TableName=stack.tables["OrdersTable"], Item=invalid)

        def has_entry() -> bool:
            key = {"OrderID": invalid["OrderID"]}
            return "Item" in emulator.client("dynamodb").get_item(TableName=stack.tables["LedgerTable"], Key=key)

        assert eventually(has_entry, True) is True
        yield stack


@pytest.fixture(scope="module")
def result(stack: Stack) -> load.Result:
    """Run the load for three seconds and kill functions during it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "KILL_EVERY_SECONDS", (0.3, 1.0))
        return load.Load(stack, clients=2, kill=True, show_progress=print).run(seconds=3)


def test_totals_are_right_although_functions_are_killed(result: load.Result):
    assert result.errors == []
    assert result.killed
    assert result.counters > 0
    assert load.report(result).endswith("Every counter equals the accepted orders.")


@pytest.mark.parametrize(
    ("table", "key", "attribute"),
    [
        ("AggregateTable", {"product": "Product 0"}, "totalQuantity"),
        ("AggregateTable", {"product": "Product 0"}, "orderCount"),
        ("AggregateTable", {"product": "Never ordered"}, "totalQuantity"),
        ("TrendTable", {"product": "Product 0", "day": "2026-11-23"}, "h07"),
    ],
)
def test_counter_that_is_one_too_high_is_found(
    result: load.Result, stack: Stack, table: str, key: dict[str, str], attribute: str
):
    before = stored_counters(stack)
    change = {
        "TableName": stack.tables[table],
        "Key": {name: {"S": value} for name, value in key.items()},
        "UpdateExpression": "ADD #attribute :by",
        "ExpressionAttributeNames": {"#attribute": attribute},
    }
    dynamodb = stack.emulator.client("dynamodb")
    dynamodb.update_item(**change, ExpressionAttributeValues={":by": {"N": "1"}})
    (found,) = load.differences(before, stored_counters(stack))
    counter = (table, *key.values(), attribute)
    assert found == f"{' / '.join(counter)} is {before.get(counter, 0) + 1}, expected {before.get(counter, 0)}"
    dynamodb.update_item(**change, ExpressionAttributeValues={":by": {"N": "-1"}})
    assert load.differences(before, stored_counters(stack)) == []


def test_expected_counters_are_calculated_from_the_orders():
    orders = [
        Order("Pen", 2, "2026-11-22T23:59:59+00:00"),
        Order("Pen", 3, "2026-11-23T00:00:00.250Z"),
        Order("Ink", 4, "2026-11-23T00:00:00Z"),
    ]
    assert expected_counters(orders) == {
        ("AggregateTable", "Pen", "totalQuantity"): 5,
        ("AggregateTable", "Pen", "orderCount"): 2,
        ("AggregateTable", "Ink", "totalQuantity"): 4,
        ("AggregateTable", "Ink", "orderCount"): 1,
        ("TrendTable", "Pen", "2026-11-22", "total"): 2,
        ("TrendTable", "Pen", "2026-11-22", "h23"): 2,
        ("TrendTable", "Pen", "2026-11-23", "total"): 3,
        ("TrendTable", "Pen", "2026-11-23", "h00"): 3,
        ("TrendTable", "Ink", "2026-11-23", "total"): 4,
        ("TrendTable", "Ink", "2026-11-23", "h00"): 4,
    }


@pytest.mark.parametrize(("wrong", "status"), [([], 0), (["Pen is 2, expected 1"], 1)])
def test_exit_status_depends_on_wrong_totals(
    result: load.Result,
    wrong: list[str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    class FakeLoad:
        def __init__(self, *_: object) -> None: ...

        def run(self, seconds: float) -> load.Result:
            return result._replace(errors=wrong)

    for name in ("Emulator", "package", "deploy"):
        monkeypatch.setattr(load, name, lambda *_: nullcontext())
    monkeypatch.setattr(load, "Load", FakeLoad)
    assert load.main(["--clients", "1", "--seconds", "1"]) == status
    printed = capsys.readouterr().out
    assert all(text in printed for text in wrong)
