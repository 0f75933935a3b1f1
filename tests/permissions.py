"""Every action that the functions' role is granted, and who needs it: none is granted in vain."""

NEEDED_BY: dict[str, tuple[str, ...]] = {
    "dynamodb:PutItem": ("POST /orders", "the stream: an order placed"),
    "dynamodb:GetItem": (
        "GET /orders/{order_id}",
        "GET /totals",
        "GET /totals/{product}",
        "GET /totals/{product}/trend",
    ),
    "dynamodb:UpdateItem": (
        "PUT /orders/{order_id}",
        "the stream: an order placed",
        "backfill: an order to count",
        "audit: an order to count",
        "audit: a counter to mend",
    ),
    "dynamodb:DeleteItem": ("DELETE /orders/{order_id}",),
    "dynamodb:BatchGetItem": ("the stream: an order amended", "backfill", "audit"),
    "dynamodb:Scan": ("GET /totals", "backfill", "audit", "daily_audit"),
    "dynamodb:Query": ("GET /totals/{product}/trend",),
}
"""What is refused without an action. The emulator evaluates the role's policies at each of these calls."""

PLATFORM: dict[str, str] = {
    # DynamoDB Developer Guide, "IAM policy to allow a Lambda function to access DynamoDB stream records", and the
    # managed policy AWSLambdaDynamoDBExecutionRole, which has these and the next three and nothing else.
    "dynamodb:DescribeStream": "Lambda reads the stream with the function's role",
    "dynamodb:GetRecords": "Lambda reads the stream with the function's role",
    "dynamodb:GetShardIterator": "Lambda reads the stream with the function's role",
    "dynamodb:ListStreams": "Lambda reads the stream with the function's role",
    "logs:CreateLogGroup": "Lambda writes the function's log with the function's role",
    "logs:CreateLogStream": "Lambda writes the function's log with the function's role",
    "logs:PutLogEvents": "Lambda writes the function's log with the function's role",
    # Lambda Developer Guide, "Retaining discarded batch records for a DynamoDB data source in Lambda".
    "sqs:SendMessage": "Lambda reports batches that it gives up with the function's role",
}
"""What AWS itself does in the role's name, and why. ministack 1.5.33 does it too, and asks no policy."""
