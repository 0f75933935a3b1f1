"""The role of the deployed functions, tried from outside: what the app's own tables allow, no other table does.

That the app can do its work with it is shown by all the other tests of this folder.
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

STRANGER = "SomebodyElsesTable"


@pytest.fixture(scope="module")
def functions(emulator: Emulator, stack: Stack) -> Iterator[Any]:
    """A DynamoDB client with the policies of the functions' role, as deployed."""
    iam = emulator.client("iam")
    user = "has-the-functions-policies"
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
def stranger(dynamodb: Any) -> Iterator[str]:
    """A table in the same account that is not the app's."""
    dynamodb.create_table(
        TableName=STRANGER,
        KeySchema=[{"AttributeName": "OrderID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "OrderID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield STRANGER
    dynamodb.delete_table(TableName=STRANGER)


def test_the_apps_own_tables_can_be_read_and_written(functions: Any, stack: Stack, unique: str):
    table = stack.tables["LedgerTable"]
    key = {"OrderID": {"S": unique}}
    functions.put_item(TableName=table, Item=key)
    assert functions.get_item(TableName=table, Key=key)["Item"] == key
    functions.delete_item(TableName=table, Key=key)


@pytest.mark.parametrize("operation", ["get_item", "put_item", "delete_item", "scan", "transact_write_items"])
def test_no_other_table_can(functions: Any, stranger: str, dynamodb: Any, unique: str, operation: str):
    key = {"OrderID": {"S": unique}}
    requests: dict[str, dict[str, Any]] = {
        "get_item": {"TableName": stranger, "Key": key},
        "put_item": {"TableName": stranger, "Item": key},
        "delete_item": {"TableName": stranger, "Key": key},
        "scan": {"TableName": stranger},
        "transact_write_items": {"TransactItems": [{"Put": {"TableName": stranger, "Item": key}}]},
    }
    with pytest.raises(ClientError) as refused:
        getattr(functions, operation)(**requests[operation])
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert dynamodb.scan(TableName=stranger)["Items"] == []
