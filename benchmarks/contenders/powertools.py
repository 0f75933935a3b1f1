"""Powertools idempotency

The idempotency utility around one ADD per record, keyed by `eventID` for 24 hours, as documented
(https://docs.aws.amazon.com/powertools/python/latest/utilities/idempotency/).
"""

from typing import Any

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from benchmarks.contenders import increments

TABLES = {"PowertoolsTotals": ("product",), "PowertoolsIdempotency": ("id",)}
TOTAL = ("PowertoolsTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")
store = DynamoDBPersistenceLayer(table_name="PowertoolsIdempotency", boto3_client=dynamodb)
config = IdempotencyConfig(event_key_jmespath="eventID", expires_after_seconds=24 * 60 * 60)


@idempotent_function(data_keyword_argument="record", persistence_store=store, config=config)  # type: ignore[untyped-decorator]
def count(record: Any) -> None:
    """Add the increments of one record."""
    for product, delta in increments(record).items():
        dynamodb.update_item(
            TableName="PowertoolsTotals",
            Key={"product": {"S": product}},
            UpdateExpression="ADD totalQuantity :delta",
            ExpressionAttributeValues={":delta": {"N": str(delta)}},
        )


def handler(event: Any, context: Any) -> None:
    """Count each record."""
    config.register_lambda_context(context)
    for record in event["Records"]:
        count(record=record)
