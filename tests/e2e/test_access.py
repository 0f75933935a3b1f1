"""Tests for access to the deployed API with keys and IAM: only allowed callers can read or write.

The tests run on two stages. One requires keys for reads and signatures for writes, the other the reverse.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infrastructure.local_stage import HOST, REGION
from infrastructure.package import package
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator
from localcloud.stack import Stack, Template, deploy
from tests.e2e.http import Api, Response
from tests.projects import copy_project

Eventually = Callable[..., Any]

ORIGIN = "https://shop.example.com"
ORDER = {"OrderID": {"S": "there"}, "Product": {"S": "Notebook"}, "Quantity": {"N": "5"}}

READS = [("GET", path, None) for path in ("/orders/there", "/totals", "/totals/Notebook", "/totals/Notebook/trend")]
WRITES = [
    ("POST", "/orders", {"product": "Notebook", "quantity": 1, "orderId": "new"}),
    ("PUT", "/orders/there", {"product": "Notebook", "quantity": 6}),
    ("DELETE", "/orders/there", None),
]


class Deployed(NamedTuple):
    """A stack whose routes require an API key or a signature."""

    build: Path
    stack: Stack
    by_key: list[tuple[str, str, Any]]
    """The requests that need a key."""
    by_iam: list[tuple[str, str, Any]]
    """The requests that need a signature."""
    iam_policy: str
    """The stack output with the ARN of the policy that allows the signed requests."""
    other_policy: str
    """The stack output with the ARN of the policy that does not allow them."""


@pytest.fixture(scope="module", params=["keys to read", "keys to write"])
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Deploy the app with these access settings to a separate emulator."""
    folder = tmp_path_factory.mktemp("access")
    to_read = request.param == "keys to read"
    variables = {"CORS_ORIGIN": ORIGIN, "READ_ACCESS": "iam", "WRITE_ACCESS": "key"}
    if to_read:
        variables |= {"READ_ACCESS": "key", "WRITE_ACCESS": "iam"}
    build = package("local", folder / "build", project=copy_project(folder / "project", variables)).parent
    with Emulator() as emulator:
        stack = deploy(emulator, build)
        emulator.client("dynamodb").put_item(TableName=stack.tables["OrdersTable"], Item=ORDER)
        policies = ("WritePolicyArn", "ReadPolicyArn") if to_read else ("ReadPolicyArn", "WritePolicyArn")
        by_key, by_iam = (READS, WRITES) if to_read else (WRITES, READS)
        yield Deployed(build, stack, by_key, by_iam, *policies)


@pytest.fixture
def api(deployed: Deployed) -> Api:
    return Api(deployed.stack.api_url)


@pytest.fixture(autouse=True)
def reset_orders(deployed: Deployed, eventually: Eventually) -> None:
    """Reset OrdersTable to a single order before each test, and wait until it is counted."""
    dynamodb = deployed.stack.emulator.client("dynamodb")
    dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": {"S": "new"}})
    dynamodb.put_item(TableName="OrdersTable", Item=ORDER)
    total = {"TableName": "AggregateTable", "Key": {"product": {"S": "Notebook"}}}
    assert eventually(lambda: "Item" in dynamodb.get_item(**total), True)


def orders(deployed: Deployed) -> Any:
    return deployed.stack.emulator.client("dynamodb").scan(TableName="OrdersTable")["Items"]


def key(deployed: Deployed) -> str:
    gateway = deployed.stack.emulator.client("apigateway")
    value: str = gateway.get_api_key(apiKey=deployed.stack.outputs["ApiKeyId"], includeValue=True)["value"]
    return value


def signed(deployed: Deployed, request: tuple[str, str, Any], credentials: Credentials) -> Response:
    """Send a request that is signed for the API's host name, as on AWS, but without resolving the name."""
    method, path, body = request
    url = urlsplit(deployed.stack.api_host_url + path)
    data = json.dumps(body) if body is not None else None
    headers = {"Host": url.netloc} | ({"Content-Type": "application/json"} if data else {})
    prepared = AWSRequest(method=method, url=url.geturl(), data=data, headers=headers)
    SigV4Auth(credentials, "execute-api", REGION).add_auth(prepared)
    connection = http.client.HTTPConnection(HOST, url.port, timeout=60)
    connection.request(method, url.path, data, dict(prepared.headers))
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


@pytest.fixture
def make_user(deployed: Deployed, unique: str) -> Iterator[Any]:
    """Return a function that creates a user, optionally with a policy of the stack, and returns the credentials."""
    iam = deployed.stack.emulator.client("iam")
    made: list[tuple[str, str | None, str]] = []

    def make(policy: str | None) -> Credentials:
        name = f"{unique}-{len(made)}"
        iam.create_user(UserName=name)
        arn = deployed.stack.outputs[policy] if policy else None
        if arn:
            iam.attach_user_policy(UserName=name, PolicyArn=arn)
        access_key = iam.create_access_key(UserName=name)["AccessKey"]
        made.append((name, arn, access_key["AccessKeyId"]))
        return Credentials(access_key["AccessKeyId"], access_key["SecretAccessKey"])

    yield make
    for name, arn, access_key_id in made:
        iam.delete_access_key(UserName=name, AccessKeyId=access_key_id)
        if arn:
            iam.detach_user_policy(UserName=name, PolicyArn=arn)
        iam.delete_user(UserName=name)


