"""The deployed functions' role: it can access the app's own tables and no other table.

The other tests in this folder show that the role is sufficient for the app.
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infrastructure.local_stage import REGION
from localcloud.emulator import Emulator
from localcloud.stack import Stack

OTHER_TABLE = "SomebodyElsesTable"


@pytest.fixture(scope="module")
def role_client(emulator: Emulator, stack: Stack) -> Iterator[Any]:
    """Return a DynamoDB client of a user with the policies of the functions' role."""
    iam = emulator.client("iam")
    user = "user-with-the-functions-policies"
    iam.create_user(UserName=user)
    for name in iam.list_role_policies(RoleName=stack.role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=stack.role, PolicyName=name)["PolicyDocument"]
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
    """Create a table in the same account that does not belong to the app."""
    dynamodb.create_table(
        TableName=OTHER_TABLE,
        KeySchema=[{"AttributeName": "OrderID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "OrderID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield OTHER_TABLE
    dynamodb.delete_table(TableName=OTHER_TABLE)


def test_role_can_read_and_write_the_apps_tables(role_client: Any, stack: Stack, unique: str):
    table = stack.tables["LedgerTable"]
    key = {"OrderID": {"S": unique}}
    role_client.put_item(TableName=table, Item=key)
    assert role_client.get_item(TableName=table, Key=key)["Item"] == key
    role_client.delete_item(TableName=table, Key=key)


@pytest.mark.parametrize("operation", ["get_item", "put_item", "delete_item", "scan", "transact_write_items"])
def test_role_cannot_access_another_table(
    role_client: Any, other_table: str, dynamodb: Any, unique: str, operation: str
):
    key = {"OrderID": {"S": unique}}
    requests: dict[str, dict[str, Any]] = {
        "get_item": {"TableName": other_table, "Key": key},
        "put_item": {"TableName": other_table, "Item": key},
        "delete_item": {"TableName": other_table, "Key": key},
        "scan": {"TableName": other_table},
        "transact_write_items": {"TransactItems": [{"Put": {"TableName": other_table, "Item": key}}]},
    }
    with pytest.raises(ClientError) as refused:
        getattr(role_client, operation)(**requests[operation])
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert dynamodb.scan(TableName=other_table)["Items"] == []
