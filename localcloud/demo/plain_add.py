"""The stream handler of most tutorials, as a separate Lambda function: one UpdateItem with ADD for each new order."""

import json
from typing import Any

import boto3

dynamodb = boto3.client("dynamodb")


def handler(event: Any, _context: Any) -> None:
    """Add each new order's quantity to its product's total."""
    print(json.dumps(event))
    for record in event["Records"]:
        if record["eventName"] == "INSERT":
            order = record["dynamodb"]["NewImage"]
            dynamodb.update_item(
                TableName="PlainAddTable",
                Key={"product": order["Product"]},
                UpdateExpression="ADD totalQuantity :quantity",
                ExpressionAttributeValues={":quantity": order["Quantity"]},
            )
