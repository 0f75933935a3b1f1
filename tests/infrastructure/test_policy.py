"""infrastructure/policy.py: what Chalice grants on everything is granted on what is the app's own, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib import tables
from infrastructure.package import PackageError, package, read
from infrastructure.policy import PolicyError, narrowed

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
def test_actions_are_kept_and_granted_on_what_they_can_be_about(actions: list[str], resources: list[Any]):
    assert narrowed(TEMPLATE, [allow(actions)]) == [allow(actions, resources)]


def test_a_statement_about_several_kinds_of_resources_is_split_by_kind():
    statement = {"Sid": "5f2", **allow(["dynamodb:GetItem", "dynamodb:GetRecords", "dynamodb:PutItem"])}
    assert narrowed(TEMPLATE, [statement]) == [
        allow(["dynamodb:GetItem", "dynamodb:PutItem"], TABLES),
        allow(["dynamodb:GetRecords"], STREAM),
    ]


def test_an_action_that_stands_alone_is_narrowed_too():
    assert narrowed(TEMPLATE, [allow("dynamodb:Scan")]) == [allow(["dynamodb:Scan"], TABLES)]


def test_an_action_without_known_resources_is_refused_and_not_left_on_everything():
    with pytest.raises(PolicyError, match=r"s3:GetObject.*policy\.py"):
        narrowed(TEMPLATE, [allow(["dynamodb:GetItem", "s3:GetObject"])])


# --- As packaged ---------------------------------------------------------------------------------


def statements(template_file: Path) -> list[dict[str, Any]]:
    role = read(template_file)["Resources"]["DefaultRole"]["Properties"]
    return [statement for each in role["Policies"] for statement in each["PolicyDocument"]["Statement"]]


@pytest.fixture(scope="module")
def packaged(packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage("prod")


def test_nothing_that_is_packaged_is_granted_on_everything(packaged: Path):
    for statement in statements(packaged):
        for resource in statement["Resource"]:
            named = resource.get("Fn::GetAtt", [""])[0] in tables.KEYS
            derived = any(own in json.dumps(resource) for own in ("${OrdersTable.Arn}", "${AWS::StackName}"))
            assert named or derived


def test_packaging_again_makes_the_same_template(packaged: Path, tmp_path: Path):
    assert package("prod", tmp_path / "again").read_bytes() == packaged.read_bytes()


def test_tracing_can_be_switched_on_for_a_stage(project: Path, tmp_path: Path):
    config = project / ".chalice" / "config.json"
    config.write_text(config.read_text().replace('"xray": false', '"xray": true'))
    written = package("dev", tmp_path / "build", project=project)
    assert read(written)["Resources"]["Aggregate"]["Properties"]["Tracing"] == "Active"
    assert "xray:PutTraceSegments" in [action for each in statements(written) for action in each["Action"]]


def test_a_call_to_a_service_that_the_policy_does_not_know_is_refused_when_packaging(project: Path, tmp_path: Path):
    app = project / "app.py"
    call = '\n\n@app.route("/buckets", methods=["GET"])\ndef buckets():\n    return boto3.client("s3").list_buckets()\n'
    app.write_text(app.read_text() + call)
    with pytest.raises(PackageError, match=r"s3:.*policy\.py"):
        package("dev", tmp_path / "build", project=project)
