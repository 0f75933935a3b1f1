"""Tests for other views, with decimals, several rows, expiry or failures, in the handler, the jobs and the API."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chalicelib import timestamps
from chalicelib.orders import Order
from chalicelib.views import Keep, Row
from tests.extra_views import changeable_views, declare, replace
from tests.streams import Stream, item

TODAY = timestamps.from_epoch(int(time.time()))


def lines(order: Order) -> list[Row]:
    """Return a row for each line of an order: `pen 0.10; ink 12.5`."""
    split = [line.split() for line in order.product.split(";")]
    return [Row((name, order.placed_at[:10]), {"revenue": Decimal(price), "lines": 1}) for name, price in split]


@pytest.fixture(autouse=True)
def _views() -> Iterator[None]:
    import app

    with changeable_views(app.NAMES):
        declare(lines, "LineTable", ("name", "day"), {"revenue": 2, "lines": 0}, keep=Keep(30, "day"))
        app.NAMES["LineTable"] = "LineTable"
        yield


@pytest.fixture
def stream() -> Stream:
    return Stream(started=int(time.time()))


def write(client: Any, dynamodb: Any, stream: Stream, order: dict[str, Any]) -> None:
    """Write an order to OrdersTable and deliver its record."""
    order = {**order, "PlacedAt": {"S": TODAY}}
    dynamodb.put_item(TableName="OrdersTable", Item=order)
    client.lambda_.invoke("aggregate", {"Records": [stream.put(order)]})


def rows(dynamodb: Any) -> dict[str, tuple[Decimal, int]]:
    items = dynamodb.scan(TableName="LineTable")["Items"]
    return {each["name"]["S"]: (Decimal(each["revenue"]["N"]), int(each["lines"]["N"])) for each in items}


@pytest.mark.usefixtures("quick_audit")
def test_decimals_of_several_rows_are_exact_and_repaired(client, dynamodb, stream):
    write(client, dynamodb, stream, item("a", "pen 0.10; ink 12.50; pen 0.20"))
    # 25 digits, because moto adds at most 28 digits exactly.
    write(client, dynamodb, stream, item("b", f"ink {'9' * 23}.99"))
    assert rows(dynamodb) == {"pen": (Decimal("0.3"), 2), "ink": (Decimal("100000000000000000000012.49"), 2)}
    write(client, dynamodb, stream, item("b", "pen -0.3"))
    assert rows(dynamodb) == {"pen": (0, 3), "ink": (Decimal("12.5"), 1)}
    key = {"name": {"S": "ink"}, "day": {"S": TODAY[:10]}}
    assert "expiresAt" in dynamodb.get_item(TableName="LineTable", Key=key)["Item"]
    dynamodb.delete_item(TableName="LineTable", Key=key)
    result = client.lambda_.invoke("audit", {"repair": True, "gracePeriodSeconds": 1}).payload
    (finding,) = result["counters"]["findings"]
    assert (result["verdict"], finding["expected"]) == ("clean", {"revenue": "12.50", "lines": 1})
    assert rows(dynamodb) == {"pen": (0, 3), "ink": (Decimal("12.5"), 1)}


@pytest.mark.usefixtures("quick_audit")
def test_failed_view_is_named_by_log_metric_and_api_until_a_backfill(client, dynamodb, stream, caplog, capsys):
    write(client, dynamodb, stream, item("a", "Notebook"))
    (line,) = [vars(each) for each in caplog.records if each.getMessage() == "View failed"]
    problems = {"lines": "raises ValueError"}
    assert (line["levelname"], line["orderId"], line["problems"]) == ("ERROR", "a", problems)
    (metrics,) = [json.loads(text) for text in capsys.readouterr().out.splitlines() if "_aws" in text]
    assert metrics["viewProblems"] == [1]
    shown = client.http.get("/orders/a").json_body
    assert (shown["counted"], shown["viewProblems"]) == (True, problems)
    assert client.http.get("/totals/Notebook").json_body["totalQuantity"] == 5
    assert client.lambda_.invoke("audit", {"gracePeriodSeconds": 1}).payload["verdict"] == "clean"

    def mended(order: Order) -> Row:
        return Row((order.product, order.placed_at[:10]), {"revenue": Decimal("1.5")})

    replace(mended, "LineTable")
    assert client.lambda_.invoke("backfill", {}).payload["changed"] == 1
    assert dynamodb.scan(TableName="LineTable")["Items"][0]["revenue"] == {"N": "1.5"}
    assert "viewProblems" not in client.http.get("/orders/a").json_body
