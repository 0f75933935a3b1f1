"""`make provision STAGE=dev`: makes a stage's tables by themselves, so that `chalice deploy` can be used.

`chalice deploy` makes no tables, and must be told the stream's ARN. This command makes what is missing, mends what
is there, and writes names and ARN into the stage's environment_variables in .chalice/config.json. It can be run
again at any time; what is as it should be stays as it is, and no protection is ever taken away.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import tables
from infrastructure import chalice_config
from infrastructure.package import PROJECT
from infrastructure.tables import (
    Table,
    all_tables,
    create_parameters,
    encryption_parameter,
    key_schema,
    recovery_parameters,
    stream_parameter,
    ttl_parameters,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef
    from mypy_boto3_lambda import LambdaClient

STAGE_VARIABLE = "STAGE"
STREAM_VARIABLE = "ORDERS_STREAM_ARN"
STREAM_HANDLER = "aggregate"
# The stream handler counts by the new image; the old one it can do without.
GOOD_VIEWS = {"NEW_AND_OLD_IMAGES", "NEW_IMAGE"}
WAIT_SECONDS = 300.0
POLL_SECONDS = 2.0

Say = Callable[[str], None]


class ProvisionError(Exception):
    """Something is there that this command will not change; the message says what, and what to do."""


def provision(stage: str, dynamodb: "DynamoDBClient", functions: "LambdaClient", project: Path, say: Say) -> str:
    """Makes or mends a stage's tables and tells Chalice of them; returns the ARN of the orders' stream.

    Raises ProvisionError, ConfigError, and botocore's errors. What was done before stays; run it again.
    """
    settings = chalice_config.stage_settings(chalice_config.load(project), stage)
    stage_tables = all_tables(stage)
    described = {table.logical_name: Provisioner(table, dynamodb, say).provision() for table in stage_tables}
    arn = described[tables.ORDERS]["LatestStreamArn"]
    names = {table.variable: table.name for table in stage_tables}
    variables = {STAGE_VARIABLE: stage, **names, STREAM_VARIABLE: arn}
    if chalice_config.set_stage_variables(project, stage, variables):
        say(f".chalice/config.json: stage {stage} now names these tables and the stream {arn}")
    table_arn = described[tables.ORDERS]["TableArn"]
    # Before they are deleted: if this command is stopped in between, the next run still finds them to be deleted.
    if chalice_config.forget_earlier_streams(project, stage, table_arn, arn):
        say(f".chalice/deployed/{stage}.json: forgot the mapping to an earlier stream")
    remove_stale_mappings(f"{settings['app_name']}-{stage}-{STREAM_HANDLER}", table_arn, arn, functions, say)
    return arn


class Provisioner:
    """Makes or mends one table."""

    def __init__(self, table: Table, dynamodb: "DynamoDBClient", say: Say) -> None:
        self._table = table
        self._dynamodb = dynamodb
        self._say = say

    def provision(self) -> "TableDescriptionTypeDef":
        """Does it; returns the table's description afterwards."""
        there = self._describe()
        if there is None:
            self._dynamodb.create_table(**create_parameters(self._table))
            self._tell("made")
        else:
            self._check(self._active())
            self._mend(there)
        self._active()
        self._set_ttl()
        self._set_recovery()
        return self._active()

    def _check(self, there: "TableDescriptionTypeDef") -> None:
        """Raises for what cannot be changed in a table that is there, or not without losing something."""
        wanted = key_schema(self._table.key)
        if there["KeySchema"] != wanted:
            key = ", ".join(each["AttributeName"] for each in there["KeySchema"])
            raise ProvisionError(
                f"{self._table.name} is there with another key ({key}; needed: {', '.join(self._table.key)}). "
                "A key cannot be changed: delete that table, or give this stage another name."
            )
        view = there.get("StreamSpecification", {}).get("StreamViewType")
        if self._table.stream and view and view not in GOOD_VIEWS:
            raise ProvisionError(
                f"{self._table.name} has a stream of {view}, which lacks the new image. Others may read it, so it "
                "stays as it is: switch it off, if you may, and run this again."
            )

    def _mend(self, there: "TableDescriptionTypeDef") -> None:
        if self._table.stream and not there.get("StreamSpecification", {}).get("StreamEnabled"):
            self._update("stream switched on", StreamSpecification=stream_parameter(self._table.stream))
        if self._table.protection.deletion_protection and not there.get("DeletionProtectionEnabled"):
            self._update("protected from deletion", DeletionProtectionEnabled=True)
        if self._table.protection.own_key and there.get("SSEDescription", {}).get("SSEType") != "KMS":
            self._update("encrypted with the account's own key", SSESpecification=encryption_parameter())

    def _update(self, what: str, **change: Any) -> None:
        self._dynamodb.update_table(TableName=self._table.name, **change)
        self._tell(what)
        self._active()

    def _set_ttl(self) -> None:
        parameters = ttl_parameters(self._table)
        if parameters is None:
            return
        there = self._dynamodb.describe_time_to_live(TableName=self._table.name)["TimeToLiveDescription"]
        on = there.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        if on and there.get("AttributeName") != self._table.ttl:
            raise ProvisionError(
                f"{self._table.name} expires items by {there.get('AttributeName')}, and should by {self._table.ttl}: "
                "switch its TTL off, wait an hour, as DynamoDB demands, and run this again."
            )
        if not on:
            self._dynamodb.update_time_to_live(**parameters)
            self._tell(f"items expire by {self._table.ttl}")

    def _set_recovery(self) -> None:
        if not self._table.protection.point_in_time_recovery:
            return
        there = self._dynamodb.describe_continuous_backups(TableName=self._table.name)["ContinuousBackupsDescription"]
        if there.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
            retrying_while_new(lambda: self._dynamodb.update_continuous_backups(**recovery_parameters(self._table)))
            self._tell("can be restored to any point in time")

    def _active(self) -> "TableDescriptionTypeDef":
        """Waits until changes to the table are through; returns its description."""
        end = time.monotonic() + WAIT_SECONDS
        there = self._describe()
        while there is None or there["TableStatus"] != "ACTIVE":
            if time.monotonic() > end:
                raise ProvisionError(
                    f"{self._table.name} is not ready after {WAIT_SECONDS:.0f} s: run this again later."
                )
            time.sleep(POLL_SECONDS)
            there = self._describe()
        return there

    def _describe(self) -> "TableDescriptionTypeDef | None":
        try:
            return self._dynamodb.describe_table(TableName=self._table.name)["Table"]
        except self._dynamodb.exceptions.ResourceNotFoundException:
            return None

    def _tell(self, what: str) -> None:
        self._say(f"{self._table.name}: {what}")


