"""Plain Chalice handler

The example in Chalice's documentation (https://aws.github.io/chalice/topics/events.html#dynamodb-events) with an ADD
for each new image. It logs errors and goes on.
"""

import boto3
from chalice.app import Chalice, DynamoDBEvent

TABLES = {"PlainTotals": ("product",)}
TOTAL = ("PlainTotals", "product", "totalQuantity")

app = Chalice(app_name="plain")
table = boto3.resource("dynamodb").Table("PlainTotals")


@app.on_dynamodb_record(stream_arn="arn:aws:dynamodb:us-east-1:123456789012:table/OrdersTable/stream/label")
def handler(event: DynamoDBEvent) -> None:
    """Add the quantity of each record's new image."""
    for record in event:
        image = record.new_image
        if not image:
            continue
        try:
            table.update_item(
                Key={"product": image["Product"]["S"]},
                UpdateExpression="ADD totalQuantity :quantity",
                ExpressionAttributeValues={":quantity": int(image.get("Quantity", {"N": "0"})["N"])},
            )
        except Exception:
            app.log.exception("Not counted")
