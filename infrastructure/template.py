"""What Chalice's own template lacks, as a value that `chalice package --merge-template` merges into it.

The tables, the stream handler's event source with its failure queue, the environment that tells each function its
tables and its stage, alarms and dashboard (monitoring.py). Chalice merges dicts deeply and the value here wins;
lists and scalars replace. Files and commands are not here (package.py), nor is what the app itself declares: batch
size, starting position, routes.
"""

from collections.abc import Iterable
from typing import Any

from chalicelib import tables
from infrastructure import monitoring
from infrastructure.tables import StreamView, Table, all_tables, protection, resource

STREAM_FUNCTION = "Aggregate"
"""The logical name of the stream handler's function; Chalice makes it of the handler's name."""
STREAM_EVENT = "AggregateDynamodbEventSource"
API = "RestAPI"
ROLE = "DefaultRole"
"""The logical name of the role that Chalice gives to all functions."""
FAILURE_QUEUE = "FailureQueue"
FAILURE_QUEUE_POLICY = "FailureQueuePolicy"

DAY_SECONDS = 24 * 60 * 60

# How the mapping reads the stream. A poison record never fails a batch, so what does fail is either something
# that passes (throttling, an outage of DynamoDB) or a bug that nobody has thought of.
RETRYING = {
    # Something that passes is sat out for hours. Then the batch goes to the queue, long before the stream forgets
    # its records (24 hours), so that a bug cannot hold back all orders after it; a backfill counts those of the batch.
    "MaximumRecordAgeInSeconds": DAY_SECONDS // 4,
    "MaximumRetryAttempts": 1000,
    # A bug's batch is halved down to the record that it stumbles over, and only that one goes to the queue.
    "BisectBatchOnFunctionError": True,
    "ParallelizationFactor": {"Ref": "ParallelizationFactor"},
}
PARAMETERS = {
    # More would be as exact. But where products are few the batches would meet at the same counters, and transactions
    # that conflict cost more than they gain. docs/scale.md says where more helps.
    "ParallelizationFactor": {
        "Type": "Number",
        "Default": "1",
        "MinValue": 1,
        "MaxValue": 10,
        "Description": "How many batches of a shard are counted at a time",
    }
}

# The longest that SQS keeps a message: 14 days (SQS quotas).
QUEUE_RETENTION_SECONDS = 14 * DAY_SECONDS


def additions(
    stage: str,
    *,
    stream: StreamView = "NEW_AND_OLD_IMAGES",
    log_groups: bool = True,
    api_stage: str = "api",
) -> dict[str, Any]:
    """The merge template of a stage.

    `log_groups` says whether the stage has `log_retention_in_days`, and `api_stage` is its `api_gateway_stage`.
    """
    stage_tables = all_tables(stage, stream)
    resources = {table.logical_name: resource(table) for table in stage_tables}
    resources |= failure_queue(stage)
    resources[STREAM_FUNCTION] = stream_function()
    resources |= monitoring.resources(stage, api_stage)
    resources[API] = api_name(stage)
    if log_groups:
        resources["ApiHandlerLogGroup"] = api_log_group()
    return {
        "Parameters": {**PARAMETERS, **monitoring.parameters()},
        "Conditions": monitoring.conditions(),
        "Globals": {"Function": {"Environment": {"Variables": variables(stage, stage_tables)}}},
        "Resources": resources,
        "Outputs": {
            "FailureQueueURL": {"Value": {"Ref": FAILURE_QUEUE}},
            "OrdersStreamArn": {"Value": {"Fn::GetAtt": [tables.ORDERS, "StreamArn"]}},
        },
    }


def variables(stage: str, stage_tables: Iterable[Table]) -> dict[str, Any]:
    """The environment variables that name the stage and, as references to them, the tables."""
    return {"STAGE": stage} | {table.variable: {"Ref": table.logical_name} for table in stage_tables}


def api_name(stage: str) -> dict[str, Any]:
    """The API's name, by which CloudWatch tells the stages' APIs apart; Chalice calls all of them by the app's."""
    return {"Properties": {"DefinitionBody": {"info": {"title": monitoring.stage_name(stage)}}}}


def stream_function() -> dict[str, Any]:
    """The stream handler's own stream, and what happens to batches that keep failing."""
    event = {
        "Stream": {"Fn::GetAtt": [tables.ORDERS, "StreamArn"]},
        **RETRYING,
        "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": {"Fn::GetAtt": [FAILURE_QUEUE, "Arn"]}}},
    }
    # Lambda makes the mapping only for a role that may already send to the queue.
    return {"DependsOn": [FAILURE_QUEUE_POLICY], "Properties": {"Events": {STREAM_EVENT: {"Properties": event}}}}


def failure_queue(stage: str) -> dict[str, Any]:
    """The queue for what is given up, and the role's permission to send to it."""
    fate = "Retain" if protection(stage).outlives_stack else "Delete"
    queue = {
        "Type": "AWS::SQS::Queue",
        "DeletionPolicy": fate,
        "UpdateReplacePolicy": fate,
        "Properties": {"MessageRetentionPeriod": QUEUE_RETENTION_SECONDS, "SqsManagedSseEnabled": True},
    }
    # A policy of its own: the one that Chalice generates is in a list, which a merge could only replace.
    policy = {
        "Type": "AWS::IAM::Policy",
        "Properties": {
            "PolicyName": FAILURE_QUEUE_POLICY,
            "Roles": [{"Ref": ROLE}],
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": ["sqs:SendMessage"],
                        "Resource": [{"Fn::GetAtt": [FAILURE_QUEUE, "Arn"]}],
                    }
                ],
            },
        },
    }
    return {FAILURE_QUEUE: queue, FAILURE_QUEUE_POLICY: policy}


def api_log_group() -> dict[str, Any]:
    """Mends the API handler's log group: Chalice 1.34 names it after an ApiHandler, and calls that APIHandler."""
    return {"Properties": {"LogGroupName": {"Fn::Sub": "/aws/lambda/${APIHandler}"}}}
