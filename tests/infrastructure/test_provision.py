"""Tests for infrastructure/provision.py: it creates and corrects tables, and never removes a protection."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib import tables
from infrastructure.chalice_config import ConfigError
from infrastructure.provision import ProvisionError, provision

ROLE_TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}


class Account:
    """An AWS account in moto, and a copy of the project that provisions it."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.dynamodb = boto3.client("dynamodb", "us-east-1")
        self.functions = boto3.client("lambda", "us-east-1")
        self.reported: list[str] = []

    def provision(self, stage: str) -> str:
        self.reported.clear()
        return provision(stage, self.dynamodb, self.functions, self.project, self.reported.append)

    def table(self, name: str) -> Any:
        return self.dynamodb.describe_table(TableName=name)["Table"]

    def ttl(self, name: str) -> Any:
        return self.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]

    def recovery(self, name: str) -> str:
        backups = self.dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        return backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]

    def plain_table(self, name: str, key: str, **more: Any) -> None:
        self.dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )

    def stream_function(self, name: str, stream_arn: str) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "def aggregate(event, context): pass")
        roles = boto3.client("iam", "us-east-1")
        role = roles.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(ROLE_TRUST))["Role"]["Arn"]
        self.functions.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=role,
            Handler="app.aggregate",
            Code={"ZipFile": code.getvalue()},
        )
        self.functions.create_event_source_mapping(
            FunctionName=name, EventSourceArn=stream_arn, StartingPosition="TRIM_HORIZON"
        )

    def mappings(self, name: str) -> list[str]:
        listed = self.functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        return [each["EventSourceArn"] for each in listed]

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.project / ".chalice" / "config.json").read_text())
        return config


@pytest.fixture
def account(project: Path) -> Iterator[Account]:
    with mock_aws():
        yield Account(project)


def test_provision_creates_all_tables_with_stream_and_ttl(account: Account):
    arn = account.provision("dev")
    assert set(account.dynamodb.list_tables()["TableNames"]) == set(tables.KEYS)
    assert account.table("OrdersTable")["LatestStreamArn"] == arn
    assert account.table("OrdersTable")["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert account.ttl("LedgerTable") == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expiresAt"}
    assert account.recovery("OrdersTable") == "ENABLED"
    assert not account.table("OrdersTable")["DeletionProtectionEnabled"]


def test_production_tables_have_their_own_names_and_full_protection(account: Account):
    account.provision("prod")
    assert set(account.dynamodb.list_tables()["TableNames"]) == {f"{name}-prod" for name in tables.KEYS}
    assert account.table("LedgerTable-prod")["DeletionProtectionEnabled"]
    assert account.table("LedgerTable-prod")["SSEDescription"]["SSEType"] == "KMS"


def test_only_environment_variables_change_in_chalices_configuration(account: Account):
    before = account.config()
    arn = account.provision("prod")
    after = account.config()
    variables = after["stages"]["prod"].pop("environment_variables")
    names = {tables.variable(name): f"{name}-prod" for name in tables.KEYS}
    assert variables == {"STAGE": "prod", **names, "ORDERS_STREAM_ARN": arn}
    assert after == before
    assert list(after) == list(before)
    assert (account.project / ".chalice" / "config.json").read_text().startswith('{\n  "version": "2.0",\n')


def test_second_run_changes_and_reports_nothing(account: Account):
    account.provision("prod")
    text = (account.project / ".chalice" / "config.json").read_bytes()
    account.provision("prod")
    assert account.reported == []
    assert (account.project / ".chalice" / "config.json").read_bytes() == text


def test_provision_corrects_tables_created_by_hand(account: Account):
    account.plain_table("OrdersTable-prod", "OrderID")
    account.plain_table("LedgerTable-prod", "OrderID")
    account.dynamodb.put_item(TableName="OrdersTable-prod", Item={"OrderID": {"S": "o"}})
    arn = account.provision("prod")
    assert arn
    assert account.table("OrdersTable-prod")["LatestStreamArn"] == arn
    assert account.table("OrdersTable-prod")["DeletionProtectionEnabled"]
    assert account.ttl("LedgerTable-prod")["AttributeName"] == "expiresAt"
    assert account.recovery("LedgerTable-prod") == "ENABLED"
    assert account.table("OrdersTable-prod")["ItemCount"] == 1


