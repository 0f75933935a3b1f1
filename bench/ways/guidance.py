"""AWS guidance SO9440

In the manner of AWS's "Guidance for Processing Real-Time Data Using Amazon DynamoDB" (SO9440), whose template lets
INSERT and MODIFY through a filter, looks a hash of the order's key up in a second table, adds, and then stores the
hash; errors are printed. It uses boto3's resource API.
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
    """Adds each order whose hash is not stored yet."""
    for record in event["Records"]:
        if record["eventName"] in ("INSERT", "MODIFY"):  # What the template's FilterCriteria let through.
            add(record["dynamodb"]["NewImage"])


def add(order: Any) -> None:
    """Adds one order, and remembers its hash."""
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
