"""`make provision STAGE=dev`: create a stage's tables before `chalice deploy`.

`chalice deploy` creates no tables and needs the stream's ARN. This command creates missing tables, corrects the
settings of existing ones, and writes table names and the ARN into the stage's environment_variables in
.chalice/config.json. It is safe to run again: it changes only what differs, and never removes a protection.
DescribeTable is eventually consistent. If an outdated result makes a call fail, run the command again.
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
# The stream handler needs the new image of a record, but not the old one.
USABLE_STREAM_VIEWS = {"NEW_AND_OLD_IMAGES", "NEW_IMAGE"}
WAIT_SECONDS = 300.0
POLL_SECONDS = 2.0

Report = Callable[[str], None]


class ProvisionError(Exception):
    """An existing resource differs in a way that this command must not change. The message says what to do."""


def provision(stage: str, dynamodb: "DynamoDBClient", functions: "LambdaClient", project: Path, report: Report) -> str:
    """Create or correct a stage's tables, configure Chalice for them, and return the ARN of the orders' stream.

    `report` receives a line for each change. Raise ProvisionError, ConfigError or a botocore error.
    """
    settings = chalice_config.stage_settings(chalice_config.load(project), stage)
    stage_tables = all_tables(stage)
    described = {table.logical_name: Provisioner(table, dynamodb, report).provision() for table in stage_tables}
    arn = described[tables.ORDERS]["LatestStreamArn"]
    names = {table.variable: table.name for table in stage_tables}
    variables = {STAGE_VARIABLE: stage, **names, STREAM_VARIABLE: arn}
    if chalice_config.set_stage_variables(project, stage, variables):
        report(f".chalice/config.json: stage {stage} now names these tables and the stream {arn}")
    table_arn = described[tables.ORDERS]["TableArn"]
    # Remove the mappings from Chalice's records first. If this stops in between, the next run deletes them.
    if chalice_config.remove_old_stream_mappings(project, stage, table_arn, arn):
        report(f".chalice/deployed/{stage}.json: removed the mapping to an earlier stream")
    delete_old_mappings(f"{settings['app_name']}-{stage}-{STREAM_HANDLER}", table_arn, arn, functions, report)
    return arn


class Provisioner:
    """Create one table or correct its settings."""

    def __init__(self, table: Table, dynamodb: "DynamoDBClient", report: Report) -> None:
        self._table = table
        self._dynamodb = dynamodb
        self._report_line = report

    def provision(self) -> "TableDescriptionTypeDef":
        """Create or correct the table, and return its new description."""
        found = self._describe()
        if found is None:
            self._dynamodb.create_table(**create_parameters(self._table))
            self._report("created")
        else:
            self._check(self._wait_until_active())
            self._correct(found)
        self._wait_until_active()
        self._set_ttl()
        self._set_recovery()
        return self._wait_until_active()

    def _check(self, found: "TableDescriptionTypeDef") -> None:
        """Raise ProvisionError if an existing table needs a change that is impossible or would lose data."""
        expected = key_schema(self._table.key)
        if found["KeySchema"] != expected:
            key = ", ".join(each["AttributeName"] for each in found["KeySchema"])
            raise ProvisionError(
                f"{self._table.name} exists with another key ({key}; needed: {', '.join(self._table.key)}). "
                "A key cannot be changed. Delete the table, or choose another stage name."
            )
        view = found.get("StreamSpecification", {}).get("StreamViewType")
        if self._table.stream and view and view not in USABLE_STREAM_VIEWS:
            raise ProvisionError(
                f"{self._table.name} has a stream of {view}, which lacks the new image. It was left as it is, because "
                "other programs may read it. If you can do without it, disable it and run this again."
            )

    def _correct(self, found: "TableDescriptionTypeDef") -> None:
        if self._table.stream and not found.get("StreamSpecification", {}).get("StreamEnabled"):
            self._update("enabled the stream", StreamSpecification=stream_parameter(self._table.stream))
        if self._table.protection.deletion_protection and not found.get("DeletionProtectionEnabled"):
            self._update("enabled deletion protection", DeletionProtectionEnabled=True)
        if self._table.protection.kms_key and found.get("SSEDescription", {}).get("SSEType") != "KMS":
            self._update("enabled encryption with the account's own key", SSESpecification=encryption_parameter())

    def _update(self, what: str, **change: Any) -> None:
        self._dynamodb.update_table(TableName=self._table.name, **change)
        self._report(what)
        self._wait_until_active()
        self._wait_until_active()

    def _set_ttl(self) -> None:
        parameters = ttl_parameters(self._table)
        if parameters is None:
            return
        found = self._dynamodb.describe_time_to_live(TableName=self._table.name)["TimeToLiveDescription"]
        on = found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        if on and found.get("AttributeName") != self._table.ttl:
            raise ProvisionError(
                f"The TTL attribute of {self._table.name} is {found.get('AttributeName')} instead of "
                f"{self._table.ttl}. Disable its TTL, wait an hour (a limit of DynamoDB), and run this again."
            )
        if not on:
            self._dynamodb.update_time_to_live(**parameters)
            self._report(f"enabled TTL by {self._table.ttl}")

    def _set_recovery(self) -> None:
        if not self._table.protection.point_in_time_recovery:
            return
        found = self._dynamodb.describe_continuous_backups(TableName=self._table.name)["ContinuousBackupsDescription"]
        if found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
            retry_while_table_is_new(
                lambda: self._dynamodb.update_continuous_backups(**recovery_parameters(self._table))
            )
            self._report("enabled point-in-time recovery")

    def _wait_until_active(self) -> "TableDescriptionTypeDef":
        """Wait until the table is ACTIVE, then return its description."""
        end = time.monotonic() + WAIT_SECONDS
        found = self._describe()
        while found is None or found["TableStatus"] != "ACTIVE":
            if time.monotonic() > end:
                raise ProvisionError(
                    f"{self._table.name} is not ready after {WAIT_SECONDS:.0f} s. Run this again later."
                )
            time.sleep(POLL_SECONDS)
            found = self._describe()
        return found

    def _describe(self) -> "TableDescriptionTypeDef | None":
        try:
            return self._dynamodb.describe_table(TableName=self._table.name)["Table"]
        except self._dynamodb.exceptions.ResourceNotFoundException:
            return None

    def _report(self, what: str) -> None:
        self._report_line(f"{self._table.name}: {what}")


def retry_while_table_is_new(call: Callable[[], object]) -> None:
    """Make a call, and retry while DynamoDB rejects it because the table was created seconds ago."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            call()
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "ContinuousBackupsUnavailableException" or time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS)


