"""infrastructure/access.py: the template has for callers what the routes, as packaged, ask them for."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import PackageError, package, read
from tests.projects import copy_project

ORIGIN = "https://shop.example.com"


@pytest.fixture(scope="module")
def open_to_all(packaged_stage: Callable[[str], Path]) -> dict[str, Any]:
    return read(packaged_stage("prod"))


def packaged(folder: Path, reads: str, writes: str) -> Path:
    variables = {"READ_ACCESS": reads, "WRITE_ACCESS": writes, "CORS_ORIGIN": ORIGIN}
    return package("prod", folder / "build", project=copy_project(folder / "project", variables))


@pytest.fixture(scope="module")
def guarded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("guarded"), "iam", "key")


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("keys"), "open", "key")


@pytest.fixture(scope="module")
def keys(keys_file: Path) -> dict[str, Any]:
    return read(keys_file)


@pytest.fixture(scope="module")
def guarded(guarded_file: Path) -> dict[str, Any]:
    return read(guarded_file)


def api(template: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["RestAPI"]["Properties"]
    return properties


def asked(template: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What the routes ask of their callers."""
    return {
        (method.upper(), path): [*operation["security"][0]] if "security" in operation else []
        for path, operations in api(template)["DefinitionBody"]["paths"].items()
        for method, operation in operations.items()
    }


def test_a_stage_is_open_unless_it_says_otherwise(open_to_all: dict[str, Any]):
    assert set(map(tuple, asked(open_to_all).values())) == {()}
    types = {each["Type"] for each in open_to_all["Resources"].values()}
    assert not types & {"AWS::ApiGateway::ApiKey", "AWS::ApiGateway::UsagePlan", "AWS::IAM::ManagedPolicy"}
    assert not [route for route in asked(open_to_all) if route[0] == "OPTIONS"]


def test_the_api_as_a_whole_is_throttled_in_any_case(open_to_all: dict[str, Any], guarded: dict[str, Any]):
    for template in (open_to_all, guarded):
        (settings,) = api(template)["MethodSettings"]
        assert settings["ResourcePath"] == "/*"
        assert settings["ThrottlingRateLimit"] == {"Ref": "ApiRequestsPerSecond"}
        assert int(template["Parameters"]["ApiRequestsPerSecond"]["Default"]) > 0


def test_reads_and_writes_ask_for_what_the_stage_says_and_the_page_for_nothing(guarded: dict[str, Any]):
    for (method, path), names in asked(guarded).items():
        about = path in ("/", "/openapi.json") or method == "OPTIONS"
        assert names == ([] if about else ["sigv4"] if method == "GET" else ["api_key"])


def test_the_key_is_in_a_plan_with_limits_and_its_value_nowhere(guarded: dict[str, Any]):
    resources = guarded["Resources"]
    assert resources["ApiKey"]["Properties"] == {"Name": "order-totals-prod", "Enabled": True}
    plan = resources["UsagePlan"]["Properties"]
    assert plan["ApiStages"] == [{"ApiId": {"Ref": "RestAPI"}, "Stage": {"Ref": "RestAPI.Stage"}}]
    assert plan["Throttle"] == {"RateLimit": {"Ref": "KeyRequestsPerSecond"}, "BurstLimit": {"Ref": "KeyBurst"}}
    assert plan["Quota"] == {"Limit": {"Ref": "KeyRequestsPerDay"}, "Period": "DAY"}
    assert resources["ApiKeyInPlan"]["Properties"]["UsagePlanId"] == {"Ref": "UsagePlan"}


def test_there_is_a_policy_to_read_and_one_to_write(guarded: dict[str, Any]):
    def methods(name: str) -> set[str]:
        (statement,) = guarded["Resources"][name]["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Action"] == ["execute-api:Invoke"]
        return {resource["Fn::Sub"].rpartition("${RestAPI}/api/")[2] for resource in statement["Resource"]}

    assert methods("ReadPolicy") == {"GET/*"}
    assert methods("WritePolicy") == {"POST/*", "PUT/*", "DELETE/*"}


def test_a_page_of_the_allowed_origin_can_ask_and_sees_refusals_too(guarded: dict[str, Any]):
    preflight = api(guarded)["DefinitionBody"]["paths"]["/orders/{order_id}"]["options"]
    headers = preflight["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"]
    assert headers["method.response.header.Access-Control-Allow-Origin"] == f"'{ORIGIN}'"
    assert set(headers["method.response.header.Access-Control-Allow-Methods"].strip("'").split(",")) == {
        "GET",
        "PUT",
        "DELETE",
        "OPTIONS",
    }
    for kind in ("DEFAULT_4XX", "DEFAULT_5XX"):
        sent = api(guarded)["GatewayResponses"][kind]["ResponseParameters"]["Headers"]
        assert sent == {"Access-Control-Allow-Origin": f"'{ORIGIN}'"}


def no_such_route(template: dict[str, Any]) -> Any:
    return api(template).get("GatewayResponses", {}).get("MISSING_AUTHENTICATION_TOKEN")


def test_a_missing_route_is_a_404_in_the_apps_form(open_to_all: dict[str, Any]):
    response = no_such_route(open_to_all)
    assert set(response) == {"StatusCode", "ResponseTemplates"}
    assert response["StatusCode"] == 404
    body = response["ResponseTemplates"]["application/json"]
    assert json.loads(body)["Code"] == "NotFoundError"
    assert body.endswith("}\n")


def test_a_page_of_the_allowed_origin_sees_that_a_route_is_missing(keys: dict[str, Any]):
    assert no_such_route(keys)["StatusCode"] == 404
    assert no_such_route(keys)["ResponseParameters"]["Headers"] == {"Access-Control-Allow-Origin": f"'{ORIGIN}'"}


def test_an_unsigned_request_is_no_missing_route(guarded: dict[str, Any]):
    assert no_such_route(guarded) is None


@pytest.mark.parametrize("access", ["guarded_file", "keys_file"])
def test_cfn_lint_finds_nothing_in_it(access: str, request: pytest.FixtureRequest):
    template: Path = request.getfixturevalue(access)
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed; make test installs it")
    lint = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([lint, "--info", template], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_a_setting_that_there_is_not_makes_no_package(tmp_path: Path):
    project = copy_project(tmp_path / "project", {"READ_ACCESS": "private"})
    with pytest.raises(PackageError, match="READ_ACCESS is 'private': give open, key, iam"):
        package("prod", tmp_path / "build", project=project)


def test_the_shells_settings_are_not_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WRITE_ACCESS", "key")
    assert asked(read(package("prod", tmp_path / "build")))["POST", "/orders"] == []
