"""The text that `make local` prints once it is ready: URLs, credentials, and commands to try."""

import json
from pathlib import Path

from infrastructure.local_stage import REGION, ROOT_KEY, ROOT_SECRET, root_environment
from localcloud.stack import Stack


def text(url: str, stack: Stack, data: Path | None) -> str:
    """Return the text. `url` serves the routes; `data` is the folder that keeps the state, or None."""
    aws = stack.emulator.endpoint_url
    orders, totals = stack.tables["OrdersTable"], stack.tables["AggregateTable"]
    variables = " ".join(f"{name}={value}" for name, value in root_environment(aws).items())
    order = {"OrderID": {"S": "written-directly"}, "Product": {"S": "Notebook"}, "Quantity": {"N": "5"}}
    return f"""
Ready. State: {f"kept in {data}" if data else "empty, and deleted on exit (DATA=folder keeps it)"}

  Dashboard  {url}/
  Routes     {url}                    chalice local, from the source
             {stack.api_host_url}    API Gateway and Lambda, with the generated IAM policy
  AWS        {aws}                    region {REGION}, key {ROOT_KEY}, secret {ROOT_SECRET}

Place an order, give the stream a second to count it, and read the total:

  curl -X POST {url}/orders -H 'Content-Type: application/json' -d '{{"product": "Notebook", "quantity": 5}}'
  sleep 1; curl {url}/totals/Notebook

The same through API Gateway and Lambda:

  curl -X POST {stack.api_host_url}/orders -d '{{"product": "Notebook", "quantity": 5}}'
  sleep 1; curl {stack.api_host_url}/totals/Notebook

Write an order into the table directly, and read the total from its table:

  {dynamodb_curl(aws, "PutItem", {"TableName": orders, "Item": order})}
  sleep 1; {dynamodb_curl(aws, "GetItem", {"TableName": totals, "Key": {"product": {"S": "Notebook"}}})}

Use the AWS CLI, boto3, or any other AWS client that reads these variables:

  export {variables}
  aws dynamodb scan --table-name {totals}

Invoke a job:

  aws lambda invoke --function-name {stack.functions["Backfill"]} /dev/stdout

The stream handler's log follows. Edits to app.py and chalicelib/ are deployed automatically. Ctrl-C stops everything.
"""


def dynamodb_curl(endpoint_url: str, operation: str, request: dict[str, object]) -> str:
    """Return a curl command that sends a signed request to DynamoDB. Signing needs curl 7.75 or newer."""
    return (
        f"curl --aws-sigv4 aws:amz:{REGION}:dynamodb --user {ROOT_KEY}:{ROOT_SECRET} {endpoint_url}"
        f" -H 'X-Amz-Target: DynamoDB_20120810.{operation}' -H 'Content-Type: application/x-amz-json-1.0'"
        f" -d '{json.dumps(request)}'"
    )
