"""Tests that no order is lost or counted twice while the app is redeployed.

They also test how an operator recovers when the orders' stream was replaced (docs/recovery.md).
"""

import itertools
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import CODE, package
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.e2e.http import Api

PRODUCTS = ("Ink", "Pen", "Notebook")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Run an emulator for this file only."""
    with Emulator() as running:
        yield running


class LiveOrders(threading.Thread):
    """A client that constantly places, amends and cancels orders, through the API and in the table."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.orders: dict[str, tuple[str, int]] = {}
        """The orders that exist at the end: product and quantity by order id."""
        self.placed = 0
        self._api = Api(stack.api_url)
        self._dynamodb = stack.emulator.client("dynamodb")
        self._stopped = threading.Event()

    def __enter__(self) -> "LiveOrders":
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        for number in itertools.count(1):
            if self._stopped.is_set():
                return
            order_id, product = f"order-{number}", PRODUCTS[number % len(PRODUCTS)]
            if number % 5:
                self._write(order_id, product, number)
            else:
                self._place(order_id, product, number)
            self.placed = number
            if number % 7 == 0:
                self._write(order_id, PRODUCTS[(number + 1) % len(PRODUCTS)], number + 1)
            if number % 11 == 0:
                self._dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": order_id}})
                del self.orders[order_id]

    def _write(self, order_id: str, product: str, quantity: int) -> None:
        item = {"OrderID": {"S": order_id}, "Product": {"S": product}, "Quantity": {"N": str(quantity)}}
        self._dynamodb.put_item(TableName="OrdersTable", Item=item)
        self.orders[order_id] = (product, quantity)

    def _place(self, order_id: str, product: str, quantity: int) -> None:
        # Send the request with the same id until it succeeds, as a client should.
        order = {"orderId": order_id, "product": product, "quantity": quantity}
        while self._api.post("/orders", order).status not in (200, 201):
            pass
        self.orders[order_id] = (product, quantity)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return the expected totals: quantity and number of orders by product."""
        quantities: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for product, quantity in self.orders.values():
            quantities[product] += quantity
            counts[product] += 1
        return {product: (quantities[product], counts[product]) for product in counts}


def totals(stack: Stack) -> dict[str, tuple[int, int]]:
    items = stack.emulator.client("dynamodb").scan(TableName="AggregateTable")["Items"]
    return {item["product"]["S"]: (int(item["totalQuantity"]["N"]), int(item["orderCount"]["N"])) for item in items}


def counted_entries(stack: Stack, product: str) -> list[Any]:
    """Return the ledger entries of orders that are counted for a product."""
    entries = stack.emulator.client("dynamodb").scan(TableName="LedgerTable")["Items"]
    return [entry for entry in entries if entry["status"]["S"] == "counted" and product in str(entry)]


def make_version(build: Path, folder: Path, number: int) -> Path:
    """Copy the package and change its code, so that it is a new version."""
    shutil.copytree(build, folder)
    with zipfile.ZipFile(folder / CODE, "a") as code:
        code.writestr("chalicelib/version.py", f"VERSION = {number}\n")
    return folder


def test_redeploying_while_orders_arrive_loses_and_doubles_nothing(
    emulator: Emulator, build: Path, tmp_path: Path, eventually: Callable[..., Any]
):
    stack = deploy(emulator, build)
    hashes = [code_hash(stack)]
    placed = [0]
    with LiveOrders(stack) as live:
        for number in (2, 3):
            assert eventually(lambda: live.placed > placed[-1] + 50, True)
            placed.append(live.placed)
            stack = deploy(emulator, make_version(build, tmp_path / str(number), number))
            hashes.append(code_hash(stack))
        assert eventually(lambda: live.placed > placed[-1] + 50, True)
    assert len(set(hashes)) == 3  # Three different versions were deployed.
    expected = live.totals()
    assert eventually(lambda: totals(stack), expected, 30) == expected
    assert stack.invoke("Audit")["verdict"] == "clean"


def code_hash(stack: Stack) -> str:
    configuration = stack.emulator.client("lambda").get_function_configuration(
        FunctionName=stack.functions["Aggregate"]
    )
    code: str = configuration["CodeSha256"]
    return code


def test_changing_the_stream_view_and_an_audit_recover_from_a_replaced_stream(
    emulator: Emulator, build: Path, tmp_path: Path, eventually: Callable[..., Any]
):
    stack = deploy(emulator, build)
    dynamodb = emulator.client("dynamodb")

    def place(order_id: str) -> None:
        item = {"OrderID": {"S": order_id}, "Product": {"S": "Lamp"}, "Quantity": {"N": "1"}}
        dynamodb.put_item(TableName="OrdersTable", Item=item)

    place("before")
    assert eventually(lambda: totals(stack).get("Lamp"), (1, 1)) == (1, 1)
    dynamodb.update_table(TableName="OrdersTable", StreamSpecification={"StreamEnabled": False})
    place("without-stream")
    dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": "before"}})
    view_type = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    dynamodb.update_table(TableName="OrdersTable", StreamSpecification=view_type)
    replaced = dynamodb.describe_table(TableName="OrdersTable")["Table"]["LatestStreamArn"]
    assert (
        deploy(emulator, build).stream_mapping["EventSourceArn"] != replaced
    )  # Without a change in the template, CloudFormation would keep the old stream.

    package("local", tmp_path / "other", stream="NEW_IMAGE")
    stack = deploy(emulator, tmp_path / "other")
    current = dynamodb.describe_table(TableName="OrdersTable")["Table"]["LatestStreamArn"]
    assert stack.stream_mapping["EventSourceArn"] == current
    place("after")
    assert eventually(lambda: totals(stack).get("Lamp"), (2, 2)) == (
        2,
        2,
    )  # A cancelled order still counts, and a new one does not yet.

    def counted_after_an_audit() -> set[str]:
        stack.invoke("Audit", {"repair": True, "gracePeriodSeconds": 3})
        return {entry["OrderID"]["S"] for entry in counted_entries(stack, "Lamp")}

    assert eventually(counted_after_an_audit, {"without-stream", "after"}, 60) == {"without-stream", "after"}
    assert totals(stack)["Lamp"] == (2, 2)
