"""ADD per record

One UpdateItem with ADD for each new order, as in most tutorials (such as
https://benoitpaul.com/blog/aws/dynamodb-streams-aggregate).
"""

from typing import Any

import boto3

TABLES = {"AddTotals": ("product",)}
TOTAL = ("AddTotals", "product", "totalQuantity")

dynamodb = boto3.client("dynamodb")


def handler(event: Any, _context: Any) -> None:
    """Add each new order's quantity to its product's total."""
    for record in event["Records"]:
        if record["eventName"] == "INSERT":
            order = record["dynamodb"]["NewImage"]
            dynamodb.update_item(
                TableName="AddTotals",
                Key={"product": order["Product"]},
                UpdateExpression="ADD totalQuantity :quantity",
                ExpressionAttributeValues={":quantity": order["Quantity"]},
            )