def test_provision_removes_no_protection(account: Account):
    account.plain_table("OrdersTable", "OrderID", DeletionProtectionEnabled=True)
    account.provision("dev")
    assert account.table("OrdersTable")["DeletionProtectionEnabled"]


def test_stream_of_only_new_images_is_kept(account: Account):
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    account.plain_table("OrdersTable", "OrderID", StreamSpecification=stream)
    before = account.table("OrdersTable")["LatestStreamArn"]
    assert account.provision("dev") == before


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
def test_stream_without_new_images_is_refused_and_kept(account: Account, view: str):
    account.plain_table("OrdersTable", "OrderID", StreamSpecification={"StreamEnabled": True, "StreamViewType": view})
    with pytest.raises(ProvisionError, match=f"stream of {view}"):
        account.provision("dev")
    assert account.table("OrdersTable")["StreamSpecification"]["StreamViewType"] == view


def test_table_with_another_key_is_refused(account: Account):
    account.plain_table("OrdersTable", "id")
    with pytest.raises(ProvisionError, match=r"OrdersTable exists with another key \(id; needed: OrderID\)"):
        account.provision("dev")


def test_ledger_with_another_ttl_attribute_is_refused(account: Account):
    account.plain_table("LedgerTable", "OrderID")
    account.dynamodb.update_time_to_live(
        TableName="LedgerTable", TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
    )
    with pytest.raises(ProvisionError, match="TTL attribute of LedgerTable is ttl instead of expiresAt"):
        account.provision("dev")


def test_mapping_to_a_deleted_stream_is_deleted(account: Account):
    old = account.provision("dev")
    account.stream_function("order-totals-dev-aggregate", old)
    account.dynamodb.delete_table(TableName="OrdersTable")
    new = account.provision("dev")
    assert new != old
    assert account.mappings("order-totals-dev-aggregate") == []
    assert account.config()["stages"]["dev"]["environment_variables"]["ORDERS_STREAM_ARN"] == new
    assert any(old in line and "deleted" in line for line in account.reported)


def test_only_the_mapping_to_a_deleted_stream_is_removed_from_chalices_record(account: Account):
    current = account.provision("dev")
    table = current.rpartition("/stream/")[0]
    role = {"name": "default-role", "resource_type": "iam_role", "role_name": "order-totals-dev"}
    mapping = {"name": "aggregate-dynamodb-event-source", "resource_type": "dynamodb_event", "event_uuid": "1"}
    other = {**mapping, "name": "other", "stream_arn": f"{table}-of-others/stream/2020-01-01T00:00:00.000"}
    record = account.project / ".chalice" / "deployed" / "dev.json"
    record.parent.mkdir()

    def provision_with(stream: str) -> Any:
        resources = [role, {**mapping, "stream_arn": stream}, other]
        record.write_text(json.dumps({"resources": resources, "schema_version": "2.0", "backend": "api"}))
        account.provision("dev")
        return json.loads(record.read_text())

    assert provision_with(current)["resources"] == [role, {**mapping, "stream_arn": current}, other]
    assert account.reported == []
    kept = provision_with(f"{table}/stream/2020-01-01T00:00:00.000")
    assert kept == {"resources": [role, other], "schema_version": "2.0", "backend": "api"}
    assert len(account.reported) == 1


def test_broken_record_of_chalice_is_reported_and_kept(account: Account):
    record = account.project / ".chalice" / "deployed" / "dev.json"
    record.parent.mkdir()
    record.write_text("{}")
    with pytest.raises(ConfigError, match="not in chalice deploy's format"):
        account.provision("dev")
    assert record.read_text() == "{}"


def test_mapping_to_the_current_stream_is_kept(account: Account):
    arn = account.provision("dev")
    account.stream_function("order-totals-dev-aggregate", arn)
    account.provision("dev")
    assert account.mappings("order-totals-dev-aggregate") == [arn]


def test_unknown_stage_is_refused_before_anything_is_created(account: Account):
    with pytest.raises(ConfigError, match="no stage porduction"):
        account.provision("porduction")
    assert account.dynamodb.list_tables()["TableNames"] == []
