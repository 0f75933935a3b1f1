"""The models of examples/ in `make local`: place, amend, cancel, read every view, backfill, audit, dashboard."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from infrastructure.local_stage import HOST, root_access
from infrastructure.package import PROJECT
from tests.e2e.test_localcloud import MakeLocal, make_local
from tests.other_model import copy_with_model

DAY = "2026-11-02"
MOMENT = f"{DAY}T10:15:00Z"
COUNTS = ("payments", "refunds", "views")
Rows = dict[str, list[dict[str, Any]]]
"""The rows of each view."""


class Journey(NamedTuple):
    """What happens with an example's model, and what its views show of it."""

    placed: list[dict[str, Any]]  # Orders 1, 2, … of the API.
    placed_rows: Rows
    amended: dict[str, Any]  # The new content of order 1. Order 2 is cancelled.
    changed_rows: Rows
    item: dict[str, Any]  # An order that another program writes while the stream is off.
    backfilled_rows: Rows
    field: str  # A field in the dashboard's form.


def payment(amount: str, status: str = "paid") -> dict[str, Any]:
    return {"merchant": "Book Corner", "amount": amount, "currency": "EUR", "status": status}


def revenue(amount: str, count: int) -> dict[str, Any]:
    return {"merchantAndCurrency": "Book Corner|EUR", "day": DAY, "revenue": amount, "payments": count}


def refunded(amount: str, count: int) -> dict[str, Any]:
    return {"merchantAndCurrency": "Book Corner|EUR", "day": DAY, "refunded": amount, "refunds": count}


def currency(paid: str, refunded: str, count: int) -> dict[str, Any]:
    return {"currency": "EUR", "revenue": paid, "refunded": refunded, "payments": count}


def hour(path: str, count: int) -> dict[str, Any]:
    return {"path": path, "hourAndCountry": f"{DAY}T10|DE", "views": count}


def day(path: str, count: int) -> dict[str, Any]:
    return {"day": DAY, "path": path, "views": count}


JOURNEYS = {
    "payments": Journey(
        placed=[payment("12.50"), payment("0.10"), payment("0.20"), payment("5.00", "failed")],
        placed_rows={
            "revenue": [revenue("12.80", 3)],
            "refunds": [],
            "currencies": [currency("12.80", "0.00", 3)],
        },
        amended=payment("12.50", "refunded"),
        changed_rows={
            "revenue": [revenue("0.20", 1)],
            "refunds": [refunded("12.50", 1)],
            "currencies": [currency("0.20", "12.50", 2)],
        },
        item={
            "Merchant": {"S": "Book Corner"},
            "Amount": {"N": "99.9"},
            "Currency": {"S": "EUR"},
            "Status": {"S": "paid"},
        },
        backfilled_rows={
            "revenue": [revenue("100.10", 2)],
            "refunds": [refunded("12.50", 1)],
            "currencies": [currency("100.10", "12.50", 3)],
        },
        field="amount",
    ),
    "page_views": Journey(
        placed=[{"path": "/", "country": "DE"}] * 3,
        placed_rows={"hours": [hour("/", 3)], "days": [day("/", 3)]},
        amended={"path": "/docs", "country": "DE"},
        changed_rows={"hours": [hour("/", 1), hour("/docs", 1)], "days": [day("/", 1), day("/docs", 1)]},
        item={"Path": {"S": "/docs"}, "Country": {"S": "DE"}},
        backfilled_rows={"hours": [hour("/", 1), hour("/docs", 2)], "days": [day("/", 1), day("/docs", 2)]},
        field="country",
    ),
}


def read(local: MakeLocal, views: list[str]) -> Rows:
    """Return the rows of orders that exist, by the API, in order and without the time of their last change."""
    found: Rows = {}
    for view in views:
        rows = local.api.get(f"/views/{view}").json["rows"]
        counted = ({name: value for name, value in row.items() if name != "updatedAt"} for row in rows)
        found[view] = sorted((row for row in counted if any(row.get(name) for name in COUNTS)), key=json.dumps)
    return found


def run_job(project: Path, local: MakeLocal, job: str) -> None:
    """Run `make backfill` or `make audit` in the project; it must succeed."""
    command = [sys.executable, "-m", f"operations.{job}", "--stage", "local", "--aws-port", str(local.aws_port)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("example", JOURNEYS)
def test_example_counts_what_is_placed_amended_cancelled_and_backfilled(
    example: str, tmp_path: Path, eventually: Callable[..., Any]
):
    journey = JOURNEYS[example]
    model = (PROJECT / "examples" / example / "model.py").read_text(encoding="utf-8")
    project = copy_with_model(tmp_path / "project", model)
    with make_local(project) as local:
        views = [view["view"] for view in local.api.get("/views").json["views"]]
        assert views == [*journey.placed_rows]
        order_ids = [f"order-{number}" for number in range(1, len(journey.placed) + 1)]

        for order_id, order in zip(order_ids, journey.placed, strict=True):
            assert local.api.post("/orders", {"orderId": order_id, **order}).status == 201
            set_moment(local, order_id)
        assert eventually(lambda: read(local, views), journey.placed_rows) == journey.placed_rows

        assert local.api.put(f"/orders/{order_ids[0]}", journey.amended).status == 200
        assert local.api.delete(f"/orders/{order_ids[1]}").status == 204
        assert eventually(lambda: read(local, views), journey.changed_rows) == journey.changed_rows
        for name, rows in journey.changed_rows.items():
            if rows and name in ("currencies", "days"):
                top = local.api.get(f"/views/{name}?top=1").json
                assert (len(top["rows"]), top["complete"]) == (1, True)

        with stream_off(local):
            order = {"OrderID": {"S": "direct"}, "PlacedAt": {"S": MOMENT}, **journey.item}
            local.dynamodb.put_item(TableName="OrdersTable", Item=order)
            run_job(project, local, "backfill")
            assert read(local, views) == journey.backfilled_rows
            run_job(project, local, "audit")
        assert all(view["complete"] for view in local.api.get("/views").json["views"])
        assert f'"name": "{journey.field}"' in local.api.get("/").body.decode().replace("&#34;", '"')


@contextmanager
def stream_off(local: MakeLocal) -> Iterator[None]:
    """Disable the stream handler's event source mapping for the duration of the block."""
    functions = boto3.client("lambda", endpoint_url=f"http://{HOST}:{local.aws_port}", **root_access())
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def set_moment(local: MakeLocal, order_id: str) -> None:
    """Set the time at which an order was placed, so that the test does not depend on the day on which it runs."""
    local.dynamodb.update_item(
        TableName="OrdersTable",
        Key={"OrderID": {"S": order_id}},
        UpdateExpression="SET PlacedAt = :moment",
        ExpressionAttributeValues={":moment": {"S": MOMENT}},
    )
