"""Tests for the role of the API's function: it cannot change the ledger or counters, nor access other tables.

test_permissions.py shows that the roles are sufficient, and that no permission is unused.
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib import tables
from chalicelib.views import VIEWS
from infrastructure.local_stage import REGION
from localcloud.emulator import Emulator
from localcloud.stack import Stack

OTHER_TABLE = "SomebodyElsesTable"


@pytest.fixture(scope="module")
def role_client(emulator: Emulator, stack: Stack) -> Iterator[Any]:
    """Return a DynamoDB client for a user with the same policies as the API's role."""
    iam = emulator.client("iam")
    role = stack.role("APIHandler")
    user = "user-with-the-policies-of-the-api"
    iam.create_user(UserName=user)
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    yield boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=emulator.endpoint_url,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    for name in iam.list_user_policies(UserName=user)["PolicyNames"]:
        iam.delete_user_policy(UserName=user, PolicyName=name)
    iam.delete_user(UserName=user)


@pytest.fixture(scope="module")
def other_table(dynamodb: Any) -> Iterator[str]:
    """Create a table in the same account that is not part of the app."""
    dynamodb.create_table(
        TableName=OTHER_TABLE,
        KeySchema=[{"AttributeName": "OrderID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "OrderID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield OTHER_TABLE
    dynamodb.delete_table(TableName=OTHER_TABLE)


def test_api_can_read_and_write_orders(role_client: Any, stack: Stack, unique: str):
    table = stack.tables["OrdersTable"]
    key = {"OrderID": {"S": unique}}
    role_client.put_item(TableName=table, Item=key)
    assert role_client.get_item(TableName=table, Key=key)["Item"] == key
    role_client.delete_item(TableName=table, Key=key)


def refused(client: Any, operation: str, table: str, key: dict[str, Any]) -> bool:
    """Return whether a request is denied for lack of a permission."""
    requests: dict[str, dict[str, Any]] = {
        "get_item": {"TableName": table, "Key": key},
        "put_item": {"TableName": table, "Item": key},
        "update_item": {"TableName": table, "Key": key},
        "delete_item": {"TableName": table, "Key": key},
        "scan": {"TableName": table},
        "transact_write_items": {"TransactItems": [{"Put": {"TableName": table, "Item": key}}]},
        "batch_write_item": {"RequestItems": {table: [{"PutRequest": {"Item": key}}]}},
    }
    with pytest.raises(ClientError) as error:
        getattr(client, operation)(**requests[operation])
    return bool(error.value.response["Error"]["Code"] == "AccessDeniedException")


@pytest.mark.parametrize(
    "operation", ["put_item", "update_item", "delete_item", "transact_write_items", "batch_write_item"]
)
@pytest.mark.parametrize("logical_name", [tables.LEDGER, *(view.table for view in VIEWS.values())])
def test_api_cannot_write_the_ledger_or_a_counter(
    role_client: Any, stack: Stack, dynamodb: Any, unique: str, logical_name: str, operation: str
):
    table = stack.tables[logical_name]
    key = {name: {"S": unique} for name in tables.KEYS[logical_name]}
    assert refused(role_client, operation, table, key)
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key)


@pytest.mark.parametrize("operation", ["get_item", "put_item", "delete_item", "scan", "transact_write_items"])
def test_api_cannot_access_another_table(
    role_client: Any, other_table: str, dynamodb: Any, unique: str, operation: str
):
    assert refused(role_client, operation, other_table, {"OrderID": {"S": unique}})
    assert dynamodb.scan(TableName=other_table)["Items"] == []
