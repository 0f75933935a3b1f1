"""Tests for infrastructure/access.py: the template's keys, policies and error responses match the access settings."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import PackageError, package, read_template, require_access
from tests.projects import copy_project
from tests.sam import of_type, translated

ORIGIN = "https://shop.example.com"


@pytest.fixture(scope="module")
def open_file(packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage("prod")


@pytest.fixture(scope="module")
def open_template(open_file: Path) -> dict[str, Any]:
    return read_template(open_file)


def packaged(folder: Path, reads: str, writes: str) -> Path:
    variables = {"READ_ACCESS": reads, "WRITE_ACCESS": writes, "CORS_ORIGIN": ORIGIN}
    return package("prod", folder / "build", project=copy_project(folder / "project", variables))


@pytest.fixture(scope="module")
def protected_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("protected"), "iam", "key")


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("keys"), "open", "key")


@pytest.fixture(scope="module")
def keys(keys_file: Path) -> dict[str, Any]:
    return read_template(keys_file)


@pytest.fixture(scope="module")
def protected(protected_file: Path) -> dict[str, Any]:
    return read_template(protected_file)


def api(template: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["RestAPI"]["Properties"]
    return properties


def required_schemes(template: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Return the security schemes that each route requires."""
    return {
        (method.upper(), path): [*operation["security"][0]] if "security" in operation else []
        for path, operations in api(template)["DefinitionBody"]["paths"].items()
        for method, operation in operations.items()
    }


def test_open_stage_requires_nothing(open_template: dict[str, Any]):
    assert set(map(tuple, required_schemes(open_template).values())) == {()}
    types = {each["Type"] for each in open_template["Resources"].values()}
    assert not types & {"AWS::ApiGateway::ApiKey", "AWS::ApiGateway::UsagePlan", "AWS::IAM::ManagedPolicy"}
    assert not [route for route in required_schemes(open_template) if route[0] == "OPTIONS"]


def test_each_method_is_throttled_and_lists_more_than_others(open_file: Path, protected_file: Path):
    for file in (open_file, protected_file):
        template = translated(file)
        (stage,) = of_type(template, "AWS::ApiGateway::Stage").values()
        rates = {
            (each["HttpMethod"], each["ResourcePath"]): template["Parameters"][each["ThrottlingRateLimit"]["Ref"]]
            for each in stage["MethodSettings"]
        }
        assert {route: int(rate["Default"]) for route, rate in rates.items()} == {
            ("*", "/*"): 500,
            ("POST", "/~1orders"): 500,
            ("GET", "/~1totals"): 100,
        }
        paths = api(read_template(file))["DefinitionBody"]["paths"]
        assert "post" in paths["/orders"]
        assert "get" in paths["/totals"]


def test_reads_and_writes_require_the_stage_settings_and_the_dashboard_requires_nothing(protected: dict[str, Any]):
    for (method, path), names in required_schemes(protected).items():
        public = path in ("/", "/docs", "/openapi.json") or method == "OPTIONS"
        assert names == ([] if public else ["sigv4"] if method == "GET" else ["api_key"])


def test_api_key_is_in_a_usage_plan_with_limits_and_has_no_value(protected: dict[str, Any]):
    resources = protected["Resources"]
    assert resources["ApiKey"]["Properties"] == {"Name": "order-totals-prod", "Enabled": True}
    plan = resources["UsagePlan"]["Properties"]
    assert plan["ApiStages"] == [{"ApiId": {"Ref": "RestAPI"}, "Stage": {"Ref": "RestAPI.Stage"}}]
    assert plan["Throttle"] == {"RateLimit": {"Ref": "KeyRequestsPerSecond"}, "BurstLimit": {"Ref": "KeyBurst"}}
    assert plan["Quota"] == {"Limit": {"Ref": "KeyRequestsPerDay"}, "Period": "DAY"}
    assert resources["ApiKeyInPlan"]["Properties"]["UsagePlanId"] == {"Ref": "UsagePlan"}


