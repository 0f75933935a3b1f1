"""The restore drill of docs/recovery.md: all tables are lost, and OrdersTable is restored from a backup.

When a table with point-in-time recovery is deleted, DynamoDB itself makes a backup. The emulator does not, so the test
makes it. A restored table has no stream, there as on AWS.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from infrastructure.package import package
from infrastructure.provision import provision
from localcloud.emulator import Emulator
from localcloud.stack import deploy
from operations import audit, backfill
from tests.e2e.http import Api
from tests.e2e.test_jobs import put, remove, run_job, total
from tests.projects import copy_project
from tests.streams import item

PRODUCTS = ("Pen", "Ink", "Cap")


def test_orders_restored_after_the_loss_of_all_tables_give_the_totals_of_the_backup(
    build: Path, tmp_path: Path, eventually: Callable[..., Any]
):
    with Emulator() as emulator:
        stack, dynamodb = deploy(emulator, build), emulator.client("dynamodb")
        put(stack, *(item(f"o{n}", PRODUCTS[n % 3], n) for n in range(1, 31)), item("o1", "Cap", 100))
        remove(stack, "o2")
        expected = {"Pen": (165, 10), "Ink": (144, 9), "Cap": (253, 10)}

        def totals() -> dict[str, tuple[int, int]]:
            return {product: total(stack, product) for product in PRODUCTS}

        assert eventually(totals, expected) == expected
        backup = dynamodb.create_backup(TableName="OrdersTable", BackupName="orders")["BackupDetails"]["BackupArn"]
        put(stack, item("too-late", "Pen", 1))
        for table in stack.tables.values():
            dynamodb.delete_table(TableName=table)

        dynamodb.restore_table_from_backup(TargetTableName="OrdersTable", BackupArn=backup)
        done: list[str] = []
        project = copy_project(tmp_path / "project")
        provision("local", dynamodb, emulator.client("lambda"), project, done.append)
        assert {"OrdersTable: enabled the stream", "LedgerTable: created", "AggregateTable: created"} <= {*done}
        package("local", tmp_path / "other", stream="NEW_IMAGE")
        stack = deploy(emulator, tmp_path / "other")
        current = dynamodb.describe_table(TableName="OrdersTable")["Table"]["LatestStreamArn"]
        assert stack.stream_mapping["EventSourceArn"] == current

        assert run_job(backfill.main, stack) == 0
        assert totals() == expected
        assert run_job(audit.main, stack) == 0
        assert all(view["complete"] for view in Api(stack.api_url).get("/views").json["views"])
        put(stack, item("next", "Pen", 5))
        assert eventually(lambda: total(stack, "Pen"), (170, 11)) == (170, 11)
