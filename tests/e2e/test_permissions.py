"""Tests for the functions' roles: they allow everything that the app does, and no permission is unused.

To show this, the tests remove each permission in turn and check that a feature fails. So they need their own stack.
test_least_privilege.py shows what the API's role cannot do. test_chalice_deploy.py shows that `chalice deploy` grants
the same actions.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chalicelib import stream_lag
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
    """IAM denied an action to the app. The message names the action."""


Permission = tuple[str, str, str]
"""A function, a table and an action, such as ("Backfill", "LedgerTable", "PutItem")."""


class Roles:
    """The functions' roles, from which a test can remove a permission temporarily."""

    def __init__(self, stack: Stack) -> None:
        self._iam = stack.emulator.client("iam")
        self._roles = {function: stack.role(function) for function in stack.functions}
        self._tables = {name: logical_name for logical_name, name in stack.tables.items()}
        self._documents = {
            function: self._iam.get_role_policy(RoleName=role, PolicyName=function)["PolicyDocument"]
            for function, role in self._roles.items()
        }
        self._statements = {name: document["Statement"] for name, document in self._documents.items()}

    @property
    def permissions(self) -> set[Permission]:
        """Return all permissions on tables, by function, table and action."""
        return {
            (function, table, action.removeprefix("dynamodb:"))
            for function, statements in self._statements.items()
            for statement in statements
            if (table := self._table(statement))
            for action in statement["Action"]
        }

    @property
    def other_actions(self) -> dict[str, set[str]]:
        """Return each function's actions on resources other than tables."""
        return {
            function: {action for each in statements if not self._table(each) for action in each["Action"]}
            for function, statements in self._statements.items()
        }

    @contextmanager
    def without(self, function: str, table: str | None = None, *actions: str) -> Iterator[None]:
        """Remove actions on a table from a role during the block. Without a table, remove them on everything else."""
        left = [
            {**each, "Action": kept}
            for each in self._statements[function]
            if (kept := [name for name in each["Action"] if self._table(each) != table or name not in actions])
        ]
        self._put(function, left)
        try:
            yield
        finally:
            self._put(function, self._statements[function])

    def _put(self, function: str, statements: list[Any]) -> None:
        text = json.dumps({**self._documents[function], "Statement": statements})
        self._iam.put_role_policy(RoleName=self._roles[function], PolicyName=function, PolicyDocument=text)

    def _table(self, statement: dict[str, Any]) -> str | None:
        """Return the logical name of the table in a policy statement, or None."""
        (resource,) = statement["Resource"]
        return self._tables.get(resource.partition(":table/")[2])


