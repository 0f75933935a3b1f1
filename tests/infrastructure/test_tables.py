"""infrastructure/tables.py: one definition, which CloudFormation and the API understand alike."""

from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib import tables
from infrastructure.tables import (
    StreamView,
    all_tables,
    create_parameters,
    recovery_parameters,
    resource,
    ttl_parameters,
)

STAGES = ["local", "dev", "prod", "some-customer"]


def by_name(stage: str) -> dict[str, Any]:
    return {table.logical_name: table for table in all_tables(stage)}


@pytest.mark.parametrize("stage", STAGES)
def test_every_table_of_the_app_is_there_with_its_key(stage: str):
    assert {name: table.key for name, table in by_name(stage).items()} == tables.KEYS


def test_a_view_that_is_added_gets_its_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tables.KEYS, "CustomerTable", ("customer", "day"))
    table = by_name("prod")["CustomerTable"]
    assert (table.name, table.variable) == ("CustomerTable-prod", "CUSTOMER_TABLE")
    assert resource(table)["Properties"]["KeySchema"] == [
        {"AttributeName": "customer", "KeyType": "HASH"},
        {"AttributeName": "day", "KeyType": "RANGE"},
    ]


@pytest.mark.parametrize(
    ("stage", "name"), [("local", "OrdersTable"), ("dev", "OrdersTable"), ("prod", "OrdersTable-prod")]
)
def test_a_stage_that_shares_its_account_names_its_tables_after_itself(stage: str, name: str):
    assert by_name(stage)["OrdersTable"].name == name


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_orders_have_a_stream_and_only_the_ledger_expires(stage: str):
    assert {name: (table.stream, table.ttl) for name, table in by_name(stage).items() if table.stream or table.ttl} == {
        "OrdersTable": ("NEW_AND_OLD_IMAGES", None),
        "LedgerTable": (None, "expiresAt"),
    }


@pytest.mark.parametrize(
    ("stage", "recovery", "undeletable", "own_key", "policy"),
    [
        ("local", False, False, False, "Delete"),
        ("dev", True, False, False, "Delete"),
        ("prod", True, True, True, "Retain"),
        ("some-customer", True, True, True, "Retain"),
    ],
)
def test_the_stage_says_how_tables_are_protected(
    stage: str, recovery: bool, undeletable: bool, own_key: bool, policy: str
):
    for table in all_tables(stage):
        made = resource(table)
        properties = made["Properties"]
        assert made["DeletionPolicy"] == made["UpdateReplacePolicy"] == policy
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": recovery}
        assert properties["DeletionProtectionEnabled"] is undeletable
        assert ("SSESpecification" in properties) is own_key
        assert create_parameters(table)["DeletionProtectionEnabled"] is undeletable
        assert ("SSESpecification" in create_parameters(table)) is own_key


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("view", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
@mock_aws
def test_the_calls_and_cloudformation_make_the_same_tables(stage: str, view: StreamView):
    dynamodb = boto3.client("dynamodb", "us-east-1")
    for table in all_tables(stage, view):
        dynamodb.create_table(**create_parameters(table))
        dynamodb.update_continuous_backups(**recovery_parameters(table))
        ttl = ttl_parameters(table)
        if ttl:
            dynamodb.update_time_to_live(**ttl)
        there = dynamodb.describe_table(TableName=table.name)["Table"]
        made = resource(table)["Properties"]
        assert there["KeySchema"] == made["KeySchema"]
        assert there["AttributeDefinitions"] == made["AttributeDefinitions"]
        assert there["BillingModeSummary"]["BillingMode"] == made["BillingMode"] == "PAY_PER_REQUEST"
        assert there.get("StreamSpecification", {}).get("StreamViewType") == made.get("StreamSpecification", {}).get(
            "StreamViewType"
        )
        assert there["DeletionProtectionEnabled"] == made["DeletionProtectionEnabled"]
