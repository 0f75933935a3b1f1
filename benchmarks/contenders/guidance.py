"""AWS guidance SO9440

Modelled on
https://github.com/aws-solutions-library-samples/guidance-for-processing-real-time-data-using-amazon-dynamo-db: look up
a hash of the order's key, ADD if it is missing, store it.
"""

import hashlib
from typing import Any

import boto3

TABLES = {"GuidanceTotals": ("product",), "GuidanceHashes": ("hash_key",)}
TOTAL = ("GuidanceTotals", "product", "totalQuantity")

dynamodb = boto3.resource("dynamodb")
totals = dynamodb.Table("GuidanceTotals")
hashes = dynamodb.Table("GuidanceHashes")


def handler(event: Any, _context: Any) -> None:
    """Add each order whose hash is not stored yet."""
    for record in event["Records"]:
        if record["eventName"] in ("INSERT", "MODIFY"):  # The template's FilterCriteria.
            add(record["dynamodb"]["NewImage"])


def add(order: Any) -> None:
    """Add one order, then store its hash."""
    product = order.get("Product", {}).get("S")
    quantity = int(order.get("Quantity", {}).get("N", 0))
    if not product or not quantity:
        return
    key = {"hash_key": hashlib.sha256(f"{order['OrderID']['S']}:{product}".encode()).hexdigest()}
    try:
        if "Item" in hashes.get_item(Key=key):
            return
        totals.update_item(
            Key={"product": product},
            UpdateExpression="ADD totalQuantity :quantity",
            ExpressionAttributeValues={":quantity": quantity},
        )
        hashes.put_item(Item=key)
    except Exception as error:
        print(error)