class App:
    """Everything that the app does, split into features."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api = Api(stack.api_url)
        self._dynamodb = stack.emulator.client("dynamodb")
        self.features: dict[str, Callable[[], object]] = {
            "GET /": lambda: self._send("GET", "/"),
            "GET /docs": lambda: self._send("GET", "/docs"),
            "GET /openapi.json": lambda: self._send("GET", "/openapi.json"),
            "POST /orders": lambda: self._send("POST", "/orders", {"product": "Pen", "quantity": 5}),
            "GET /orders": lambda: self._send("GET", "/orders"),
            "GET /orders/{order_id}": lambda: self._send("GET", f"/orders/{self._place()}"),
            "PUT /orders/{order_id}": lambda: self._send(
                "PUT", f"/orders/{self._place()}", {"product": "Ink", "quantity": 1}
            ),
            "DELETE /orders/{order_id}": lambda: self._send("DELETE", f"/orders/{self._place()}"),
            "GET /totals": self._list_totals,
            "GET /totals/{product}": lambda: self._send("GET", f"/totals/{self._counted_product}"),
            "GET /totals/{product}/trend": lambda: self._send("GET", f"/totals/{self._counted_product}/trend"),
            "GET /views": self._list_views,
            "GET /views/{view}": lambda: self._send("GET", "/views/trend"),
            "GET /views/{view}/{key}": lambda: self._send("GET", f"/views/trend/{self._counted_product}"),
            "GET /views/{view}/{key}/{sort_key}": self._show_row,
            "stream: new order": lambda: self._is_counted(self._place()),
            "stream: amended order": self._amend_order,
            "stream: cancelled order": self._cancel_order,
            "stream: lag": self._report_lag,
            "backfill": self._backfill_again,
            "backfill: uncounted order": self._backfill,
            "audit": lambda: self._run("Audit"),
            "audit: uncounted order": self._audit_order,
            "audit: drifted counter": self._audit_counter,
            "audit: removed view": self._forget_view,
            "GET /audit": lambda: self._send("GET", "/audit"),
            "POST /audit": lambda: self._send("POST", "/audit"),
            "daily_audit": self._audit_daily,
            "refresh_top_lists": lambda: self._invoke("RefreshTopLists", SCHEDULED_EVENT),
            "refresh_top_lists: wanted list": self._refresh_list,
        }
        self._counted_product = self._counted_order()

    def use(self, feature: str) -> None:
        """Use one feature of the app. Raise AccessDenied if IAM denies an action."""
        self.features[feature]()

    # Each order has its own product with the same name, so that features do not affect each other.

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

    def _report_lag(self) -> None:
        """Place orders until the handler reports its lag, which it does every five seconds."""
        since, before = _now_ms(), self._lag_report()
        self._wait(
            lambda: bool(self._counted_order()) and self._lag_report() != before,
            lambda: self._raise_if_denied("Aggregate", since),
        )

    def _lag_report(self) -> Any:
        return self._dynamodb.get_item(TableName="StateTable", Key=stream_lag.KEY, ConsistentRead=True).get("Item")

    def _counted_order(self) -> str:
        """Place an order and wait until it is counted. Return its id."""
        name = self._place()
        self._is_counted(name)
        return name

    def _list_totals(self) -> None:
        self._send("GET", "/totals")
        self._forget_list()
        self._send("GET", "/totals?top=3")

    def _list_views(self) -> None:
        """Show the views of a new stage with one order, so that the app must check whether that is counted."""
        keys = self._dynamodb.scan(TableName="OrdersTable", ProjectionExpression="OrderID")["Items"]
        for key in keys:
            self._dynamodb.delete_item(TableName="OrdersTable", Key=key)
        self._counted_product = self._counted_order()
        self._dynamodb.delete_item(TableName="StateTable", Key={"name": {"S": "completeViews"}})
        assert all(view["complete"] for view in self._send("GET", "/views").json["views"])

    def _show_row(self) -> None:
        day = self._send("GET", f"/views/trend/{self._counted_product}").json["rows"][0]["day"]
        self._send("GET", f"/views/trend/{self._counted_product}/{day}")

    def _backfill_again(self) -> None:
        self._complete_views("AggregateTable")
        self._run("Backfill")

    def _forget_view(self) -> None:
        """Run an audit that drops a removed view from the list of complete views."""
        self._complete_views("RemovedTable")
        self._run("Audit")

    def _complete_views(self, table: str) -> None:
        views = {"name": {"S": "completeViews"}, "complete": {"SS": [table]}}
        self._dynamodb.put_item(TableName="StateTable", Item=views)

    def _forget_list(self) -> None:
        for name in ("top/AggregateTable", "top/AggregateTable/claim", "top/AggregateTable/scheduled"):
            self._dynamodb.delete_item(TableName="StateTable", Key={"name": {"S": name}})

    def _refresh_list(self) -> None:
        self._forget_list()
        claim = {"name": {"S": "top/AggregateTable/claim"}, "replaces": {"N": "0"}, "claimedAt": {"N": "0"}}
        self._dynamodb.put_item(TableName="StateTable", Item=claim)
        self._invoke("RefreshTopLists", SCHEDULED_EVENT)
        assert "Item" in self._dynamodb.get_item(TableName="StateTable", Key={"name": {"S": "top/AggregateTable"}})

    def _backfill(self) -> None:
        name = self._uncounted_order()
        self._run("Backfill")
        assert self._total(name) == 5

    def _audit_daily(self) -> None:
        """Invoke the scheduled function after deleting the state, so that it starts an audit."""
        self._dynamodb.delete_item(TableName="StateTable", Key={"name": {"S": "audit/running"}})
        self._invoke("DailyAudit", SCHEDULED_EVENT)

    def _audit_order(self) -> None:
        name = self._uncounted_order()
        self._repair(name)

    def _uncounted_order(self) -> str:
        """Place an order, and delete its entry and counters, as if the stream had never delivered it."""
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
        """Run audits with repair until the total is right. One audit may skip the order because it is in flight."""
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while self._total(name) != 5:
            assert time.monotonic() < end, "The audit neither repaired the total nor failed."
            self._run("Audit", {"repair": True, "gracePeriodSeconds": 3})
            self._counted_order()  # The handler reports its lag, so that the order is no longer in flight.

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
def roles(stack: Stack) -> Roles:
    return Roles(stack)


@pytest.fixture(scope="module")
def app(stack: Stack) -> App:
    return App(stack)


def test_features_cover_all_routes_and_functions(app: App, build: Path):
    """Fail if a route or function of the app is missing from `App.features`."""
    template = read_template(build / TEMPLATE)
    routes = {
        f"{method.upper()} {path}"
        for path, methods in template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"].items()
        for method in methods
    }
    assert {feature for feature in app.features if "/" in feature} == routes
    function_of = {
        "stream": "Aggregate",
        "backfill": "Backfill",
        "audit": "Audit",
        "daily_audit": "DailyAudit",
        "refresh_top_lists": "RefreshTopLists",
    }
    functions = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    assert {function_of[feature.partition(":")[0]] for feature in app.features if "/" not in feature} == functions - {
        "APIHandler"
    }


PERMISSIONS = {
    (function, table, action): feature
    for function, by_table in NEEDED_BY.items()
    for table, actions in by_table.items()
    for action, feature in actions.items()
}


def test_roles_have_exactly_the_documented_permissions(roles: Roles):
    assert roles.permissions == PERMISSIONS.keys()
    logs = {action for action in PLATFORM if action.startswith("logs:")}
    assert roles.other_actions == {name: set(PLATFORM) if name == "Aggregate" else logs for name in NEEDED_BY}


def test_roles_are_enough_for_all_features(app: App):
    for feature in app.features:
        app.use(feature)


@pytest.mark.parametrize(("permission", "feature"), PERMISSIONS.items(), ids=map(" ".join, PERMISSIONS))
def test_feature_is_denied_without_its_permission(app: App, roles: Roles, permission: Permission, feature: str):
    function, table, action = permission
    refusal = rf"{DENIED}dynamodb:{action}\b"
    with roles.without(function, table, f"dynamodb:{action}"), pytest.raises(AccessDenied, match=refusal):
        app.use(feature)


def test_emulator_does_not_check_the_platforms_actions(app: App, roles: Roles):
    """If a newer emulator checks these actions, this test fails. Then add them to PERMISSIONS to test them too."""
    with roles.without("Aggregate", None, *PLATFORM), roles.without("APIHandler", None, *PLATFORM):
        for feature in app.features:
            app.use(feature)
