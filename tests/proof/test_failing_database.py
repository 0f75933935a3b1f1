"""Routes while requests of DynamoDB fail: what the SDK mends is not to be seen, and all else is a 503 that may pass."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client

from chalicelib import tables
from localcloud.servers import PROJECT
from tests.proof.faults import Fault, Request
from tests.proof.lab import Harness
from tests.streams import item

PEN = {"product": "Pen", "quantity": 5}
ROUTES = [
    ("POST", "/orders", PEN, 201),
    ("POST", "/orders", {**PEN, "orderId": "there"}, 200),
    ("POST", "/orders", {**PEN, "orderId": "there", "quantity": 6}, 409),
    ("GET", "/orders/there", None, 200),
    ("PUT", "/orders/there", PEN, 200),
    ("PUT", "/orders/nowhere", PEN, 404),
    ("DELETE", "/orders/there", None, 204),
    ("GET", "/totals", None, 200),
    ("GET", "/totals?top=3", None, 200),
    ("GET", "/totals/Pen", None, 200),
    ("GET", "/totals/Pen/trend", None, 200),
]
LASTING = [Fault.UNREACHABLE, Fault.THROTTLED_ALWAYS, Fault.ERRORS_ALWAYS]
PASSING = [Fault.RESPONSE_LOST, Fault.THROTTLED, Fault.ERROR_BEFORE, Fault.ERROR_AFTER]


class Target:
    """The API in this process, one order and its total behind it, and the line between."""

    def __init__(self, lab: Harness) -> None:
        self._lab = lab
        self.names = lab.make_tables("NEW_AND_OLD_IMAGES")
        order, total = item("there", "Pen", 5), {"product": {"S": "Pen"}, "totalQuantity": {"N": "5"}}
        lab.engine("PutItem", TableName=self.names[tables.ORDERS], Item=order)
        lab.engine("PutItem", TableName=self.names[tables.TOTALS], Item=total)

    def __call__(self, method: str, path: str, body: Any, *faults: Fault) -> Any:
        """Answers a request while the app's own, from the first one on, meet these faults."""
        left = list(faults)

        def choose(request: Request) -> Fault:
            return left.pop(0) if left else Fault.NONE

        self._lab.wire.choose = choose
        content = json.dumps(body).encode() if body else b""
        headers = {"Content-Type": "application/json"}
        try:
            with Client(self._lab.shell.app, stage_name="local", project_dir=str(PROJECT)) as client:
                return client.http.request(method, path, headers=headers, body=content)
        finally:
            self._lab.wire.choose = lambda request: Fault.NONE
            assert not left


@pytest.fixture
def target(lab: Harness) -> Iterator[Target]:
    made = Target(lab)
    yield made
    lab.delete_tables(made.names)


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
@pytest.mark.parametrize("fault", PASSING)
def test_what_the_sdk_mends_is_not_to_be_seen(
    target: Target, method: str, path: str, body: Any, status: int, fault: Fault
):
    assert target(method, path, body, fault).status_code == status


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES)
@pytest.mark.parametrize("fault", LASTING)
def test_what_it_does_not_is_answered_with_503(
    target: Target, method: str, path: str, body: Any, status: int, fault: Fault
):
    answer = target(method, path, body, fault)
    assert answer.status_code == 503
    assert answer.json_body == {
        "Code": "ServiceUnavailableError",
        "Message": "The database is out of reach or too busy. Try again in a second.",
    }


def test_the_ledgers_entry_of_an_order_may_be_what_cannot_be_read(target: Target):
    assert target("GET", "/orders/there", None, Fault.NONE, Fault.UNREACHABLE).status_code == 503


def test_an_order_that_nobody_has_placed_cannot_be_cancelled(target: Target):
    assert target("DELETE", "/orders/nowhere", None, Fault.NONE).status_code == 404
