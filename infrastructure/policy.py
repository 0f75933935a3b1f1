"""The policy that Chalice generates, narrowed from everything in the account to what is the app's own.

Chalice derives from app.py which actions the functions need, and grants them on `*`. Here each of its statements
keeps its actions and gets the resources that actions of that kind can be about. Nothing is granted here, and an
action that is not known here is refused, so that none stays on `*` because nobody has thought of it.

`chalice deploy` does not come by here: it grants what Chalice generates.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib import tables

Statement = dict[str, Any]
Template = Mapping[str, Any]


class PolicyError(Exception):
    """There is an action to which this module knows no resources; the message says what to do."""


def narrowed(template: Template, statements: Iterable[Statement]) -> list[Statement]:
    """The statements with the same actions, each on the template's own resources only. Raises PolicyError.

    Without Chalice's statement ids, which are random and would make every package another one.
    """
    return [
        {"Effect": statement["Effect"], "Action": actions, "Resource": resources}
        for statement in statements
        for actions, resources in _by_resources(template, statement["Action"])
    ]


def _by_resources(template: Template, actions: str | Sequence[str]) -> list[tuple[list[str], list[Any]]]:
    """The actions, those together that have the same resources."""
    groups: list[tuple[list[str], list[Any]]] = []
    for action in [actions] if isinstance(actions, str) else actions:
        own = _resources(template, action)
        for others, resources in groups:
            if resources == own:
                others.append(action)
                break
        else:
            groups.append(([action], own))
    return groups


# What actions can be about is from the Service Authorization Reference.
STREAM_ACTIONS = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
}
NO_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""Actions that IAM grants on `*` or not at all. Chalice asks for them in stages with `"xray": true`."""


def _resources(template: Template, action: str) -> list[Any]:
    """What an action can be about in this app."""
    service = action.partition(":")[0]
    if action in NO_RESOURCES:
        return ["*"]
    if action in STREAM_ACTIONS:
        return [{"Fn::Sub": f"${{{tables.ORDERS}.Arn}}/stream/*"}]
    if service == "dynamodb":
        return [{"Fn::GetAtt": [name, "Arn"]} for name in _of_type(template, "AWS::DynamoDB::Table")]
    if service == "logs":
        return [_log_group(name) for name in _of_type(template, "AWS::Serverless::Function")]
    raise PolicyError(
        f"Chalice grants {action}, since app.py calls it, and infrastructure/policy.py does not know on what: "
        "add there which of the template's resources it is about."
    )


def _log_group(function: str) -> dict[str, str]:
    """A function's log group. By the name that CloudFormation will make, for the function itself needs the role first.

    The name is cut if it were longer than 64 characters (Lambda's limit), so a stack's name is to have 35 at most.
    """
    group = f"/aws/lambda/${{AWS::StackName}}-{function}-*"
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:{group}"}


def _of_type(template: Template, resource_type: str) -> list[str]:
    return [name for name, resource in template["Resources"].items() if resource["Type"] == resource_type]
