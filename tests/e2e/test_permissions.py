"""The packaged policy: it is enough for everything that the app does, and without any one action something fails.

These tests use their own stack, because they break it for others. test_least_privilege.py shows that the actions are
limited to the app's resources; test_chalice_deploy.py shows that `chalice deploy` grants the same actions.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import TEMPLATE, read_template
from localcloud.emulator import Emulator
from localcloud.stack import FunctionError, Stack, deploy
from tests.e2e.http import Api, Response
from tests.permissions import NEEDED_BY, PLATFORM
from tests.streams import item

GRACE_PERIOD_SECONDS = 30.0
POLL_SECONDS = 0.05
DENIED = "is not authorized to perform: "

SCHEDULED = dict.fromkeys(["version", "source", "account", "region", "time", "id", "detail-type"], "")
SCHEDULED_EVENT = {**SCHEDULED, "resources": [], "detail": {}}


class AccessDenied(Exception):
    """IAM denied the app an action. The text names it."""


class Role:
    """The policies of the functions' role. Actions can be removed temporarily."""

    def __init__(self, stack: Stack) -> None:
        self._iam, self._name = stack.emulator.client("iam"), stack.role
        names = self._iam.list_role_policies(RoleName=self._name)["PolicyNames"]
        self._documents = {
            name: self._iam.get_role_policy(RoleName=self._name, PolicyName=name)["PolicyDocument"] for name in names
        }
        self._missing: frozenset[str] = frozenset()

    @property
    def actions(self) -> list[str]:
        """Return all granted actions."""
        documents = self._documents.values()
        return [action for document in documents for each in document["Statement"] for action in each["Action"]]

    @contextmanager
    def without(self, *actions: str) -> Iterator[None]:
        """Remove actions from the role for the duration of the block."""
        before = self._missing
        self._put(frozenset(actions))
        try:
            yield
        finally:
            self._put(before)

    def _put(self, missing: frozenset[str]) -> None:
        self._missing = missing
        for name, document in self._documents.items():
            left = [
                {**each, "Action": kept}
                for each in document["Statement"]
                if (kept := [action for action in each["Action"] if action not in missing])
            ]
            if left:
                text = json.dumps({**document, "Statement": left})
                self._iam.put_role_policy(RoleName=self._name, PolicyName=name, PolicyDocument=text)
            elif name in self._iam.list_role_policies(RoleName=self._name)["PolicyNames"]:
                self._iam.delete_role_policy(RoleName=self._name, PolicyName=name)


