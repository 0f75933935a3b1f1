"""infrastructure/deployer-policy.json: what deploying needs, and nothing else.

cfn-lint brings CloudFormation's own list of the actions that it uses for each type of resource. These tests compare the
policy with this list, for the types in the template, and with the calls of `make provision`.
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
# Of the two `aws cloudformation` commands and the commands in the runbook.
COMMANDS = {"s3:PutObject", "s3:GetObject", "s3:ListBucket"}

# What CloudFormation may use for these types, but not for resources like the template's.
NOT_NEEDED = (
    # Other services, of functions in a network, and of tables and buckets that send or import data.
    "ec2:*", "elasticfilesystem:*", "firehose:*", "kinesis:*", "s3files:*", "s3tables:*", "dynamodb:*Kinesis*",
    "dynamodb:ImportTable", "dynamodb:DescribeImport", "s3:*Metadata*",
    # Replicas, resource policies and contributor insights of tables.
    "dynamodb:*Replica", "dynamodb:PutResourcePolicy", "dynamodb:DeleteResourcePolicy",
    "dynamodb:UpdateContributorInsights", "dynamodb:*Item", "dynamodb:Query", "dynamodb:Scan",
    "iam:CreateServiceLinkedRole", "kms:ListAliases", "kms:RevokeGrant", "kms:GenerateDataKey",
    # Attached policies and permissions boundaries of roles.
    "iam:Attach*", "iam:Detach*", "iam:*PermissionsBoundary",
    # Layers, versions, code signing and other settings of functions.
    "lambda:AssociateRuntimeAlias", "lambda:*LayerVersion", "lambda:PassCapacityProvider", "lambda:PublishVersion",
    "lambda:PutFunctionCodeSigningConfig", "lambda:PutFunctionRecursionConfig", "lambda:PutFunctionScalingConfig",
    "lambda:GetCodeSigningConfig", "lambda:DeleteFunctionCodeSigningConfig", "lambda:PutRuntimeManagementConfig",
    "s3:GetObjectVersion",
    # Keys, policies and deliveries of log groups.
    "logs:*KmsKey", "logs:*LogDelivery", "logs:PutBearer*", "logs:PutLogGroup*", "logs:CreateLogStream",
    "logs:DescribeLogStreams", "logs:PutLogEvents", "s3:REST.*", "logs:DeleteDataProtectionPolicy",
    "logs:DeleteIndexPolicy", "logs:DeleteResourcePolicy", "logs:PutDataProtectionPolicy", "logs:PutIndexPolicy",
    "logs:PutResourcePolicy",
    # Policies of APIs.
    "apigateway:UpdateRestApiPolicy",
)  # fmt: skip


def permissions_by_type() -> dict[str, set[str]]:
    """Return the actions that CloudFormation uses for each type of resource."""
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
    """Return what CloudFormation uses for the types in the template of a stage with every kind of access."""
    folder = tmp_path_factory.mktemp("deployer")
    project = copy_project(folder / "project", {"READ_ACCESS": "iam", "WRITE_ACCESS": "key"})
    template = translated(package("prod", folder / "build", project=project))
    by_type = permissions_by_type()
    types = {each["Type"] for each in template["Resources"].values()}
    assert types <= by_type.keys()
    return {action for each in types for action in by_type[each]}


def provision_calls() -> set[str]:
    """Return the actions of the calls that `make provision` makes."""
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
    # Of the many settings of a bucket, the template has three.
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
