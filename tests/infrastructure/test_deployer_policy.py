"""Tests that infrastructure/deployer-policy.json allows everything that deploying needs, and nothing else.

cfn-lint contains CloudFormation's list of the actions for each resource type. These tests compare the policy with
that list, for the types in the template, and with the AWS calls of `make provision`.
"""

import ast
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from infrastructure.package import PROJECT, package
from tests.projects import copy_project
from tests.sam import translated

POLICY = json.loads((PROJECT / "infrastructure" / "deployer-policy.json").read_text(encoding="utf-8"))
ALLOWED = {action for statement in POLICY["Statement"] for action in statement["Action"]}
# The S3 actions that the two `aws cloudformation` commands and the commands in the runbook need.
COMMANDS = {"s3:PutObject", "s3:GetObject", "s3:ListBucket"}

# Actions that CloudFormation may use for these resource types, but not for the template's resources.
NOT_NEEDED = (
    # For functions in a VPC, and for tables and buckets that import or export data.
    "ec2:*", "elasticfilesystem:*", "firehose:*", "kinesis:*", "s3files:*", "s3tables:*", "dynamodb:*Kinesis*",
    "dynamodb:ImportTable", "dynamodb:DescribeImport", "s3:*Metadata*",
    # For tables with replicas, resource policies or contributor insights.
    "dynamodb:*Replica", "dynamodb:PutResourcePolicy", "dynamodb:DeleteResourcePolicy",
    "dynamodb:UpdateContributorInsights", "dynamodb:*Item", "dynamodb:Query", "dynamodb:Scan",
    "iam:CreateServiceLinkedRole", "kms:ListAliases", "kms:RevokeGrant", "kms:GenerateDataKey",
    # For roles with attached policies or permissions boundaries.
    "iam:Attach*", "iam:Detach*", "iam:*PermissionsBoundary",
    # For functions with layers, versions, code signing or other settings.
    "lambda:AssociateRuntimeAlias", "lambda:*LayerVersion", "lambda:PassCapacityProvider", "lambda:PublishVersion",
    "lambda:PutFunctionCodeSigningConfig", "lambda:PutFunctionRecursionConfig", "lambda:PutFunctionScalingConfig",
    "lambda:GetCodeSigningConfig", "lambda:DeleteFunctionCodeSigningConfig", "lambda:PutRuntimeManagementConfig",
    "s3:GetObjectVersion",
    # For log groups with keys, policies or deliveries.
    "logs:*KmsKey", "logs:*LogDelivery", "logs:PutBearer*", "logs:PutLogGroup*", "logs:CreateLogStream",
    "logs:DescribeLogStreams", "logs:PutLogEvents", "s3:REST.*", "logs:DeleteDataProtectionPolicy",
    "logs:DeleteIndexPolicy", "logs:DeleteResourcePolicy", "logs:PutDataProtectionPolicy", "logs:PutIndexPolicy",
    "logs:PutResourcePolicy",
    # For APIs with resource policies.
    "apigateway:UpdateRestApiPolicy",
)  # fmt: skip


def permissions_by_type() -> dict[str, set[str]]:
    """Return the actions that CloudFormation uses for each resource type."""
    folder = Path(cfnlint.__file__).parent / "data" / "schemas" / "resources"
    found: dict[str, set[str]] = {}
    for file in folder.glob("*.json"):
        schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        handlers = schema.get("handlers", {}).values()
        actions = {action for handler in handlers for action in handler.get("permissions", [])}
        found.setdefault(schema.get("typeName", ""), set()).update(actions)
    return found


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the actions that CloudFormation uses for the resource types in a template with all access settings."""
    folder = tmp_path_factory.mktemp("deployer")
    project = copy_project(folder / "project", {"READ_ACCESS": "iam", "WRITE_ACCESS": "key"})
    template = translated(package("prod", folder / "build", project=project))
    by_type = permissions_by_type()
    types = {each["Type"] for each in template["Resources"].values()}
    assert types <= by_type.keys()
    return {action for each in types for action in by_type[each]}


def provision_calls() -> set[str]:
    """Return the actions that the AWS calls of `make provision` need."""
    tree = ast.parse((PROJECT / "infrastructure" / "provision.py").read_text(encoding="utf-8"))
    calls = [
        node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    services = {"dynamodb": "dynamodb", "_dynamodb": "dynamodb", "functions": "lambda"}
    found = set()
    for call in calls:
        owner = call.value.attr if isinstance(call.value, ast.Attribute) else getattr(call.value, "id", "")
        if owner in services and call.attr != "get_paginator":
            found.add(f"{services[owner]}:{''.join(word.capitalize() for word in call.attr.split('_'))}")
    return found


def allowed(action: str) -> bool:
    return any(fnmatch(action, pattern) for pattern in ALLOWED)


def test_deployer_may_do_what_cloudformation_does_for_the_template(used: set[str]):
    needed = {action for action in used if not any(fnmatch(action, pattern) for pattern in NOT_NEEDED)}
    s3_settings = {action for action in needed if action.startswith("s3:") and not allowed(action)}
    assert {action for action in needed if not allowed(action)} - s3_settings == set()
    # A bucket has many settings. The template uses only these three.
    assert not {each for each in s3_settings if "PublicAccess" in each or "Lifecycle" in each or "Tagging" in each}


def test_deployer_may_do_what_provision_does():
    calls = provision_calls()
    assert {"dynamodb:CreateTable", "dynamodb:UpdateTimeToLive", "lambda:DeleteEventSourceMapping"} <= calls
    assert {action for action in calls if not allowed(action)} == set()


def test_deployer_may_do_nothing_that_deploying_does_not_need(used: set[str]):
    possible = used | provision_calls() | COMMANDS
    unknown = {each for each in ALLOWED if not any(fnmatch(action, each) for action in possible)}
    assert {each for each in unknown if not each.startswith("cloudformation:")} == set()
    assert not {action for action in ALLOWED if action.startswith("dynamodb:") and action.endswith("Item")}
