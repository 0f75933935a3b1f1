"""Every IAM action that the functions' role is granted, and what needs it. No action is unused."""

NEEDED_BY: dict[str, tuple[str, ...]] = {
    "dynamodb:PutItem": ("POST /orders", "stream: new order"),
    "dynamodb:GetItem": (
        "GET /orders/{order_id}",
        "GET /totals",
        "GET /totals/{product}",
        "GET /totals/{product}/trend",
    ),
    "dynamodb:UpdateItem": (
        "PUT /orders/{order_id}",
        "stream: new order",
        "backfill: uncounted order",
        "audit: uncounted order",
        "audit: drifted counter",
    ),
    "dynamodb:DeleteItem": ("DELETE /orders/{order_id}",),
    "dynamodb:BatchGetItem": ("stream: amended order", "backfill", "audit"),
    "dynamodb:Scan": ("GET /totals", "backfill", "audit", "daily_audit"),
    "dynamodb:Query": ("GET /totals/{product}/trend",),
}
"""What fails without an action. The emulator checks the role's policies at each of these calls."""

PLATFORM: dict[str, str] = {
    # DynamoDB Developer Guide, "IAM policy to allow a Lambda function to access DynamoDB stream records". The managed
    # policy AWSLambdaDynamoDBExecutionRole has exactly these four actions and the three logs actions.
    "dynamodb:DescribeStream": "Lambda reads the stream with the function's role",
    "dynamodb:GetRecords": "Lambda reads the stream with the function's role",
    "dynamodb:GetShardIterator": "Lambda reads the stream with the function's role",
    "dynamodb:ListStreams": "Lambda reads the stream with the function's role",
    "logs:CreateLogGroup": "Lambda writes the function's log with the function's role",
    "logs:CreateLogStream": "Lambda writes the function's log with the function's role",
    "logs:PutLogEvents": "Lambda writes the function's log with the function's role",
    # Lambda Developer Guide, "Retaining discarded batch records for a DynamoDB data source in Lambda".
    "sqs:SendMessage": "Lambda sends failed batches to the queue with the function's role",
}
"""Actions that AWS itself uses with the role. ministack 1.5.33 does the same without checking policies."""
