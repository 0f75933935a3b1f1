"""Tests for the commands `make provision` and `chalice deploy`, run against the emulator."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib import tables
from infrastructure.local_stage import root_environment
from infrastructure.provision import provision
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment
from tests.e2e.http import Api
from tests.permissions import NEEDED_BY, PLATFORM
from tests.projects import copy_project

STAGE = "dev"
PREFIX = f"order-totals-{STAGE}"
Eventually = Callable[..., Any]


class Checkout:
    """A copy of the project that is deployed to its own emulator."""

    def __init__(self, project: Path, emulator: Emulator) -> None:
        self.project = project
        self.client = emulator.client
        self._emulator = emulator

    def provision(self) -> list[str]:
        """Do the same as `make provision STAGE=dev`, and return the lines that it prints."""
        printed: list[str] = []
        provision(STAGE, self.client("dynamodb"), self.client("lambda"), self.project, printed.append)
        return printed

    def chalice(self, *arguments: str) -> str:
        """Run a `chalice` command and return its output."""
        done = subprocess.run(
            # -P keeps the folder tests/ out of Chalice's import path.
            [sys.executable, "-P", str(PROJECT / "tests" / "chalice_cli.py"), *arguments, "--stage", STAGE],
            cwd=self.project,
            env={
                **clean_environment(),
                **root_environment(self._emulator.endpoint_url),
                "PYTHONPATH": str(PROJECT),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployed(self, name: str) -> Any:
        """Return Chalice's description of a deployed resource."""
        record = json.loads((self.project / ".chalice" / "deployed" / f"{STAGE}.json").read_text())
        (found,) = [each for each in record["resources"] if each["name"] == name]
        return found

    @property
    def api(self) -> Api:
        api_id = self.deployed("rest_api")["rest_api_id"]
        return Api(f"{self._emulator.endpoint_url}/_aws/execute-api/{api_id}/api")

    def total(self, product: str) -> Any:
        response = self.api.get(f"/totals/{product}")
        body = response.json
        return (body["totalQuantity"], body["orderCount"]) if response.status == 200 else response.status

    def functions(self) -> set[str]:
        listed = self.client("lambda").list_functions()["Functions"]
        return {function["FunctionName"] for function in listed}

    def granted(self) -> list[str]:
        """Return all actions that Chalice's policy grants to the functions' role."""
        iam = self.client("iam")
        documents = [
            iam.get_role_policy(RoleName=PREFIX, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=PREFIX)["PolicyNames"]
        ]
        return [action for document in documents for each in document["Statement"] for action in each["Action"]]

    def mappings(self) -> list[str]:
        """Return the ARNs of the streams that the functions read."""
        return [
            each["EventSourceArn"] for each in self.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        ]

    def stream(self) -> str:
        described = self.client("dynamodb").describe_table(TableName=tables.ORDERS)["Table"]
        arn: str = described["LatestStreamArn"]
        return arn

    def set_stream_enabled(self, on: bool) -> None:
        view_type = {"StreamViewType": "NEW_AND_OLD_IMAGES"} if on else {}
        self.client("dynamodb").update_table(
            TableName=tables.ORDERS, StreamSpecification={"StreamEnabled": on, **view_type}
        )

    def put_order(self, order_id: str, product: str, quantity: int) -> None:
        item = {"OrderID": {"S": order_id}, "Product": {"S": product}, "Quantity": {"N": str(quantity)}}
        self.client("dynamodb").put_item(TableName=tables.ORDERS, Item=item)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    with Emulator() as emulator:
        yield Checkout(copy_project(tmp_path / "project"), emulator)


def test_stage_is_deployed_redeployed_moved_to_a_new_stream_and_deleted(checkout: Checkout, eventually: Eventually):
    # Deploy.
    checkout.provision()
    checkout.chalice("deploy")
    names = {f"{PREFIX}-{name}" for name in ("aggregate", "backfill", "audit", "daily_audit", "refresh_top_lists")} | {
        PREFIX
    }
    assert checkout.functions() == names
    used = {f"dynamodb:{action}" for by_table in NEEDED_BY.values() for each in by_table.values() for action in each}
    others = {each for each in PLATFORM if not each.startswith("s3:")} | {"logs:CreateLogGroup"}
    assert sorted(checkout.granted()) == sorted(used | others)
    assert checkout.mappings() == [checkout.stream()]
    assert checkout.api.post("/orders", {"product": "Notebook", "quantity": 5}).status == 201
    assert eventually(lambda: checkout.total("Notebook"), (5, 1)) == (5, 1)

    # Deploy again without a change: counting continues, and nothing is counted twice.
    api_id = checkout.deployed("rest_api")["rest_api_id"]
    assert checkout.provision() == []
    checkout.chalice("deploy")
    assert checkout.deployed("rest_api")["rest_api_id"] == api_id
    assert checkout.functions() == names
    assert checkout.mappings() == [checkout.stream()]
    checkout.api.post("/orders", {"product": "Notebook", "quantity": 2})
    assert eventually(lambda: checkout.total("Notebook"), (7, 2)) == (7, 2)

    # Replace the stream. A backfill counts the order from the time without a stream; the new stream delivers the other.
    old = checkout.stream()
    checkout.set_stream_enabled(on=False)
    checkout.put_order("without-stream", "Notebook", 10)
    checkout.set_stream_enabled(on=True)
    checkout.put_order("early", "Notebook", 20)
    assert checkout.stream() != old
    printed = checkout.provision()
    assert any(old in line and "deleted the mapping" in line for line in printed)
    assert checkout.mappings() == []
    checkout.chalice("deploy")
    assert checkout.mappings() == [checkout.stream()]
    assert eventually(lambda: checkout.total("Notebook"), (27, 3)) == (27, 3)
    assert json.loads(checkout.chalice("invoke", "-n", "backfill"))["done"] is True
    assert checkout.total("Notebook") == (37, 4)

    # Delete everything except the tables.
    checkout.chalice("delete")
    assert (checkout.functions(), checkout.mappings()) == (set(), [])
    with pytest.raises(ClientError, match="NoSuchEntity"):
        checkout.client("iam").get_role(RoleName=PREFIX)
    assert checkout.client("events").list_rules()["Rules"] == []
    assert checkout.client("apigateway").get_rest_apis()["items"] == []
    assert set(checkout.client("dynamodb").list_tables()["TableNames"]) == set(tables.KEYS)
    (total,) = checkout.client("dynamodb").scan(TableName=tables.TOTALS)["Items"]
    assert (total["totalQuantity"], total["orderCount"]) == ({"N": "37"}, {"N": "4"})
