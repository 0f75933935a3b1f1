"""Marker per record

A marker item, put on the condition that it is not there, and the ADD in one TransactWriteItems for each record: the
textbook's way to count a record once. It adds the difference of the two images, so that amendments count.
"""

from typing import Any

import boto3

from bench.ways.images import deltas

TABLES = {"MarkerTotals": ("product",), "Markers": ("eventID",)}
TOTAL = ("MarkerTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")


def handler(event: Any, _context: Any) -> None:
    """Counts record by record."""
    for record in event["Records"]:
        try:
            dynamodb.transact_write_items(TransactItems=[marker(record), *additions(record)])
        except dynamodb.exceptions.TransactionCanceledException as error:
            if error.response["CancellationReasons"][0]["Code"] != "ConditionalCheckFailed":
                raise


def marker(record: Any) -> Any:
    """The action that fails where the record has been counted."""
    return {
        "Put": {
            "TableName": "Markers",
            "Item": {"eventID": {"S": record["eventID"]}},
            "ConditionExpression": "attribute_not_exists(eventID)",
        }
    }


def additions(record: Any) -> list[Any]:
    """The actions that count it."""
    return [
        {
            "Update": {
                "TableName": "MarkerTotals",
                "Key": {"product": {"S": product}},
                "UpdateExpression": "ADD totalQuantity :delta",
                "ExpressionAttributeValues": {":delta": {"N": str(delta)}},
            }
        }
        for product, delta in deltas(record).items()
    ]
