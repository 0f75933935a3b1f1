"""Powertools idempotency

Powertools for AWS Lambda's idempotency utility around an ADD, record by record and keyed by the record's eventID, as
its documentation shows for batches: what careful people write. Records are remembered for 24 hours, which is how long
a stream can deliver them again. It adds the difference of the two images, so that amendments count.
"""

from typing import Any

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from bench.ways.images import deltas

TABLES = {"PowertoolsTotals": ("product",), "PowertoolsIdempotency": ("id",)}
TOTAL = ("PowertoolsTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")
store = DynamoDBPersistenceLayer(table_name="PowertoolsIdempotency", boto3_client=dynamodb)
config = IdempotencyConfig(event_key_jmespath="eventID", expires_after_seconds=24 * 60 * 60)


@idempotent_function(data_keyword_argument="record", persistence_store=store, config=config)  # type: ignore[untyped-decorator]
def count(record: Any) -> None:
    """Adds what one record changes."""
    for product, delta in deltas(record).items():
        dynamodb.update_item(
            TableName="PowertoolsTotals",
            Key={"product": {"S": product}},
            UpdateExpression="ADD totalQuantity :delta",
            ExpressionAttributeValues={":delta": {"N": str(delta)}},
        )


def handler(event: Any, context: Any) -> None:
    """Counts record by record."""
    config.register_lambda_context(context)
    for record in event["Records"]:
        count(record=record)
