"""Tests that a view can be added, removed and added again while orders arrive, with the steps of docs/adapt.md."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.emulator import Emulator
from localcloud.servers import clean_environment
from localcloud.stack import Stack, deploy
from operations import audit, backfill
from tests.projects import add_view, copy_source, view_example
from tests.streams import item


@pytest.fixture(scope="module")
def build_with_view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Package a copy of the project to which the README's view was added."""
    copy = copy_source(tmp_path_factory.mktemp("copy"))
    add_view(copy, view_example("README.md"))
    command = [sys.executable, "-m", "infrastructure.package", "--stage", "local"]
    packaged = subprocess.run(command, cwd=copy, env=clean_environment(), capture_output=True, text=True)
    assert packaged.returncode == 0, packaged.stderr
    return copy / "build" / "local"


@pytest.fixture
def own_emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def run_job(command: Callable[[list[str]], int], stack: Stack, *arguments: str) -> int:
    return command(["--stage", "local", "--aws-port", str(stack.emulator.port), *arguments])


class LiveOrders:
    """Place and amend several orders per second during the block. All orders have a time in February."""

    def __init__(self, stack: Stack) -> None:
        self.placed = 0
        self._dynamodb = stack.emulator.client("dynamodb")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "LiveOrders":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            order_id = f"live-{self.placed}"
            put(self._dynamodb, order_item(order_id, 1, 2))
            put(self._dynamodb, order_item(order_id, 3, 2))
            self.placed += 1


def order_item(order_id: str, quantity: int, month: int) -> dict[str, Any]:
    """Return the item of an order that was placed in a month of 2026."""
    return item(order_id, "Notebook", quantity, PlacedAt={"S": f"2026-{month:02}-10T10:00:00Z"})


def put(dynamodb: Any, *orders: dict[str, Any]) -> None:
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)


def totals_by_month(dynamodb: Any) -> dict[str, int]:
    counters = dynamodb.scan(TableName="MonthTable", ConsistentRead=True)["Items"]
    return {each["month"]["S"]: int(each["total"]["N"]) for each in counters if each["total"]["N"] != "0"}


def test_view_is_added_removed_and_added_again_beside_live_orders(
    own_emulator: Emulator, build: Path, build_with_view: Path, eventually: Callable[..., Any]
):
    dynamodb = own_emulator.client("dynamodb")
    stack = deploy(own_emulator, build)
    put(dynamodb, *(order_item(f"old-{n}", 1, 3 + n % 2) for n in range(40)))
    put(dynamodb, order_item("cancelled-later", 100, 5))

    def order_count() -> int:
        key = {"product": {"S": "Notebook"}}
        total = dynamodb.get_item(TableName="AggregateTable", Key=key, ConsistentRead=True).get("Item")
        return int(total["orderCount"]["N"]) if total else 0

    assert eventually(order_count, 41) == 41

    # Add the view while orders arrive and change.
    with LiveOrders(stack) as live:
        stack = deploy(own_emulator, build_with_view)
        assert "MonthTable" in stack.tables
        assert run_job(backfill.main, stack) == 0
        assert run_job(audit.main, stack, "--grace-period", "5") in (
            0,
            3,
        )  # Clean, or unproven because counters keep changing.
    assert live.placed > 10
    assert eventually(order_count, 41 + live.placed) == 41 + live.placed
    assert run_job(audit.main, stack) == 0
    expected = {"2026-02": 3 * live.placed, "2026-03": 20, "2026-04": 20, "2026-05": 100}
    assert totals_by_month(dynamodb) == expected

    # Remove the view. In this stage, that deletes its table. Everything else keeps working.
    stack = deploy(own_emulator, build)
    assert "MonthTable" not in stack.tables
    dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": "cancelled-later"}})
    put(dynamodb, order_item("meanwhile", 7, 6))
    eventually(lambda: "meanwhile" in entry_ids(dynamodb), True)
    assert stack.invoke("Audit", {"gracePeriodSeconds": 5})["verdict"] == "clean"

    # Add the view again, with an empty table. The audit finds and repairs the missing counters.
    stack = deploy(own_emulator, build_with_view)
    assert run_job(backfill.main, stack) == 0
    assert run_job(audit.main, stack, "--grace-period", "5") == 1
    assert run_job(audit.main, stack, "--grace-period", "5", "--repair") == 0
    del expected["2026-05"]
    assert totals_by_month(dynamodb) == {**expected, "2026-06": 7}
    assert run_job(audit.main, stack) == 0


def entry_ids(dynamodb: Any) -> set[str]:
    pages = dynamodb.get_paginator("scan").paginate(TableName="LedgerTable", ConsistentRead=True)
    return {entry["OrderID"]["S"] for page in pages for entry in page["Items"]}
