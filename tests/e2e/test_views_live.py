"""A view is added to the app while orders flow, taken out and added again: docs/views.md, step by step."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment
from localcloud.stack import Stack, deploy
from operations import audit, backfill
from tests.streams import item

VIEW = '''

from datetime import datetime  # noqa: E402


@view("WeekdayTable", key=("product", "weekday"))
def weekdays(order: Order) -> tuple[tuple[str, ...], Amounts]:
    """How much of a product is ordered on Mondays, on Tuesdays, and so on, UTC."""
    return (order.product, f"{datetime.fromisoformat(order.placed_at):%A}"), {"total": order.quantity}
'''
# What the project consists of, as far as packaging it goes.
PARTS = [
    *("app.py", "chalicelib", "infrastructure", ".chalice/config.json"),
    *(path.name for path in PROJECT.glob("requirements*")),
]


@pytest.fixture(scope="module")
def build_with_view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app packaged from a copy of the project, in which nothing but chalicelib/views.py is another."""
    copy = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        source, target = PROJECT / part, copy / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    with (copy / "chalicelib" / "views.py").open("a") as views:
        views.write(VIEW)
    command = [sys.executable, "-m", "infrastructure.package", "--stage", "local"]
    packaged = subprocess.run(command, cwd=copy, env=clean_environment(), capture_output=True, text=True)
    assert packaged.returncode == 0, packaged.stderr
    return copy / "build" / "local"


@pytest.fixture
def own_emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def run(command: Callable[[list[str]], int], stack: Stack, *arguments: str) -> int:
    return command(["--stage", "local", "--aws-port", str(stack.emulator.port), *arguments])


class Trade:
    """Orders that are placed and amended, a few each second, as long as this lasts; all on a Monday."""

    def __init__(self, stack: Stack) -> None:
        self.placed = 0
        self._dynamodb = stack.emulator.client("dynamodb")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Trade":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            order_id = f"live-{self.placed}"
            put(self._dynamodb, ordered(order_id, 1, 2))
            put(self._dynamodb, ordered(order_id, 3, 2))
            self.placed += 1


def ordered(order_id: str, quantity: int, day: int) -> dict[str, Any]:
    """An order of a day of November 2026, in which the 2nd is a Monday."""
    return item(order_id, "Notebook", quantity, PlacedAt={"S": f"2026-11-{day:02}T10:00:00Z"})


def put(dynamodb: Any, *orders: dict[str, Any]) -> None:
    for order in orders:
        dynamodb.put_item(TableName="OrdersTable", Item=order)


def by_weekday(dynamodb: Any) -> dict[str, int]:
    there = dynamodb.scan(TableName="WeekdayTable", ConsistentRead=True)["Items"]
    return {each["weekday"]["S"]: int(each["total"]["N"]) for each in there if each["total"]["N"] != "0"}


def test_a_view_is_added_beside_live_orders_taken_out_and_added_again(
    own_emulator: Emulator, build: Path, build_with_view: Path, eventually: Callable[..., Any]
):
    dynamodb = own_emulator.client("dynamodb")
    stack = deploy(own_emulator, build)
    put(dynamodb, *(ordered(f"old-{n}", 1, 3 + n % 2) for n in range(40)))
    put(dynamodb, ordered("cancelled-later", 100, 5))

    def counted() -> int:
        key = {"product": {"S": "Notebook"}}
        there = dynamodb.get_item(TableName="AggregateTable", Key=key, ConsistentRead=True).get("Item")
        return int(there["orderCount"]["N"]) if there else 0

    assert eventually(counted, 41) == 41

    # Added, while orders come and change.
    with Trade(stack) as trade:
        stack = deploy(own_emulator, build_with_view)
        assert "WeekdayTable" in stack.tables
        assert run(backfill.main, stack) == 0
        assert run(audit.main, stack, "--patience", "5") == 0
    assert trade.placed > 10
    assert eventually(counted, 41 + trade.placed) == 41 + trade.placed
    assert run(audit.main, stack) == 0
    expected = {"Monday": 3 * trade.placed, "Tuesday": 20, "Wednesday": 20, "Thursday": 100}
    assert by_weekday(dynamodb) == expected

    # Taken out: this stage's table goes with it, and all else goes on.
    stack = deploy(own_emulator, build)
    assert "WeekdayTable" not in stack.tables
    dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": "cancelled-later"}})
    put(dynamodb, ordered("meanwhile", 7, 6))
    eventually(lambda: "meanwhile" in ledger(dynamodb), True)
    answer = stack.invoke("Audit", {"patienceSeconds": 5})
    assert (answer["verdict"], answer["counters"]["retired"] > 40) == ("clean", True)

    # Added again, with an empty table: the audit finds what it lacks, and mends it.
    stack = deploy(own_emulator, build_with_view)
    assert run(backfill.main, stack) == 0
    assert run(audit.main, stack, "--patience", "5") == 1
    assert run(audit.main, stack, "--patience", "5", "--repair") == 0
    del expected["Thursday"]
    assert by_weekday(dynamodb) == {**expected, "Friday": 7}
    assert run(audit.main, stack) == 0


def ledger(dynamodb: Any) -> set[str]:
    pages = dynamodb.get_paginator("scan").paginate(TableName="LedgerTable", ConsistentRead=True)
    return {entry["OrderID"]["S"] for page in pages for entry in page["Items"]}
