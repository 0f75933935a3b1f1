"""Additions to Chalice's SAM template. `chalice package --merge-template` merges them into the template.

They are the tables, the stream handler's event source, the bucket for failed batches, the functions' environment
variables, and the alarms and dashboard (monitoring.py). Chalice merges dictionaries deeply, and these values win; lists
and scalars are replaced. app.py itself declares batch size, starting position and routes. package.py has the files and
commands.
"""

from collections.abc import Iterable
from typing import Any

from chalicelib import client, tables
from infrastructure import monitoring
from infrastructure.tables import PLAIN_NAMES, StreamView, Table, all_tables, protection, resource

STREAM_FUNCTION = "Aggregate"
"""The logical name of the stream handler's function. Chalice derives it from the handler's name."""
API_FUNCTION = "APIHandler"
STREAM_EVENT = "AggregateDynamodbEventSource"
API = "RestAPI"
ROLE = "DefaultRole"
"""The logical name of the role that Chalice creates for all functions."""
BUCKET = "FailedBatches"

RUNTIME = "python3.13"

DAY_SECONDS = 24 * 60 * 60

# How the event source mapping retries. An order that cannot be counted never fails a batch. So a batch fails only
# because of a temporary problem (throttling, a DynamoDB outage) or an unknown bug.
MAPPING = {
    # Retry for six hours, which outlasts a temporary problem. Then keep the batch in the bucket, well before the stream
    # drops its records after 24 hours, so that a bug cannot block all later orders. `make replay` counts the batch.
    "MaximumRecordAgeInSeconds": DAY_SECONDS // 4,
    "MaximumRetryAttempts": -1,  # Unlimited, because immediate failures would soon use up any limit.
    # With a bug, Lambda splits the batch down to the failing record, and only that record goes to the bucket.
    "BisectBatchOnFunctionError": True,
    "ParallelizationFactor": {"Ref": "ParallelizationFactor"},
    "MaximumBatchingWindowInSeconds": {"Ref": "BatchingWindowSeconds"},
    "MetricsConfig": {"Metrics": ["EventCount"]},
}
# API Gateway waits 29 seconds for a response. With these timeouts, a route can report a DynamoDB outage before that.
API_VARIABLES = {client.TIMEOUT_VARIABLE: "2", client.TRIES_VARIABLE: "3"}
RESERVE_CONCURRENCY = "ReserveConcurrency"


def parameters(stage: str) -> dict[str, Any]:
    """Return the template's parameters for the stream handler and the tables. docs/scale.md explains the defaults."""
    in_use = stage not in PLAIN_NAMES
    return {
        name: {
            "Type": "Number",
            "Default": str(default),
            "MinValue": smallest,
            "MaxValue": largest,
            "Description": text,
        }
        for name, default, smallest, largest, text in (
            # A higher value is just as exact. But with few products, parallel batches write the same counters, and
            # conflicts cost more than the parallelism gains.
            ("ParallelizationFactor", 1, 1, 10, "Number of batches of a shard that are counted in parallel"),
            ("BatchingWindowSeconds", int(in_use), 0, 300, "Seconds to gather orders for a batch; more is cheaper"),
            ("StreamConcurrency", 0, 0, 10_000, "Executions to reserve for the stream handler; 0 reserves none"),
            # DynamoDB's initial capacity of a new on-demand table.
            ("TableWriteUnits", 4_000 if in_use else 1_000, 1, 10**6, "Most write units per second of each table"),
            ("TableReadUnits", 12_000 if in_use else 3_000, 1, 10**6, "Most read units per second of each table"),
        )
    }


KEPT_BATCH_DAYS = 14
"""How long the bucket keeps a failed batch. Tombstones live longer, so replaying a kept batch revives no order."""


