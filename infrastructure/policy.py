"""The roles of the packaged functions: the actions that each function may use on each table.

Chalice derives the app's actions from app.py and grants all of them to every function, on `*`. GRANTS assigns each
action to functions and tables. Packaging fails if GRANTS and Chalice's policy do not have the same actions.

Only `make package` uses this. `chalice deploy` grants the policy as Chalice generates it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib import tables
from chalicelib.views import VIEWS
from infrastructure import template

VIEW_TABLES = "VIEW_TABLES"
SORTED_VIEW_TABLES = "SORTED_VIEW_TABLES"
TOP_VIEW_TABLES = "TOP_VIEW_TABLES"
"""Stand in GRANTS for the table of each view, of each one with a sort key, and of each one with `top`."""

READS = ("BatchGetItem", "Scan")

GRANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "APIHandler": {
        tables.ORDERS: ("DeleteItem", "GetItem", "PutItem", "Scan", "UpdateItem"),
        tables.LEDGER: ("BatchGetItem", "GetItem"),
        VIEW_TABLES: ("GetItem", "Scan"),
        SORTED_VIEW_TABLES: ("Query",),
        tables.STATE: ("BatchGetItem", "GetItem", "UpdateItem"),
    },
    "Aggregate": {
        tables.LEDGER: ("BatchGetItem", "PutItem"),
        VIEW_TABLES: ("UpdateItem",),
        tables.STATE: ("UpdateItem",),
    },
    "Backfill": {
        tables.ORDERS: READS,
        tables.LEDGER: ("BatchGetItem", "PutItem"),
        VIEW_TABLES: ("UpdateItem",),
        tables.STATE: ("GetItem", "UpdateItem"),
    },
    "Audit": {
        tables.ORDERS: READS,
        tables.LEDGER: (*READS, "PutItem"),
        VIEW_TABLES: ("Scan", "UpdateItem"),
        tables.STATE: ("GetItem", "UpdateItem"),
    },
    "DailyAudit": {
        tables.ORDERS: READS,
        tables.LEDGER: READS,
        VIEW_TABLES: ("Scan",),
        tables.STATE: ("BatchGetItem", "GetItem", "UpdateItem"),
    },
    "RefreshTopLists": {TOP_VIEW_TABLES: ("Scan",), tables.STATE: ("BatchGetItem", "UpdateItem")},
}
"""DynamoDB actions by function and table. A function may do nothing else with a table."""

# The resource types of each action. Source: AWS Service Authorization Reference.
STREAM_ACTIONS = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
}
# The log group exists before the function, so the function needs no permission to create it.
LOG_ACTIONS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
ACTIONS_WITHOUT_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""Actions that IAM can only grant on `*`. Chalice needs them in stages with `"xray": true`."""

Statement = dict[str, Any]


class PolicyError(Exception):
    """GRANTS and the app's actions differ. The message says what to do."""


def add_roles(packaged: dict[str, Any], more: Mapping[str, Iterable[Statement]]) -> None:
    """Replace the shared role with one role for each function. Raise PolicyError.

    `more` has additional statements by function.
    """
    shared = packaged["Resources"].pop(template.ROLE)["Properties"]
    generated = {
        action
        for policy in shared["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in statement["Action"]
    }
    check(generated, template.functions(packaged))
    for name, properties in template.functions(packaged).items():
        statements = [*_statements(name, generated), *more.get(name, [])]
        policy = {"PolicyName": name, "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
        packaged["Resources"][role(name)] = {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": shared["AssumeRolePolicyDocument"], "Policies": [policy]},
        }
        properties["Role"] = {"Fn::GetAtt": [role(name), "Arn"]}


def role(function: str) -> str:
    """Return the logical name of a function's role."""
    return f"{function}Role"


def allow(actions: Iterable[str], resources: Iterable[Any]) -> Statement:
    """Return a statement that allows actions on resources."""
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": [*resources]}


def check(generated: set[str], functions: Iterable[str]) -> None:
    """Raise PolicyError unless GRANTS has all functions and exactly the actions of Chalice's policy."""
    granted = {f"dynamodb:{action}" for by_table in GRANTS.values() for each in by_table.values() for action in each}
    known = STREAM_ACTIONS | LOG_ACTIONS | ACTIONS_WITHOUT_RESOURCES
    for problem, names in (
        ("app.py has the functions {}, which GRANTS lacks. Add them", set(functions) - GRANTS.keys()),
        ("app.py uses {}, which GRANTS gives to no function. Add it", generated - granted - known),
        ("GRANTS has {}, which app.py does not use. Remove it", granted - generated),
    ):
        if names:
            raise PolicyError(f"{problem.format(', '.join(sorted(names)))} in infrastructure/policy.py.")


def _tables(key: str) -> list[str]:
    """Return the tables to which a key of GRANTS refers."""
    return {
        VIEW_TABLES: [*VIEWS],
        SORTED_VIEW_TABLES: [table for table, view in VIEWS.items() if len(view.key) == 2],
        TOP_VIEW_TABLES: [table for table, view in VIEWS.items() if view.top],
    }.get(key, [key])


def _statements(function: str, generated: set[str]) -> list[Statement]:
    """Return a function's policy statements: tables, log, traces, and the stream for the stream handler."""
    statements = [
        allow((f"dynamodb:{action}" for action in actions), [{"Fn::GetAtt": [table, "Arn"]}])
        for key, actions in GRANTS[function].items()
        for table in _tables(key)
    ]
    statements.append(
        allow(LOG_ACTIONS - {"logs:CreateLogGroup"}, [{"Fn::GetAtt": [template.log_group(function), "Arn"]}])
    )
    if function == template.STREAM_FUNCTION:
        statements.append(allow(STREAM_ACTIONS, [{"Fn::Sub": f"${{{tables.ORDERS}.Arn}}/stream/*"}]))
    if traces := ACTIONS_WITHOUT_RESOURCES & generated:
        statements.append(allow(traces, ["*"]))
    return statements
