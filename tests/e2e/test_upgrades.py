"""Deploying over what is running, while orders flow: nothing is lost and nothing counted twice.

Also what an operator does when the orders' stream was replaced (docs/operations.md).
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
def cloud() -> Iterator[Emulator]:
    """An emulator on which nothing else is tried."""
    with Emulator() as running:
        yield running


class Load(threading.Thread):
    """Somebody who places, amends and cancels orders without a pause, over the API and in the table."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.orders: dict[str, tuple[str, int]] = {}
        """What there is in the end: product and quantity, by order."""
        self.placed = 0
        self._api = Api(stack.api_url)
        self._dynamodb = stack.emulator.client("dynamodb")
        self._over = threading.Event()

    def __enter__(self) -> "Load":
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        for number in itertools.count(1):
            if self._over.is_set():
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
        # As clients do: again, with the same id, until it is answered.
        order = {"orderId": order_id, "product": product, "quantity": quantity}
        while self._api.post("/orders", order).status not in (200, 201):
            pass
        self.orders[order_id] = (product, quantity)

    def totals(self) -> dict[str, tuple[int, int]]:
        """What the totals are to be."""
        quantities: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for product, quantity in self.orders.values():
            quantities[product] += quantity
            counts[product] += 1
        return {product: (quantities[product], counts[product]) for product in counts}


def totals(stack: Stack) -> dict[str, tuple[int, int]]:
    items = stack.emulator.client("dynamodb").scan(TableName="AggregateTable")["Items"]
    return {item["product"]["S"]: (int(item["totalQuantity"]["N"]), int(item["orderCount"]["N"])) for item in items}


def counted(stack: Stack, product: str) -> list[Any]:
    """The ledger's entries of the orders that count for a product."""
    entries = stack.emulator.client("dynamodb").scan(TableName="LedgerTable")["Items"]
    return [entry for entry in entries if entry["status"]["S"] == "counted" and product in str(entry)]


def version(build: Path, folder: Path, number: int) -> Path:
    """The package as another version has it: with other code in it."""
    shutil.copytree(build, folder)
    with zipfile.ZipFile(folder / CODE, "a") as code:
        code.writestr("chalicelib/version.py", f"VERSION = {number}\n")
    return folder


def test_deploying_twice_while_orders_flow_loses_and_doubles_nothing(
    cloud: Emulator, build: Path, tmp_path: Path, eventually: Callable[..., Any]
):
    stack = deploy(cloud, build)
    code = [code_of(stack)]
    placed = [0]
    with Load(stack) as load:
        for number in (2, 3):
            assert eventually(lambda: load.placed > placed[-1] + 50, True)
            placed.append(load.placed)
            stack = deploy(cloud, version(build, tmp_path / str(number), number))
            code.append(code_of(stack))
        assert eventually(lambda: load.placed > placed[-1] + 50, True)
    assert len(set(code)) == 3  # There have been three versions.
    expected = load.totals()
    assert eventually(lambda: totals(stack), expected, 30) == expected
    assert stack.invoke("Audit")["verdict"] == "clean"


def code_of(stack: Stack) -> str:
    configuration = stack.emulator.client("lambda").get_function_configuration(
        FunctionName=stack.functions["Aggregate"]
    )
    code: str = configuration["CodeSha256"]
    return code


def test_after_a_stream_was_replaced_another_kind_of_it_and_an_audit_bring_all_orders_back(
    cloud: Emulator, build: Path, tmp_path: Path, eventually: Callable[..., Any]
):
    stack = deploy(cloud, build)
    dynamodb = cloud.client("dynamodb")

    def place(order_id: str) -> None:
        item = {"OrderID": {"S": order_id}, "Product": {"S": "Lamp"}, "Quantity": {"N": "1"}}
        dynamodb.put_item(TableName="OrdersTable", Item=item)

    place("before")
    assert eventually(lambda: totals(stack).get("Lamp"), (1, 1)) == (1, 1)
    dynamodb.update_table(TableName="OrdersTable", StreamSpecification={"StreamEnabled": False})
    place("unheard")
    dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": "before"}})
    view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    dynamodb.update_table(TableName="OrdersTable", StreamSpecification=view)
    replaced = dynamodb.describe_table(TableName="OrdersTable")["Table"]["LatestStreamArn"]
    assert deploy(cloud, build).stream_mapping["EventSourceArn"] != replaced  # The same template does not see it.

    package("local", tmp_path / "other", stream="NEW_IMAGE")
    stack = deploy(cloud, tmp_path / "other")
    current = dynamodb.describe_table(TableName="OrdersTable")["Table"]["LatestStreamArn"]
    assert stack.stream_mapping["EventSourceArn"] == current
    place("after")
    assert eventually(lambda: totals(stack).get("Lamp"), (2, 2)) == (2, 2)  # One too many, and one too few.

    def counted_after_an_audit() -> set[str]:
        stack.invoke("Audit", {"repair": True, "gracePeriodSeconds": 3})
        return {entry["OrderID"]["S"] for entry in counted(stack, "Lamp")}

    assert eventually(counted_after_an_audit, {"unheard", "after"}, 60) == {"unheard", "after"}
    assert totals(stack)["Lamp"] == (2, 2)
