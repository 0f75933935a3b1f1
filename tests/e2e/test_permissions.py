"""The role's policy, as packaged: it suffices for everything that the app does, and without any of it something fails.

With a stack of its own, for other tests would be refused too. That the actions are granted on the app's own resources
alone is shown in test_least_privilege.py, and that `chalice deploy` grants the same actions in test_chalice_deploy.py.
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
from tests.e2e.http import Answer, Api
from tests.permissions import NEEDED_BY, PLATFORM
from tests.streams import item

GRACE_PERIOD_SECONDS = 30.0
POLL_SECONDS = 0.05
DENIED = "is not authorized to perform: "

SCHEDULED = dict.fromkeys(["version", "source", "account", "region", "time", "id", "detail-type"], "")
SCHEDULED_EVENT = {**SCHEDULED, "resources": [], "detail": {}}


class Refused(Exception):
    """A part of the app was refused something; the text names the action."""


class Role:
    """The policies of the functions' role, from which actions can be taken away for a while."""

    def __init__(self, stack: Stack) -> None:
        self._iam, self._name = stack.emulator.client("iam"), stack.role
        names = self._iam.list_role_policies(RoleName=self._name)["PolicyNames"]
        self._documents = {
            name: self._iam.get_role_policy(RoleName=self._name, PolicyName=name)["PolicyDocument"] for name in names
        }
        self._missing: frozenset[str] = frozenset()

    @property
    def actions(self) -> list[str]:
        """All that it grants."""
        documents = self._documents.values()
        return [action for document in documents for each in document["Statement"] for action in each["Action"]]

    @contextmanager
    def without(self, *actions: str) -> Iterator[None]:
        """The role has all of its actions but these."""
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
    """Everything that the app does, in parts."""

    def __init__(self, stack: Stack, role: Role) -> None:
        self._stack = stack
        self._role = role
        self._api = Api(stack.api_url)
        self._dynamodb = stack.emulator.client("dynamodb")
        self.parts: dict[str, Callable[[], object]] = {
            "GET /": lambda: self._ask("GET", "/"),
            "GET /openapi.json": lambda: self._ask("GET", "/openapi.json"),
            "POST /orders": lambda: self._ask("POST", "/orders", {"product": "Pen", "quantity": 5}),
            "GET /orders/{order_id}": lambda: self._ask("GET", f"/orders/{self._place()}"),
            "PUT /orders/{order_id}": lambda: self._ask(
                "PUT", f"/orders/{self._place()}", {"product": "Ink", "quantity": 1}
            ),
            "DELETE /orders/{order_id}": lambda: self._ask("DELETE", f"/orders/{self._place()}"),
            "GET /totals": self._list_totals,
            "GET /totals/{product}": lambda: self._ask("GET", f"/totals/{self._known}"),
            "GET /totals/{product}/trend": lambda: self._ask("GET", f"/totals/{self._known}/trend"),
            "stream: new order": lambda: self._is_counted(self._place()),
            "stream: amended order": self._amend,
            "stream: cancelled order": self._cancel,
            "backfill": lambda: self._run("Backfill"),
            "backfill: uncounted order": self._backfill,
            "audit": lambda: self._run("Audit"),
            "audit: uncounted order": self._audit_order,
            "audit: drifted counter": self._audit_counter,
            "daily_audit": lambda: self._invoke("DailyAudit", SCHEDULED_EVENT),
        }
        self._known = self._counted()

    def use(self, part: str) -> None:
        """Uses one part. Raises Refused."""
        self.parts[part]()

    # Orders have one product each, of the same name: what one part does is nothing to another.

    def _place(self, quantity: int = 5) -> str:
        name = uuid.uuid4().hex
        self._put(name, quantity)
        return name

    def _put(self, name: str, quantity: int) -> None:
        self._dynamodb.put_item(TableName="OrdersTable", Item=item(name, name, quantity))

    def _is_counted(self, name: str, quantity: int = 5) -> None:
        since = _now_ms()
        self._wait(lambda: self._total(name) == quantity, lambda: self._refuse("Aggregate", since))

    def _amend(self) -> None:
        name = self._counted()
        self._put(name, 6)
        self._is_counted(name, 6)

    def _cancel(self) -> None:
        name = self._counted()
        self._dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": name}})
        self._is_counted(name, 0)

    def _counted(self) -> str:
        """An order that was placed and counted with all permissions: what is tried comes after that."""
        name = self._place()
        with self._role.without():
            self._wait(lambda: self._total(name) == 5)
        return name

    def _list_totals(self) -> None:
        self._ask("GET", "/totals")
        self._ask("GET", "/totals?top=3")

    def _backfill(self) -> None:
        name = self._forgotten()
        self._run("Backfill")
        assert self._total(name) == 5

    def _audit_order(self) -> None:
        name = self._forgotten()
        self._mend(name)

    def _forgotten(self) -> str:
        """An order of which the stream has told nothing."""
        name = self._counted()
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
        name = self._counted()
        self._dynamodb.update_item(
            TableName="AggregateTable",
            Key={"product": {"S": name}},
            UpdateExpression="SET totalQuantity = :wrong",
            ExpressionAttributeValues={":wrong": {"N": "7"}},
        )
        self._mend(name)

    def _mend(self, name: str) -> None:
        """Run audits with repair until the total is right: an audit leaves what the stream may still deliver."""
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while self._total(name) != 5:
            assert time.monotonic() < end, "The audit has neither repaired it, nor was it refused anything."
            self._run("Audit", {"repair": True, "gracePeriodSeconds": 3})
            self._counted()  # So that the handler says anew how far it is behind.

    def _total(self, product: str) -> int:
        key = {"product": {"S": product}}
        total = self._dynamodb.get_item(TableName="AggregateTable", Key=key, ConsistentRead=True).get("Item")
        return int(total["totalQuantity"]["N"]) if total else 0

    # How each tells that it was refused

    def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        since = _now_ms()
        answer = self._api(method, path, body)
        if answer.status >= 500:
            self._refuse("APIHandler", since)
        assert answer.status < 300, answer
        return answer

    def _wait(self, condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        end = time.monotonic() + GRACE_PERIOD_SECONDS
        while not condition():
            meanwhile()
            assert time.monotonic() < end, "The stream handler has not counted, and was not refused anything."
            time.sleep(POLL_SECONDS)

    def _run(self, job: str, payload: Any = None) -> None:
        answer = self._invoke(job, payload)
        assert answer["done"] is True

    def _invoke(self, job: str, payload: Any) -> Any:
        try:
            return self._stack.invoke(job, payload)
        except FunctionError as error:
            if DENIED in str(error):
                raise Refused(str(error)) from None
            raise

    def _refuse(self, function: str, since: int) -> None:
        for line in self._stack.logs(function, since):
            if DENIED in line:
                raise Refused(line)


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


def test_everything_is_tried(app: App, build: Path):
    """Each route that Chalice has found, and each function; so a new one has to be added here."""
    template = read_template(build / TEMPLATE)
    routes = {
        f"{method.upper()} {path}"
        for path, methods in template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"].items()
        for method in methods
    }
    assert {part for part in app.parts if "/" in part} == routes
    of_functions = {"stream": "Aggregate", "backfill": "Backfill", "audit": "Audit", "daily_audit": "DailyAudit"}
    functions = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    assert {of_functions[part.partition(":")[0]] for part in app.parts if "/" not in part} == functions - {"APIHandler"}


def test_the_policy_has_each_action_once_and_each_is_accounted_for(role: Role):
    assert sorted(role.actions) == sorted([*NEEDED_BY, *PLATFORM])


def test_the_policy_suffices_for_everything(app: App):
    for part in app.parts:
        app.use(part)


@pytest.mark.parametrize(("action", "part"), [(action, part) for action in NEEDED_BY for part in NEEDED_BY[action]])
def test_without_an_action_what_needs_it_is_refused(app: App, role: Role, action: str, part: str):
    with role.without(action), pytest.raises(Refused, match=rf"{DENIED}{action} "):
        app.use(part)


def test_what_the_platform_does_in_the_roles_name_the_emulator_does_without_asking(app: App, role: Role):
    """If this fails, the emulator has learnt to ask: such an action then belongs to those that are tried above."""
    with role.without(*PLATFORM):
        for part in app.parts:
            app.use(part)
