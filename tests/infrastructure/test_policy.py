"""infrastructure/policy.py: limits the actions that Chalice grants on all resources to the app's own resources."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib import tables
from infrastructure.package import PackageError, package, read_template
from infrastructure.policy import PolicyError, narrow

TEMPLATE = {
    "Resources": {
        "OrdersTable": {"Type": "AWS::DynamoDB::Table"},
        "LedgerTable": {"Type": "AWS::DynamoDB::Table"},
        "Aggregate": {"Type": "AWS::Serverless::Function"},
        "FailureQueue": {"Type": "AWS::SQS::Queue"},
    }
}
TABLES = [{"Fn::GetAtt": ["OrdersTable", "Arn"]}, {"Fn::GetAtt": ["LedgerTable", "Arn"]}]
LOGS = [
    {
        "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}"
        ":log-group:/aws/lambda/${AWS::StackName}-Aggregate-*"
    }
]
STREAM = [{"Fn::Sub": "${OrdersTable.Arn}/stream/*"}]


def allow(actions: Any, resource: Any = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


@pytest.mark.parametrize(
    ("actions", "resources"),
    [
        (["dynamodb:GetItem", "dynamodb:PutItem"], TABLES),
        (["dynamodb:DescribeStream", "dynamodb:GetRecords"], STREAM),
        (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], LOGS),
        (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
    ],
)
def test_actions_are_kept_and_limited_to_their_resources(actions: list[str], resources: list[Any]):
    assert narrow(TEMPLATE, [allow(actions)]) == [allow(actions, resources)]


def test_statement_with_several_kinds_of_resources_is_split():
    statement = {"Sid": "5f2", **allow(["dynamodb:GetItem", "dynamodb:GetRecords", "dynamodb:PutItem"])}
    assert narrow(TEMPLATE, [statement]) == [
        allow(["dynamodb:GetItem", "dynamodb:PutItem"], TABLES),
        allow(["dynamodb:GetRecords"], STREAM),
    ]


def test_action_given_as_a_string_is_narrowed():
    assert narrow(TEMPLATE, [allow("dynamodb:Scan")]) == [allow(["dynamodb:Scan"], TABLES)]


def test_action_without_known_resources_is_refused():
    with pytest.raises(PolicyError, match=r"s3:GetObject.*policy\.py"):
        narrow(TEMPLATE, [allow(["dynamodb:GetItem", "s3:GetObject"])])


# --- As packaged ---------------------------------------------------------------------------------


def statements(template_file: Path) -> list[dict[str, Any]]:
    role = read_template(template_file)["Resources"]["DefaultRole"]["Properties"]
    return [statement for each in role["Policies"] for statement in each["PolicyDocument"]["Statement"]]


@pytest.fixture(scope="module")
def packaged(packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage("prod")


def test_packaged_policy_grants_nothing_on_all_resources(packaged: Path):
    for statement in statements(packaged):
        for resource in statement["Resource"]:
            named = resource.get("Fn::GetAtt", [""])[0] in tables.KEYS
            derived = any(own in json.dumps(resource) for own in ("${OrdersTable.Arn}", "${AWS::StackName}"))
            assert named or derived


def test_packaging_again_writes_the_same_template(packaged: Path, tmp_path: Path):
    assert package("prod", tmp_path / "again").read_bytes() == packaged.read_bytes()


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
