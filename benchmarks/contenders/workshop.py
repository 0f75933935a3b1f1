"""AWS workshop

The exactly-once pattern of "Build a Serverless Event Driven Architecture"
(https://amazon-dynamodb-labs.com/event-driven-architecture.html): one transaction adds the batch's sums, its
ClientRequestToken is a hash of the batch. Without the workshop's Map table.
"""

import hashlib
from collections import Counter
from typing import Any

import boto3

from benchmarks.contenders import increments

TABLES = {"WorkshopTotals": ("product",)}
TOTAL = ("WorkshopTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")


def handler(event: Any, _context: Any) -> None:
    """Add the sums of the batch in one transaction."""
    sums: Counter[str] = Counter()
    for record in event["Records"]:
        sums.update(increments(record))
    token = hashlib.md5(str(event["Records"]).encode(), usedforsecurity=False).hexdigest()
    dynamodb.transact_write_items(TransactItems=[addition(*each) for each in sums.items()], ClientRequestToken=token)


def addition(product: str, amount: int) -> Any:
    """Return the action that adds to a product's total."""
    return {
        "Update": {
            "TableName": "WorkshopTotals",
            "Key": {"product": {"S": product}},
            "UpdateExpression": "ADD totalQuantity :amount",
            "ExpressionAttributeValues": {":amount": {"N": str(amount)}},
        }
    }