# --- Refused -------------------------------------------------------------------------------------


def test_requests_without_key_or_signature_are_refused(deployed: Deployed, api: Api):
    for method, path, body in READS + WRITES:
        assert api(method, path, body).status == 403
    assert orders(deployed) == [ORDER]


def test_unknown_key_is_refused(deployed: Deployed, api: Api):
    for method, path, body in deployed.by_key:
        assert api(method, path, body, headers={"x-api-key": "guessed" * 5}).status == 403
    assert orders(deployed) == [ORDER]


def test_key_does_not_replace_a_signature(deployed: Deployed, api: Api):
    for method, path, body in deployed.by_iam:
        assert api(method, path, body, headers={"x-api-key": key(deployed)}).status == 403
    assert orders(deployed) == [ORDER]


def test_user_without_a_policy_is_refused(deployed: Deployed, make_user: Any):
    user = make_user(None)
    for request in deployed.by_iam:
        assert signed(deployed, request, user).status == 403
    assert orders(deployed) == [ORDER]


def test_signature_with_a_wrong_secret_is_refused(deployed: Deployed, make_user: Any):
    user = make_user(deployed.iam_policy)
    for request in deployed.by_iam:
        assert signed(deployed, request, Credentials(user.access_key, "guessed" * 5)).status == 403
    assert orders(deployed) == [ORDER]


def test_read_policy_does_not_allow_writes_and_vice_versa(deployed: Deployed, make_user: Any):
    user = make_user(deployed.other_policy)
    for request in deployed.by_iam:
        assert signed(deployed, request, user).status == 403
    assert orders(deployed) == [ORDER]


# --- Allowed -------------------------------------------------------------------------------------


def test_requests_with_a_key_succeed(deployed: Deployed, api: Api):
    statuses = [api(*request, headers={"x-api-key": key(deployed)}).status for request in deployed.by_key]
    assert set(statuses) <= {200, 201, 204}


def test_signed_requests_of_an_allowed_user_succeed(deployed: Deployed, make_user: Any):
    user = make_user(deployed.iam_policy)
    statuses = [signed(deployed, request, user).status for request in deployed.by_iam]
    assert set(statuses) <= {200, 201, 204}


def test_dashboard_and_description_are_public(api: Api):
    assert (api.get("/").status, api.get("/openapi.json").status) == (200, 200)


# --- Keys in logs, CORS, throttling --------------------------------------------------------------


def test_key_is_neither_in_the_package_nor_in_a_log(deployed: Deployed, api: Api):
    value = key(deployed)
    for method, path, body in deployed.by_key:
        api(method, path, body, headers={"x-api-key": value})
    logged = deployed.stack.logs("APIHandler")
    assert logged
    assert not [line for line in logged if value in line]
    assert value not in (deployed.build / "sam.json").read_text()


def test_allowed_origin_can_read_responses(deployed: Deployed):
    assert Api(deployed.stack.api_url).get("/openapi.json").headers["access-control-allow-origin"] == ORIGIN


def test_allowed_origin_can_read_errors(deployed: Deployed, api: Api):
    method = "GET" if deployed.by_key is READS else "DELETE"
    response = api(method, "/orders/none", headers={"x-api-key": key(deployed)})
    assert (response.status, response.headers["access-control-allow-origin"]) == (404, ORIGIN)
    assert response.body.endswith(b"}\n")


def test_callers_with_a_key_are_throttled(deployed: Deployed):
    def limit_to_one_request_per_second(template: Template) -> None:
        template["Parameters"]["KeyRequestsPerSecond"]["Default"] = "1"
        template["Parameters"]["KeyBurst"]["Default"] = "1"

    stack = deploy(deployed.stack.emulator, deployed.build, change=limit_to_one_request_per_second)
    method, path, body = deployed.by_key[0]
    headers = {"x-api-key": key(deployed)}
    assert 429 in [Api(stack.api_url)(method, path, body, headers=headers).status for _ in range(5)]


def test_chalice_local_requires_no_key_but_supports_cors_preflight(deployed: Deployed, tmp_path: Path):
    project = copy_project(tmp_path / "project", {"CORS_ORIGIN": ORIGIN, "READ_ACCESS": "key", "WRITE_ACCESS": "iam"})
    with ChaliceLocal(deployed.stack.emulator, project=project) as local:
        response = Api(local.url)("OPTIONS", "/orders", headers={"Origin": ORIGIN})
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "x-api-key" in response.headers["access-control-allow-headers"].lower()
        assert Api(local.url).get("/totals").status == 200
