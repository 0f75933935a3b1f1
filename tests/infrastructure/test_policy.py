"""Tests for infrastructure/policy.py: each function has its own role, with no actions beyond Chalice's policy."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from chalicelib import tables
from infrastructure import policy
from infrastructure.package import PackageError, package, read_template
from tests.projects import package_open
from tests.sam import of_type, translated

GRANTED = {
    f"dynamodb:{action}" for by_table in policy.GRANTS.values() for actions in by_table.values() for action in actions
}


def test_actions_that_are_generated_and_granted_are_accepted():
    policy.check({*GRANTED, *policy.STREAM_ACTIONS, *policy.LOG_ACTIONS, "xray:PutTraceSegments"}, policy.GRANTS)


@pytest.mark.parametrize(
    ("generated", "functions", "message"),
    [
        (GRANTED | {"s3:GetObject"}, policy.GRANTS, "app.py uses s3:GetObject, which GRANTS gives to no function. Add"),
        (GRANTED - {"dynamodb:Scan"}, policy.GRANTS, "GRANTS has dynamodb:Scan, which app.py does not use. Remove it"),
        (GRANTED, [*policy.GRANTS, "Resize"], "app.py has the functions Resize, which GRANTS lacks. Add them"),
    ],
)
def test_grants_that_do_not_fit_the_app_are_refused(generated: set[str], functions: Iterable[str], message: str):
    with pytest.raises(policy.PolicyError, match=rf"^{re.escape(message)}.* in infrastructure/policy\.py\.$"):
        policy.check(generated, functions)


# --- Roles in the packaged template --------------------------------------------------------------


def statements(template_file: Path) -> list[dict[str, Any]]:
    return [
        statement
        for role in of_type(translated(template_file), "AWS::IAM::Role").values()
        for each in role["Policies"]
        for statement in each["PolicyDocument"]["Statement"]
    ]


@pytest.fixture(scope="module")
def packaged(packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage("prod")


def test_each_function_has_its_own_role(packaged: Path):
    functions = of_type(translated(packaged), "AWS::Lambda::Function")
    roles = {name: each["Role"] for name, each in functions.items()}
    assert roles == {name: {"Fn::GetAtt": [f"{name}Role", "Arn"]} for name in policy.GRANTS}


def test_roles_allow_nothing_on_all_resources(packaged: Path):
    found = statements(packaged)
    own = {*tables.KEYS, "FailedBatches", *(f"{function}LogGroup" for function in policy.GRANTS)}
    derived = ("${OrdersTable.Arn}/stream/*", "${FailedBatches.Arn}/*")
    for statement in found:
        (resource,) = statement["Resource"]
        assert resource.get("Fn::GetAtt", [""])[0] in own or resource["Fn::Sub"] in derived
    assert len(found) > len(policy.GRANTS)


def test_packaging_again_writes_the_same_template(packaged: Path, tmp_path: Path):
    assert package_open("prod", tmp_path).read_bytes() == packaged.read_bytes()


def test_tracing_can_be_enabled_for_a_stage(project: Path, tmp_path: Path):
    config = project / ".chalice" / "config.json"
    config.write_text(config.read_text().replace('"xray": false', '"xray": true'))
    written = package("dev", tmp_path / "build", project=project)
    assert read_template(written)["Resources"]["Aggregate"]["Properties"]["Tracing"] == "Active"
    assert "xray:PutTraceSegments" in [action for each in statements(written) for action in each["Action"]]


def test_packaging_fails_if_the_app_calls_an_unknown_service(project: Path, tmp_path: Path):
    app = project / "app.py"
    call = '\n\n@app.route("/buckets", methods=["GET"])\ndef buckets():\n    return boto3.client("s3").list_buckets()\n'
    app.write_text(app.read_text() + call)
    with pytest.raises(PackageError, match=r"s3:.*policy\.py"):
        package("dev", tmp_path / "build", project=project)