def delete_old_mappings(
    function: str, table_arn: str, stream_arn: str, functions: "LambdaClient", report: Report
) -> None:
    """Delete the function's event source mappings to earlier streams of the table, and wait until they are gone.

    A table's stream gets a new ARN whenever it is enabled again. Chalice 1.34 only checks that its mapping exists. It
    would keep the old one and report success, but the function would never receive a record.
    """
    for uuid, arn in _mappings(function, functions).items():
        if arn.startswith(f"{table_arn}/stream/") and arn != stream_arn:
            functions.delete_event_source_mapping(UUID=uuid)
            report(f"{function}: deleted the mapping to {arn}, which is no longer the table's stream")
            report("  Run chalice deploy to create a new one, then a backfill to count what the old stream missed.")
            _wait_until_gone(uuid, functions)


def _mappings(function: str, functions: "LambdaClient") -> dict[str, str]:
    """Return the ARNs of a function's event sources by mapping UUID; {} if the function does not exist yet."""
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
    raise ProvisionError(f"The mapping {uuid} is still being deleted. Run chalice deploy once it is gone.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="make provision", description="Create a stage's tables before chalice deploy."
    )
    parser.add_argument("--stage", required=True, help="a stage of .chalice/config.json: dev, prod")
    stage = parser.parse_args(arguments).stage
    try:
        region = os.environ.get("AWS_REGION")  # The AWS CLI reads AWS_REGION, but boto3 does not.
        dynamodb, functions = (boto3.client("dynamodb", region_name=region), boto3.client("lambda", region_name=region))
        provision(stage, dynamodb, functions, PROJECT, print)
    except (ProvisionError, chalice_config.ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        print("Fix the problem and run the command again; it continues where it stopped.", file=sys.stderr)
        return 1
    print(
        f"""
The tables of stage {stage} are ready. Next:

  .venv/bin/chalice deploy --stage {stage}
  .venv/bin/chalice invoke --stage {stage} -n backfill    # count orders older than the stream"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
