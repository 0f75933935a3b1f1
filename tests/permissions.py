"""List every permission of the functions' roles, with a feature that needs it."""

NEEDED_BY: dict[str, dict[str, dict[str, str]]] = {
    "APIHandler": {
        "OrdersTable": {
            "PutItem": "POST /orders",
            "GetItem": "GET /orders/{order_id}",
            "UpdateItem": "PUT /orders/{order_id}",
            "DeleteItem": "DELETE /orders/{order_id}",
            "Scan": "GET /views",
        },
        "LedgerTable": {"BatchGetItem": "GET /views", "GetItem": "GET /orders/{order_id}"},
        "AggregateTable": {"GetItem": "GET /totals/{product}", "Scan": "GET /totals"},
        "TrendTable": {
            "GetItem": "GET /views/{view}/{key}/{sort_key}",
            "Scan": "GET /views/{view}",
            "Query": "GET /views/{view}/{key}",
        },
        "StateTable": {"GetItem": "GET /totals", "BatchGetItem": "GET /totals", "UpdateItem": "GET /totals"},
    },
    "Aggregate": {
        "LedgerTable": {"BatchGetItem": "stream: amended order", "PutItem": "stream: new order"},
        "AggregateTable": {"UpdateItem": "stream: new order"},
        "TrendTable": {"UpdateItem": "stream: new order"},
        "StateTable": {"UpdateItem": "stream: lag"},
    },
    "Backfill": {
        "OrdersTable": {"BatchGetItem": "backfill: uncounted order", "Scan": "backfill"},
        "LedgerTable": {"BatchGetItem": "backfill", "PutItem": "backfill: uncounted order"},
        "AggregateTable": {"UpdateItem": "backfill: uncounted order"},
        "TrendTable": {"UpdateItem": "backfill: uncounted order"},
        "StateTable": {"GetItem": "backfill", "UpdateItem": "backfill"},
    },
    "Audit": {
        "OrdersTable": {"BatchGetItem": "audit", "Scan": "audit"},
        "LedgerTable": {"BatchGetItem": "audit", "Scan": "audit", "PutItem": "audit: uncounted order"},
        "AggregateTable": {"Scan": "audit", "UpdateItem": "audit: drifted counter"},
        "TrendTable": {"Scan": "audit", "UpdateItem": "audit: uncounted order"},
        "StateTable": {"GetItem": "audit", "UpdateItem": "audit: removed view"},
    },
    "DailyAudit": {
        "OrdersTable": {"BatchGetItem": "daily_audit", "Scan": "daily_audit"},
        "LedgerTable": {"BatchGetItem": "daily_audit", "Scan": "daily_audit"},
        "AggregateTable": {"Scan": "daily_audit"},
        "TrendTable": {"Scan": "daily_audit"},
        "StateTable": {"BatchGetItem": "daily_audit", "GetItem": "daily_audit", "UpdateItem": "daily_audit"},
    },
    "RefreshTopLists": {
        "AggregateTable": {"Scan": "refresh_top_lists: wanted list"},
        "StateTable": {"BatchGetItem": "refresh_top_lists", "UpdateItem": "refresh_top_lists: wanted list"},
    },
}
"""For each function, table and action: a feature that fails without that permission, as the emulator checks."""

PLATFORM: dict[str, str] = {
    # Source: Developer Guide, "IAM policy to allow a Lambda function to access DynamoDB stream records". The managed
    # policy AWSLambdaDynamoDBExecutionRole has exactly these four actions and the three logs actions.
    "dynamodb:DescribeStream": "Lambda reads the stream with the role of the stream handler",
    "dynamodb:GetRecords": "Lambda reads the stream with the role of the stream handler",
    "dynamodb:GetShardIterator": "Lambda reads the stream with the role of the stream handler",
    "dynamodb:ListStreams": "Lambda reads the stream with the role of the stream handler",
    # The template creates the log groups, so no role needs a permission to create one.
    "logs:CreateLogStream": "Lambda writes a function's log with its role",
    "logs:PutLogEvents": "Lambda writes a function's log with its role",
    # Source: Lambda Developer Guide, "Retaining discarded batch records for a DynamoDB data source in Lambda".
    "s3:PutObject": "Lambda keeps failed batches with the role of the stream handler",
    "s3:ListBucket": "Lambda keeps failed batches with the role of the stream handler",
}
"""Actions that AWS itself uses with a role. ministack 1.5.33 does the same without checking policies."""
