"""The definitions of all tables, for CloudFormation (template.py), API calls (provision.py) and tests.

chalicelib.tables has the tables and their keys. This module adds billing, stream, expiry and protection by stage. One
definition yields both the CloudFormation resource and the parameters of the API calls.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from chalicelib import tables

StreamView = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]


class Protection(NamedTuple):
    """How a stage protects its tables and their data against loss."""

    point_in_time_recovery: bool
    """Whether a table can be restored to any second of the last 35 days."""
    deletion_protection: bool
    """Whether DynamoDB refuses to delete a table."""
    kms_key: bool
    """Whether to encrypt with the account's aws/dynamodb key, whose use CloudTrail logs, instead of DynamoDB's own."""
    outlives_stack: bool
    """Whether a table is kept when its stack is deleted or would replace it."""


FULL_PROTECTION = Protection(point_in_time_recovery=True, deletion_protection=True, kms_key=True, outlives_stack=True)

# Unknown stages get full protection, because they may hold production data.
PROTECTION = {
    "local": Protection(False, False, False, False),
    "dev": Protection(point_in_time_recovery=True, deletion_protection=False, kms_key=False, outlives_stack=False),
}

# In these stages, tables have plain names such as OrdersTable. Other stages append the stage's name, so that they can
# share an account.
PLAIN_NAMES = {"local", "dev"}


class Table(NamedTuple):
    """A table of one stage."""

    logical_name: str
    name: str
    key: tuple[str, ...]
    """The names of the key attributes, all strings: the partition key, then the sort key if there is one."""
    stream: StreamView | None
    ttl: str | None
    """The attribute with the time of expiry, in epoch seconds."""
    protection: Protection

    @property
    def variable(self) -> str:
        """The environment variable from which the app reads this table's name."""
        return tables.variable(self.logical_name)


def all_tables(stage: str, stream: StreamView = "NEW_AND_OLD_IMAGES") -> list[Table]:
    """Return all tables of a stage."""
    return [
        Table(
            logical_name=logical_name,
            name=table_name(logical_name, stage),
            key=key,
            stream=stream if logical_name == tables.ORDERS else None,
            ttl=tables.TTL if logical_name in tables.expiring() else None,
            protection=protection(stage, logical_name),
        )
        for logical_name, key in tables.KEYS.items()
    ]


def table_name(logical_name: str, stage: str) -> str:
    """Return the name of a stage's table: OrdersTable, or OrdersTable-prod."""
    return logical_name if stage in PLAIN_NAMES else f"{logical_name}-{stage}"


def protection(stage: str, logical_name: str = tables.ORDERS) -> Protection:
    """Return how a stage protects a table.

    StateTable is not protected against loss: the app can rebuild its content, and a restored copy would be out of date.
    It is encrypted like the other tables, because it can contain product names.
    """
    found = PROTECTION.get(stage, FULL_PROTECTION)
    return Protection(False, False, found.kms_key, False) if logical_name == tables.STATE else found


# --- A table as a CloudFormation resource ----------------------------------------------------------------


def resource(table: Table) -> dict[str, Any]:
    """Return the table as a CloudFormation resource (AWS::DynamoDB::Table)."""
    properties: dict[str, Any] = {
        "TableName": table.name,
        **_shape(table),
        # A limit for the cost of a runaway program. template.py defines the parameters.
        "OnDemandThroughput": {
            "MaxReadRequestUnits": {"Ref": "TableReadUnits"},
            "MaxWriteRequestUnits": {"Ref": "TableWriteUnits"},
        },
        "DeletionProtectionEnabled": table.protection.deletion_protection,
        "PointInTimeRecoverySpecification": _recovery(table),
    }
    if table.stream:
        properties["StreamSpecification"] = {"StreamViewType": table.stream}
    if table.ttl:
        properties["TimeToLiveSpecification"] = _ttl(table.ttl)
    if table.protection.kms_key:
        properties["SSESpecification"] = {"SSEEnabled": True, "SSEType": "KMS"}
    deletion_policy = "Retain" if table.protection.outlives_stack else "Delete"
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": deletion_policy,
        "UpdateReplacePolicy": deletion_policy,
        "Properties": properties,
    }


# --- A table as parameters of API calls ------------------------------------------------------------------


def create_parameters(table: Table) -> dict[str, Any]:
    """Return the parameters of CreateTable."""
    parameters: dict[str, Any] = {
        "TableName": table.name,
        **_shape(table),
        "DeletionProtectionEnabled": table.protection.deletion_protection,
    }
    if table.stream:
        parameters["StreamSpecification"] = stream_parameter(table.stream)
    if table.protection.kms_key:
        parameters["SSESpecification"] = encryption_parameter()
    return parameters


def stream_parameter(view: StreamView) -> dict[str, Any]:
    """Return the StreamSpecification of CreateTable and UpdateTable."""
    return {"StreamEnabled": True, "StreamViewType": view}


def encryption_parameter() -> dict[str, Any]:
    """Return the SSESpecification of CreateTable and UpdateTable."""
    return {"Enabled": True, "SSEType": "KMS"}


def ttl_parameters(table: Table) -> dict[str, Any] | None:
    """Return the parameters of UpdateTimeToLive, or None for a table without expiry."""
    return {"TableName": table.name, "TimeToLiveSpecification": _ttl(table.ttl)} if table.ttl else None


def recovery_parameters(table: Table) -> dict[str, Any]:
    """Return the parameters of UpdateContinuousBackups."""
    return {"TableName": table.name, "PointInTimeRecoverySpecification": _recovery(table)}


# --- Parts of both forms ------------------------------------------------------------------------------


def _shape(table: Table) -> dict[str, Any]:
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in table.key],
        "KeySchema": key_schema(table.key),
    }


def key_schema(key: Sequence[str]) -> list[dict[str, str]]:
    """Return the KeySchema of a key: the partition key, then the sort key if there is one."""
    return [
        {"AttributeName": name, "KeyType": key_type} for name, key_type in zip(key, ("HASH", "RANGE"), strict=False)
    ]


def _recovery(table: Table) -> dict[str, bool]:
    return {"PointInTimeRecoveryEnabled": table.protection.point_in_time_recovery}


def _ttl(attribute: str) -> dict[str, Any]:
    return {"AttributeName": attribute, "Enabled": True}
