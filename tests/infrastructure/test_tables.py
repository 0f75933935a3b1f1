"""Tests for infrastructure/tables.py: CloudFormation and API calls create the same tables."""

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
def test_every_table_of_the_app_is_defined_with_its_key(stage: str):
    assert {name: table.key for name, table in by_name(stage).items()} == tables.KEYS


def test_new_view_gets_a_table(monkeypatch: pytest.MonkeyPatch):
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
def test_table_names_end_with_the_stage_if_stages_can_share_an_account(stage: str, name: str):
    assert by_name(stage)["OrdersTable"].name == name


@pytest.mark.parametrize("stage", STAGES)
def test_only_orders_have_a_stream_and_only_the_ledger_has_a_ttl(stage: str):
    assert {name: (table.stream, table.ttl) for name, table in by_name(stage).items() if table.stream or table.ttl} == {
        "OrdersTable": ("NEW_AND_OLD_IMAGES", None),
        "LedgerTable": (None, "expiresAt"),
    }


@pytest.mark.parametrize(
    ("stage", "recovery", "deletion_protection", "kms_key", "policy"),
    [
        ("local", False, False, False, "Delete"),
        ("dev", True, False, False, "Delete"),
        ("prod", True, True, True, "Retain"),
        ("some-customer", True, True, True, "Retain"),
    ],
)
def test_protection_depends_on_the_stage(
    stage: str, recovery: bool, deletion_protection: bool, kms_key: bool, policy: str
):
    for table in all_tables(stage):
        if table.logical_name == "StateTable":
            continue
        cloudformation = resource(table)
        properties = cloudformation["Properties"]
        assert cloudformation["DeletionPolicy"] == cloudformation["UpdateReplacePolicy"] == policy
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": recovery}
        assert properties["DeletionProtectionEnabled"] is deletion_protection
        assert ("SSESpecification" in properties) is kms_key
        assert create_parameters(table)["DeletionProtectionEnabled"] is deletion_protection
        assert ("SSESpecification" in create_parameters(table)) is kms_key


@pytest.mark.parametrize("stage", STAGES)
def test_state_is_encrypted_like_the_other_tables_but_not_protected_against_loss(stage: str):
    state = resource(by_name(stage)["StateTable"])
    assert state["DeletionPolicy"] == state["UpdateReplacePolicy"] == "Delete"
    properties = state["Properties"]
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": False}
    assert properties["DeletionProtectionEnabled"] is False
    orders = resource(by_name(stage)["OrdersTable"])["Properties"]
    assert properties.get("SSESpecification") == orders.get("SSESpecification")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("view", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
@mock_aws
def test_api_calls_and_cloudformation_create_the_same_tables(stage: str, view: StreamView):
    dynamodb = boto3.client("dynamodb", "us-east-1")
    for table in all_tables(stage, view):
        dynamodb.create_table(**create_parameters(table))
        dynamodb.update_continuous_backups(**recovery_parameters(table))
        ttl = ttl_parameters(table)
        if ttl:
            dynamodb.update_time_to_live(**ttl)
        described = dynamodb.describe_table(TableName=table.name)["Table"]
        declared = resource(table)["Properties"]
        assert described["KeySchema"] == declared["KeySchema"]
        assert described["AttributeDefinitions"] == declared["AttributeDefinitions"]
        assert described["BillingModeSummary"]["BillingMode"] == declared["BillingMode"] == "PAY_PER_REQUEST"
        assert described.get("StreamSpecification", {}).get("StreamViewType") == declared.get(
            "StreamSpecification", {}
        ).get("StreamViewType")
        assert described["DeletionProtectionEnabled"] == declared["DeletionProtectionEnabled"]
