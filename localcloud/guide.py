"""What `make local` says to its reader: what is ready, what to try, which log lines are worth a look."""

import json
import re
from pathlib import Path

from localcloud.emulator import REGION, ROOT_KEY, ROOT_SECRET, root_environment
from localcloud.stack import Stack

PLATFORM_LINES = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# How `chalice local` logs a request: 127.0.0.1 - - [23/Nov/2026 18:29:20] "GET /totals HTTP/1.1" 200 -
REQUEST_LINE = re.compile(r'\S+ - - \[[^]]+\] ".*" \d{3} -')


def text(url: str, stack: Stack, data: Path | None) -> str:
    """What is ready and what to try."""
    aws = stack.emulator.endpoint_url
    orders, totals = stack.tables["OrdersTable"], stack.tables["AggregateTable"]
    variables = " ".join(f"{name}={value}" for name, value in root_environment(aws).items())
    order = {"OrderID": {"S": "written-directly"}, "Product": {"S": "Notebook"}, "Quantity": {"N": "5"}}
    return f"""
Ready. State: {f"kept in {data}" if data else "fresh, and gone at the end (DATA=folder keeps it)"}

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

Or with the AWS CLI, and so with boto3 and all that reads these variables:

  export {variables}
  aws dynamodb scan --table-name {totals}

Call a job:

  aws lambda invoke --function-name {stack.functions["Backfill"]} /dev/stdout

What the stream handler logs follows here. Changes in app.py and chalicelib/ are taken up. Ctrl-C stops everything.
"""


def dynamodb_curl(endpoint_url: str, operation: str, request: dict[str, object]) -> str:
    """A curl line that makes a signed request to DynamoDB; curl signs since 7.75."""
    return (
        f"curl --aws-sigv4 aws:amz:{REGION}:dynamodb --user {ROOT_KEY}:{ROOT_SECRET} {endpoint_url}"
        f" -H 'X-Amz-Target: DynamoDB_20120810.{operation}' -H 'Content-Type: application/x-amz-json-1.0'"
        f" -d '{json.dumps(request)}'"
    )


def worth_showing(line: str) -> bool:
    """Whether a log line is the app's own: not the platform's, no metric, no request that somebody has just made."""
    told = line.startswith(PLATFORM_LINES) or '"_aws":' in line or REQUEST_LINE.fullmatch(line)
    return bool(line.strip()) and not told


def short(line: str, log: Path) -> str:
    """Shorten a log entry that has a traceback to its level, message and error. `log` is where the whole entry is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "exception" not in entry:
        return line
    error = entry["exception"].strip().rpartition("\n")[2]
    return f"{entry['level']} {entry['message']}: {error} (traceback in {log})"