def retrying_while_new(call: Callable[[], object]) -> None:
    """Makes a call that DynamoDB refuses for some seconds after a table was made."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            call()
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "ContinuousBackupsUnavailableException" or time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS)


def remove_stale_mappings(function: str, table_arn: str, stream_arn: str, functions: "LambdaClient", say: Say) -> None:
    """Deletes mappings that have the function listen to an earlier stream of the table, and waits until they are gone.

    A table's stream gets a new ARN whenever it is switched on again. Chalice 1.34 looks only at whether the
    mapping that it made is still there: it would keep it, and report success, with no record ever arriving.
    """
    for uuid, arn in _mappings(function, functions).items():
        if arn.startswith(f"{table_arn}/stream/") and arn != stream_arn:
            functions.delete_event_source_mapping(UUID=uuid)
            say(f"{function}: listened to {arn}, which is no longer the table's stream; that mapping is deleted")
            say("  chalice deploy makes a new one; then a backfill counts what the old stream did not deliver")
            _wait_until_gone(uuid, functions)


def _mappings(function: str, functions: "LambdaClient") -> dict[str, str]:
    """The streams and queues that a function listens to, by the mapping's UUID; {} if there is no such function yet."""
    try:
        pages = functions.get_paginator("list_event_source_mappings").paginate(FunctionName=function)
        return {each["UUID"]: each["EventSourceArn"] for page in pages for each in page["EventSourceMappings"]}
    except functions.exceptions.ResourceNotFoundException:
        return {}


def _wait_until_gone(uuid: str, functions: "LambdaClient") -> None:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            functions.get_event_source_mapping(UUID=uuid)
        except functions.exceptions.ResourceNotFoundException:
            return
        time.sleep(POLL_SECONDS)
    raise ProvisionError(f"The mapping {uuid} is still being deleted: run chalice deploy when it is gone.")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="make provision", description="Makes a stage's tables, for chalice deploy.")
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json: dev, prod")
    stage = parser.parse_args(arguments).stage
    try:
        region = os.environ.get("AWS_REGION")  # As in the AWS CLI; boto3 itself reads only AWS_DEFAULT_REGION.
        dynamodb, functions = (boto3.client("dynamodb", region_name=region), boto3.client("lambda", region_name=region))
        provision(stage, dynamodb, functions, PROJECT, print)
    except (ProvisionError, chalice_config.ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        print("Nothing is half done: when this is repaired, run the command again.", file=sys.stderr)
        return 1
    print(
        f"""
The tables of stage {stage} are as they should be. Next:

  .venv/bin/chalice deploy --stage {stage}
  .venv/bin/chalice invoke --stage {stage} -n backfill    counts orders that are older than the stream"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