class App:
    """Everything that the app does, as separate features."""

    def __init__(self, stack: Stack, role: Role) -> None:
        self._stack = stack
        self._role = role
        self._api = Api(stack.api_url)
        self._dynamodb = stack.emulator.client("dynamodb")
        self.features: dict[str, Callable[[], object]] = {
            "GET /": lambda: self._send("GET", "/"),
            "GET /openapi.json": lambda: self._send("GET", "/openapi.json"),
            "POST /orders": lambda: self._send("POST", "/orders", {"product": "Pen", "quantity": 5}),
            "GET /orders/{order_id}": lambda: self._send("GET", f"/orders/{self._place()}"),
            "PUT /orders/{order_id}": lambda: self._send(
                "PUT", f"/orders/{self._place()}", {"product": "Ink", "quantity": 1}
            ),
            "DELETE /orders/{order_id}": lambda: self._send("DELETE", f"/orders/{self._place()}"),
            "GET /totals": self._list_totals,
            "GET /totals/{product}": lambda: self._send("GET", f"/totals/{self._counted_product}"),
            "GET /totals/{product}/trend": lambda: self._send("GET", f"/totals/{self._counted_product}/trend"),
            "stream: new order": lambda: self._is_counted(self._place()),
            "stream: amended order": self._amend_order,
            "stream: cancelled order": self._cancel_order,
            "backfill": lambda: self._run("Backfill"),
            "backfill: uncounted order": self._backfill,
            "audit": lambda: self._run("Audit"),
            "audit: uncounted order": self._audit_order,
            "audit: drifted counter": self._audit_counter,
            "daily_audit": lambda: self._invoke("DailyAudit", SCHEDULED_EVENT),
        }
        self._counted_product = self._counted_order()

    def use(self, feature: str) -> None:
        """Use one feature. Raise AccessDenied."""
        self.features[feature]()

    # Each order has its own product, named like the order, so that features do not affect each other.

    def _place(self, quantity: int = 5) -> str:
        name = uuid.uuid4().hex
        self._put(name, quantity)
        return name

    def _put(self, name: str, quantity: int) -> None:
        self._dynamodb.put_item(TableName="OrdersTable", Item=item(name, name, quantity))

    def _is_counted(self, name: str, quantity: int = 5) -> None:
        since = _now_ms()
        self._wait(lambda: self._total(name) == quantity, lambda: self._raise_if_denied("Aggregate", since))

    def _amend_order(self) -> None:
        name = self._counted_order()
        self._put(name, 6)
        self._is_counted(name, 6)

    def _cancel_order(self) -> None:
        name = self._counted_order()
        self._dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": name}})
        self._is_counted(name, 0)

    def _counted_order(self) -> str:
        """Place an order and wait until it is counted, with all permissions. Return its id."""
        name = self._place()
        with self._role.without():
            self._wait(lambda: self._total(name) == 5)
        return name

    def _list_totals(self) -> None:
        self._send("GET", "/totals")
        self._send("GET", "/totals?top=3")

    def _backfill(self) -> None:
        name = self._uncounted_order()
        self._run("Backfill")
        assert self._total(name) == 5

    def _audit_order(self) -> None:
        name = self._uncounted_order()
        self._repair(name)

    def _uncounted_order(self) -> str:
        """Return an order without entry and counters, as if the stream had never delivered it."""
        name = self._counted_order()
        self._dynamodb.delete_item(TableName="LedgerTable", Key={"OrderID": {"S": name}})
        self._dynamodb.delete_item(TableName="AggregateTable", Key={"product": {"S": name}})
        for day in self._dynamodb.query(
            TableName="TrendTable",
            KeyConditionExpression="product = :product",
            ExpressionAttributeValues={":product": {"S": name}},
        )["Items"]:
            self._dynamodb.delete_item(TableName="TrendTable", Key={"product": day["product"], "day": day["day"]})
        return name

    def _audit_counter(self) -> None:
        name = self._counted_order()
        self._dynamodb.update_item(
            TableName="AggregateTable",
            Key={"product": {"S": name}},
            UpdateExpression="SET totalQuantity = :wrong",
            ExpressionAttributeValues={":wrong": {"N": "7"}},
        )
        self._repair(name)

    def _repair(self, name: str) -> None:
        """Run audits with repair until the total is right. One may not suffice: it skips orders that are in flight."""
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while self._total(name) != 5:
            assert time.monotonic() < end, "The audit neither repaired the total nor failed."
            self._run("Audit", {"repair": True, "gracePeriodSeconds": 3})
            self._counted_order()  # So that the stream handler updates its lag.

    def _total(self, product: str) -> int:
        key = {"product": {"S": product}}
        total = self._dynamodb.get_item(TableName="AggregateTable", Key=key, ConsistentRead=True).get("Item")
        return int(total["totalQuantity"]["N"]) if total else 0

    # Detecting denied actions

    def _send(self, method: str, path: str, body: Any = None) -> Response:
        since = _now_ms()
        response = self._api(method, path, body)
        if response.status >= 500:
            self._raise_if_denied("APIHandler", since)
        assert response.status < 300, response
        return response

    def _wait(self, condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while not condition():
            meanwhile()
            assert time.monotonic() < end, "The stream handler neither counted the order nor failed."
            time.sleep(POLL_SECONDS)

    def _run(self, job: str, payload: Any = None) -> None:
        result = self._invoke(job, payload)
        assert result["done"] is True

    def _invoke(self, job: str, payload: Any) -> Any:
        try:
            return self._stack.invoke(job, payload)
        except FunctionError as error:
            if DENIED in str(error):
                raise AccessDenied(str(error)) from None
            raise

    def _raise_if_denied(self, function: str, since: int) -> None:
        for line in self._stack.logs(function, since):
            if DENIED in line:
                raise AccessDenied(line)


def _now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture(scope="module")
def stack(build: Path) -> Iterator[Stack]:
    with Emulator() as emulator:
        yield deploy(emulator, build)


@pytest.fixture(scope="module")
def role(stack: Stack) -> Role:
    return Role(stack)


@pytest.fixture(scope="module")
def app(stack: Stack, role: Role) -> App:
    return App(stack, role)


def test_features_cover_all_routes_and_functions(app: App, build: Path):
    """Fail if a route or function of the app is missing from `App.features`."""
    template = read_template(build / TEMPLATE)
    routes = {
        f"{method.upper()} {path}"
        for path, methods in template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"].items()
        for method in methods
    }
    assert {feature for feature in app.features if "/" in feature} == routes
    function_of = {"stream": "Aggregate", "backfill": "Backfill", "audit": "Audit", "daily_audit": "DailyAudit"}
    functions = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    assert {function_of[feature.partition(":")[0]] for feature in app.features if "/" not in feature} == functions - {
        "APIHandler"
    }


def test_policy_has_each_documented_action_once(role: Role):
    assert sorted(role.actions) == sorted([*NEEDED_BY, *PLATFORM])


def test_policy_is_enough_for_all_features(app: App):
    for feature in app.features:
        app.use(feature)


@pytest.mark.parametrize(
    ("action", "feature"), [(action, feature) for action in NEEDED_BY for feature in NEEDED_BY[action]]
)
def test_feature_is_denied_without_its_action(app: App, role: Role, action: str, feature: str):
    with role.without(action), pytest.raises(AccessDenied, match=rf"{DENIED}{action} "):
        app.use(feature)


def test_emulator_does_not_check_the_platforms_actions(app: App, role: Role):
    """Notice a newer emulator that does check them. Then move the action to NEEDED_BY, so that it is tested too."""
    with role.without(*PLATFORM):
        for feature in app.features:
            app.use(feature)
