"""Tests for the API while DynamoDB requests fail: the SDK's retries hide short outages, longer ones become a 503."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from chalice.test import Client

from chalicelib import client, effects, tables
from localcloud.servers import PROJECT
from tests.proof.faults import Fault, Request
from tests.proof.harness import Harness
from tests.streams import item

PEN = {"product": "Pen", "quantity": 5}
ROUTES = [
    ("POST", "/orders", PEN, 201),
    ("POST", "/orders", {**PEN, "orderId": "existing"}, 200),
    ("POST", "/orders", {**PEN, "orderId": "existing", "quantity": 6}, 409),
    ("GET", "/orders/existing", None, 200),
    ("PUT", "/orders/existing", PEN, 200),
    ("PUT", "/orders/unknown", PEN, 404),
    ("DELETE", "/orders/existing", None, 204),
    ("GET", "/totals", None, 200),
    ("GET", "/totals?top=3", None, 200),
    ("GET", "/totals/Pen", None, 200),
    ("GET", "/totals/Pen/trend", None, 200),
]
LONG_OUTAGES = [Fault.UNREACHABLE, Fault.THROTTLED_ALWAYS, Fault.ERRORS_ALWAYS]
SHORT_OUTAGES = [Fault.RESPONSE_LOST, Fault.THROTTLED, Fault.ERROR_BEFORE, Fault.ERROR_AFTER]


class Target:
    """The API in this process, with one stored order and its total."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.names = harness.make_tables("NEW_AND_OLD_IMAGES")
        order, total = item("existing", "Pen", 5), {"product": {"S": "Pen"}, "totalQuantity": {"N": "5"}}
        harness.dynamodb("PutItem", TableName=self.names[tables.ORDERS], Item=order)
        harness.dynamodb("PutItem", TableName=self.names[tables.TOTALS], Item=total)

    def __call__(self, method: str, path: str, body: Any, *faults: Fault) -> Any:
        """Send a request to the API and return its response. The faults hit the app's first DynamoDB requests."""
        remaining = list(faults)

        def choose(request: Request) -> Fault:
            return remaining.pop(0) if remaining else Fault.NONE

        self._harness.injector.choose = choose
        content = json.dumps(body).encode() if body else b""
        headers = {"Content-Type": "application/json"}
        try:
            with Client(self._harness.shell.app, stage_name="local", project_dir=str(PROJECT)) as client:
                return client.http.request(method, path, headers=headers, body=content)
        finally:
            self._harness.injector.choose = lambda request: Fault.NONE
            assert not remaining


@pytest.fixture
def target(harness: Harness) -> Iterator[Target]:
    created = Target(harness)
    yield created
    harness.delete_tables(created.names)


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
@pytest.mark.parametrize("fault", SHORT_OUTAGES)
def test_the_sdks_retries_hide_a_short_outage(
    target: Target, method: str, path: str, body: Any, status: int, fault: Fault
):
    assert target(method, path, body, fault).status_code == status


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
@pytest.mark.parametrize("fault", LONG_OUTAGES)
def test_an_outage_that_outlasts_the_retries_becomes_a_503(
    target: Target, method: str, path: str, body: Any, status: int, fault: Fault
):
    response = target(method, path, body, fault)
    assert response.status_code == 503
    assert response.json_body == {
        "Code": "ServiceUnavailableError",
        "Message": "The database is out of reach or too busy. Try again in a second.",
    }


def test_an_order_is_a_503_if_only_its_ledger_entry_cannot_be_read(target: Target):
    assert target("GET", "/orders/existing", None, Fault.NONE, Fault.UNREACHABLE).status_code == 503


def test_cancelling_an_unknown_order_is_a_404(target: Target):
    assert target("DELETE", "/orders/unknown", None, Fault.NONE).status_code == 404


@pytest.mark.parametrize("fault", [Fault.THROTTLED_ALWAYS, Fault.ERRORS_ALWAYS])
def test_reads_of_the_stream_handler_wait_out_throttling(harness: Harness, target: Target, fault: Fault):
    remaining = [fault, fault]
    harness.injector.choose = lambda request: remaining.pop() if remaining else Fault.NONE
    read = effects.BatchGet(tables.ORDERS, [("existing",), ("unknown",)])
    assert harness.shell.batch_get(read, math.inf).keys() == {("existing",)}
    assert not remaining


def test_read_that_lacks_a_permission_is_not_repeated():
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "BatchGetItem")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.nothing_read(denied, {})
