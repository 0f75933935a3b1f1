"""The tables, for all who make them: CloudFormation (template.py), provision.py, the local cloud, the tests.

Which tables there are and their keys comes from chalicelib.tables; how a stage bills, streams, expires, keeps
and protects them is decided here. The same data yields a table's CloudFormation resource and the parameters of
the API calls that make it: nothing is defined twice.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from chalicelib import tables

StreamView = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]


class Protection(NamedTuple):
    """What a stage does against the loss of its tables and of what is in them."""

    point_in_time_recovery: bool
    """Whether a table can be restored to any second of the last 35 days."""
    deletion_protection: bool
    """Whether DynamoDB refuses to delete a table."""
    own_key: bool
    """Encrypted with the account's aws/dynamodb key, whose use CloudTrail shows, instead of DynamoDB's own."""
    outlives_stack: bool
    """Whether a table stays when its stack is deleted or would replace it."""


FULL = Protection(point_in_time_recovery=True, deletion_protection=True, own_key=True, outlives_stack=True)

# A stage that is not named here holds somebody's data, for all that is known.
PROTECTION = {
    "local": Protection(False, False, False, False),
    "dev": Protection(point_in_time_recovery=True, deletion_protection=False, own_key=False, outlives_stack=False),
}

# The stages that have the plain names, each being alone in its account. The others say in the name whose it is.
PLAIN_NAMES = {"local", "dev"}


class Table(NamedTuple):
    """A table of one stage."""

    logical_name: str
    name: str
    key: tuple[str, ...]
    """The names of the key attributes, all strings: the partition key, and perhaps the sort key."""
    stream: StreamView | None
    ttl: str | None
    """The attribute that holds the time of expiry, in epoch seconds."""
    protection: Protection

    @property
    def variable(self) -> str:
        """The environment variable that tells the app this table's name."""
        return tables.variable(self.logical_name)


def all_tables(stage: str, stream: StreamView = "NEW_AND_OLD_IMAGES") -> list[Table]:
    """All tables of a stage."""
    return [
        Table(
            logical_name=logical_name,
            name=table_name(logical_name, stage),
            key=key,
            stream=stream if logical_name == tables.ORDERS else None,
            ttl=tables.LEDGER_TTL if logical_name == tables.LEDGER else None,
            protection=protection(stage),
        )
        for logical_name, key in tables.KEYS.items()
    ]


def table_name(logical_name: str, stage: str) -> str:
    """The name of a stage's table: OrdersTable, or OrdersTable-prod."""
    return logical_name if stage in PLAIN_NAMES else f"{logical_name}-{stage}"


def protection(stage: str) -> Protection:
    """How a stage's tables are protected."""
    return PROTECTION.get(stage, FULL)


# --- As a CloudFormation resource ----------------------------------------------------------------


def resource(table: Table) -> dict[str, Any]:
    """The table as a CloudFormation resource (AWS::DynamoDB::Table)."""
    properties: dict[str, Any] = {
        "TableName": table.name,
        **_shape(table),
        "DeletionProtectionEnabled": table.protection.deletion_protection,
        "PointInTimeRecoverySpecification": _recovery(table),
    }
    if table.stream:
        properties["StreamSpecification"] = {"StreamViewType": table.stream}
    if table.ttl:
        properties["TimeToLiveSpecification"] = _ttl(table.ttl)
    if table.protection.own_key:
        properties["SSESpecification"] = {"SSEEnabled": True, "SSEType": "KMS"}
    fate = "Retain" if table.protection.outlives_stack else "Delete"
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": fate,
        "UpdateReplacePolicy": fate,
        "Properties": properties,
    }


# --- As parameters of API calls ------------------------------------------------------------------


def create_parameters(table: Table) -> dict[str, Any]:
    """The parameters of CreateTable."""
    parameters: dict[str, Any] = {
        "TableName": table.name,
        **_shape(table),
        "DeletionProtectionEnabled": table.protection.deletion_protection,
    }
    if table.stream:
        parameters["StreamSpecification"] = stream_parameter(table.stream)
    if table.protection.own_key:
        parameters["SSESpecification"] = encryption_parameter()
    return parameters


def stream_parameter(view: StreamView) -> dict[str, Any]:
    """The StreamSpecification of CreateTable and UpdateTable."""
    return {"StreamEnabled": True, "StreamViewType": view}


def encryption_parameter() -> dict[str, Any]:
    """The SSESpecification of CreateTable and UpdateTable."""
    return {"Enabled": True, "SSEType": "KMS"}


def ttl_parameters(table: Table) -> dict[str, Any] | None:
    """The parameters of UpdateTimeToLive, for a table that has a TTL."""
    return {"TableName": table.name, "TimeToLiveSpecification": _ttl(table.ttl)} if table.ttl else None


def recovery_parameters(table: Table) -> dict[str, Any]:
    """The parameters of UpdateContinuousBackups."""
    return {"TableName": table.name, "PointInTimeRecoverySpecification": _recovery(table)}


# --- What both have in common --------------------------------------------------------------------


def _shape(table: Table) -> dict[str, Any]:
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in table.key],
        "KeySchema": key_schema(table.key),
    }


def key_schema(key: Sequence[str]) -> list[dict[str, str]]:
    """The KeySchema of a key: partition key first, then perhaps the sort key."""
    return [
        {"AttributeName": name, "KeyType": key_type} for name, key_type in zip(key, ("HASH", "RANGE"), strict=False)
    ]


def _recovery(table: Table) -> dict[str, bool]:
    return {"PointInTimeRecoveryEnabled": table.protection.point_in_time_recovery}


def _ttl(attribute: str) -> dict[str, Any]:
    return {"AttributeName": attribute, "Enabled": True}
