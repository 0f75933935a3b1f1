"""Marker per record

One transaction per record: a marker item that must not exist yet, and the ADD. The textbook use of transactions
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transactions.html).
"""

from typing import Any

import boto3

from benchmarks.contenders import increments

TABLES = {"MarkerTotals": ("product",), "Markers": ("eventID",)}
TOTAL = ("MarkerTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")


def handler(event: Any, _context: Any) -> None:
    """Count each record."""
    for record in event["Records"]:
        try:
            dynamodb.transact_write_items(TransactItems=[marker(record), *additions(record)])
        except dynamodb.exceptions.TransactionCanceledException as error:
            if error.response["CancellationReasons"][0]["Code"] != "ConditionalCheckFailed":
                raise


def marker(record: Any) -> Any:
    """Return the transaction action that fails if the record is already counted."""
    return {
        "Put": {
            "TableName": "Markers",
            "Item": {"eventID": {"S": record["eventID"]}},
            "ConditionExpression": "attribute_not_exists(eventID)",
        }
    }


def additions(record: Any) -> list[Any]:
    """Return the transaction actions that count the record."""
    return [
        {
            "Update": {
                "TableName": "MarkerTotals",
                "Key": {"product": {"S": product}},
                "UpdateExpression": "ADD totalQuantity :delta",
                "ExpressionAttributeValues": {":delta": {"N": str(delta)}},
            }
        }
        for product, delta in increments(record).items()
    ]
