"""Narrow the IAM policy that Chalice generates to the app's own resources.

Chalice derives from app.py which actions the functions need, and grants them on `*`. This module keeps the actions and
replaces `*` with the app's own resources. It grants no further action. It refuses an action that it does not know, so
that none stays on `*` by accident.

Only `make package` uses this. `chalice deploy` grants the policy as Chalice generates it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib import tables

Statement = dict[str, Any]
Template = Mapping[str, Any]


class PolicyError(Exception):
    """An action's resources are not listed in this module. The message says what to do."""


def narrow(template: Template, statements: Iterable[Statement]) -> list[Statement]:
    """Return statements with the same actions, limited to the template's own resources. Raise PolicyError.

    Drop Chalice's statement ids: they are random, so they would make every package different.
    """
    return [
        {"Effect": statement["Effect"], "Action": actions, "Resource": resources}
        for statement in statements
        for actions, resources in _by_resources(template, statement["Action"])
    ]


def _by_resources(template: Template, actions: str | Sequence[str]) -> list[tuple[list[str], list[Any]]]:
    """Return the actions in groups that have the same resources, each with those resources."""
    groups: list[tuple[list[str], list[Any]]] = []
    for action in [actions] if isinstance(actions, str) else actions:
        needed = _resources(template, action)
        for others, resources in groups:
            if resources == needed:
                others.append(action)
                break
        else:
            groups.append(([action], needed))
    return groups


# Source for the resources of each action: AWS Service Authorization Reference.
STREAM_ACTIONS = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
}
ACTIONS_WITHOUT_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""Actions that IAM can only grant on `*`. Chalice needs them in stages with `"xray": true`."""


def _resources(template: Template, action: str) -> list[Any]:
    """Return the resources of this app that an action needs. Raise PolicyError if they are unknown."""
    service = action.partition(":")[0]
    if action in ACTIONS_WITHOUT_RESOURCES:
        return ["*"]
    if action in STREAM_ACTIONS:
        return [{"Fn::Sub": f"${{{tables.ORDERS}.Arn}}/stream/*"}]
    if service == "dynamodb":
        return [{"Fn::GetAtt": [name, "Arn"]} for name in _of_type(template, "AWS::DynamoDB::Table")]
    if service == "logs":
        return [_log_group(name) for name in _of_type(template, "AWS::Serverless::Function")]
    raise PolicyError(
        f"app.py uses {action}, but infrastructure/policy.py does not list the resources it needs. "
        "Add them to _resources in that file."
    )


def _log_group(function: str) -> dict[str, str]:
    """Return the ARN of a function's log group, with a pattern for the name that CloudFormation will generate.

    A reference to the function would be circular, because the function needs the role first. CloudFormation shortens
    names of more than 64 characters (Lambda's limit), so a stack's name must have at most 35.
    """
    group = f"/aws/lambda/${{AWS::StackName}}-{function}-*"
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:{group}"}


def _of_type(template: Template, resource_type: str) -> list[str]:
    return [name for name, resource in template["Resources"].items() if resource["Type"] == resource_type]