def additions(
    stage: str,
    *,
    stream: StreamView = "NEW_AND_OLD_IMAGES",
    api_stage: str = "api",
) -> dict[str, Any]:
    """Return the additions for a stage. `api_stage` is the stage's `api_gateway_stage` setting."""
    stage_tables = all_tables(stage, stream)
    resources = {table.logical_name: resource(table) for table in stage_tables}
    resources[BUCKET] = failed_batches(stage)
    resources[STREAM_FUNCTION] = stream_function()
    resources |= monitoring.resources(stage, api_stage)
    resources[API] = api(stage)
    resources[API_FUNCTION] = {"Properties": {"Environment": {"Variables": API_VARIABLES}}}
    return {
        "Parameters": {**parameters(stage), **monitoring.parameters()},
        "Conditions": {
            **monitoring.conditions(),
            RESERVE_CONCURRENCY: {"Fn::Not": [{"Fn::Equals": [{"Ref": "StreamConcurrency"}, 0]}]},
        },
        "Globals": {"Function": {"Environment": {"Variables": variables(stage, stage_tables)}}},
        "Resources": resources,
        "Outputs": {
            "FailedBatchesBucket": {"Value": {"Ref": BUCKET}},
            "OrdersStreamArn": {"Value": {"Fn::GetAtt": [tables.ORDERS, "StreamArn"]}},
        },
    }


def variables(stage: str, stage_tables: Iterable[Table]) -> dict[str, Any]:
    """Return the functions' environment variables: the stage's name and references to the tables."""
    return {"STAGE": stage} | {table.variable: {"Ref": table.logical_name} for table in stage_tables}


def api(stage: str) -> dict[str, Any]:
    """Return the API's name and version.

    The name contains the stage, because CloudWatch separates APIs by name and Chalice omits it. Without the version,
    SAM publishes a second API stage, `Stage`, which has no throttling and no alarms.
    """
    title = monitoring.stage_name(stage)
    return {"Properties": {"OpenApiVersion": "2.0", "DefinitionBody": {"info": {"title": title}}}}


def stream_function() -> dict[str, Any]:
    """Return the stream handler's event source: its stream, and what happens to batches that keep failing."""
    event = {
        "Stream": {"Fn::GetAtt": [tables.ORDERS, "StreamArn"]},
        **MAPPING,
        "DestinationConfig": {"OnFailure": {"Type": "S3", "Destination": {"Fn::GetAtt": [BUCKET, "Arn"]}}},
    }
    reserved = {"Fn::If": [RESERVE_CONCURRENCY, {"Ref": "StreamConcurrency"}, {"Ref": "AWS::NoValue"}]}
    return {"Properties": {"Events": {STREAM_EVENT: {"Properties": event}}, "ReservedConcurrentExecutions": reserved}}


def failed_batches(stage: str) -> dict[str, Any]:
    """Return the bucket for failed batches. Lambda sends whole records only to S3, not to SQS or SNS."""
    deletion_policy = "Retain" if protection(stage).outlives_stack else "Delete"
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": deletion_policy,
        "UpdateReplacePolicy": deletion_policy,
        "Properties": {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "LifecycleConfiguration": {
                "Rules": [{"Id": "Expire", "Status": "Enabled", "ExpirationInDays": KEPT_BATCH_DAYS}]
            },
        },
    }


def destination_statements() -> list[dict[str, Any]]:
    """Return the statements that let the stream handler's role write failed batches to the bucket."""
    return [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [{"Fn::GetAtt": [BUCKET, "Arn"]}]},
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [{"Fn::Sub": f"${{{BUCKET}.Arn}}/*"}]},
    ]


def complete(packaged: dict[str, Any]) -> None:
    """Set each function's runtime and log group, for which Chalice has no setting.

    Chalice would use the packaging Python as the runtime, and would create a log group after its function. A function
    invoked in between would create the group itself, and the deployment would fail.
    """
    resources = packaged["Resources"]
    if "ApiHandlerLogGroup" in resources:  # Chalice 1.34 spells this function's name in two ways.
        resources["APIHandlerLogGroup"] = resources.pop("ApiHandlerLogGroup")
    for name, properties in functions(packaged).items():
        group = resources.setdefault(log_group(name), {"Type": "AWS::Logs::LogGroup", "Properties": {}})
        group["Properties"]["LogGroupName"] = {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{name}"}
        properties |= {"Runtime": RUNTIME, "LoggingConfig": {"LogGroup": {"Ref": log_group(name)}}}


def log_group(function: str) -> str:
    """Return the logical name of a function's log group."""
    return f"{function}LogGroup"


def functions(packaged: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a template's functions by logical name."""
    found = packaged["Resources"].items()
    return {name: each["Properties"] for name, each in found if each["Type"] == "AWS::Serverless::Function"}