def test_iam_access_adds_a_read_policy_and_a_write_policy(protected: dict[str, Any]):
    def methods(name: str) -> set[str]:
        (statement,) = protected["Resources"][name]["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Action"] == ["execute-api:Invoke"]
        return {resource["Fn::Sub"].rpartition("${RestAPI}/api/")[2] for resource in statement["Resource"]}

    assert methods("ReadPolicy") == {"GET/*"}
    assert methods("WritePolicy") == {"POST/*", "PUT/*", "DELETE/*"}


def test_allowed_origin_passes_preflight_and_can_read_errors(protected: dict[str, Any]):
    preflight = api(protected)["DefinitionBody"]["paths"]["/orders/{order_id}"]["options"]
    headers = preflight["x-amazon-apigateway-integration"]["responses"]["default"]["responseParameters"]
    assert headers["method.response.header.Access-Control-Allow-Origin"] == f"'{ORIGIN}'"
    assert set(headers["method.response.header.Access-Control-Allow-Methods"].strip("'").split(",")) == {
        "GET",
        "PUT",
        "DELETE",
        "OPTIONS",
    }
    for kind in ("DEFAULT_4XX", "DEFAULT_5XX"):
        sent = api(protected)["GatewayResponses"][kind]["ResponseParameters"]["Headers"]
        assert sent == {"Access-Control-Allow-Origin": f"'{ORIGIN}'"}


def missing_route_response(template: dict[str, Any]) -> Any:
    return api(template).get("GatewayResponses", {}).get("MISSING_AUTHENTICATION_TOKEN")


def test_missing_route_is_a_404_in_the_apps_error_format(open_template: dict[str, Any]):
    response = missing_route_response(open_template)
    assert set(response) == {"StatusCode", "ResponseTemplates"}
    assert response["StatusCode"] == 404
    body = response["ResponseTemplates"]["application/json"]
    assert json.loads(body)["Code"] == "NotFoundError"
    assert body.endswith("}\n")


def test_allowed_origin_can_read_the_404_of_a_missing_route(keys: dict[str, Any]):
    assert missing_route_response(keys)["StatusCode"] == 404
    assert missing_route_response(keys)["ResponseParameters"]["Headers"] == {
        "Access-Control-Allow-Origin": f"'{ORIGIN}'"
    }


def test_unsigned_request_is_not_reported_as_a_missing_route(protected: dict[str, Any]):
    assert missing_route_response(protected) is None


def test_cfn_lint_reports_nothing(protected_file: Path, keys_file: Path):
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed; make test installs it")
    lint = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([lint, "--info", protected_file, keys_file], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_unknown_access_setting_fails_packaging(tmp_path: Path):
    project = copy_project(tmp_path / "project", {"READ_ACCESS": "private", "WRITE_ACCESS": "open"})
    with pytest.raises(PackageError, match=r"READ_ACCESS is 'private'\. Set it to one of: open, key, iam"):
        package("prod", tmp_path / "build", project=project)


def test_access_settings_of_the_shell_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WRITE_ACCESS", "key")
    assert required_schemes(read_template(package("dev", tmp_path / "build")))["POST", "/orders"] == []


@pytest.mark.parametrize("stated", [{}, {"READ_ACCESS": "open"}, {"WRITE_ACCESS": "iam"}])
def test_protected_stage_must_state_who_may_read_and_who_may_write(tmp_path: Path, stated: dict[str, str]):
    project = copy_project(tmp_path / "project", stated)
    with pytest.raises(PackageError, match=r"prod does not state .* READ_ACCESS and WRITE_ACCESS .* open, key, iam"):
        package("prod", tmp_path / "build", project=project)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("stage", ["local", "dev"])
def test_local_and_dev_need_not_state_their_access(stage: str):
    require_access(stage, {})


def test_stage_can_be_opened_to_everyone():
    require_access("prod", {"READ_ACCESS": "open", "WRITE_ACCESS": "open"})
