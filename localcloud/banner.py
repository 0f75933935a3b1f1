"""The text that `make local` prints once it is ready: URLs, credentials, and commands to try."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from rich.panel import Panel
from rich.text import Text

from infrastructure.local_stage import REGION, ROOT_KEY, ROOT_SECRET, root_environment
from localcloud.stack import Stack


def text(url: str, stack: Stack, data: Path | None) -> str:
    """Return the text to print. `url` serves the routes. `data` is the folder that keeps the state, or None."""
    aws = stack.emulator.endpoint_url
    example = _example()
    table, row = stack.tables[example.table], _query(stack.tables[example.table], *example.key)
    put: dict[str, object] = {"TableName": stack.tables["OrdersTable"], "Item": example.item}
    body = shlex.quote(json.dumps(example.body))
    variables = " ".join(f"{name}={value}" for name, value in root_environment(aws).items())
    return f"""
Ready. State: {f"kept in {data}" if data else "empty, and deleted on exit (DATA=folder keeps it)"}

The routes run in chalice local, from the source.
AWS: region {REGION}, key {ROOT_KEY}, secret {ROOT_SECRET}.

Place an order, give the stream a second to count it, and read the total:

  curl -X POST {url}/orders -H 'Content-Type: application/json' -d {body}
  sleep 1; curl {url}{example.path}

The same through API Gateway and Lambda, with the generated IAM policy:

  curl -X POST {stack.api_host_url}/orders -d {body}
  sleep 1; curl {stack.api_host_url}{example.path}

Write an order into the table directly, and read the total from its table:

  {dynamodb_curl(aws, "PutItem", put)}
  sleep 1; {dynamodb_curl(aws, "Query", row)}

Use the AWS CLI, boto3, or any other AWS client that reads these variables:

  export {variables}
  aws dynamodb scan --table-name {table}

Invoke a job:

  aws lambda invoke --function-name {stack.functions["Backfill"]} /dev/stdout

The stream handler's log follows. Edits to app.py and chalicelib/ are deployed automatically. Ctrl-C stops everything.
"""


def box(url: str, stack: Stack) -> Panel:
    """Return the URLs in a box."""
    places = {"Dashboard": f"{url}/", "API": f"{url}/docs", "AWS": stack.emulator.endpoint_url}
    lines = [Text.assemble((f"{name:<11}", "bold"), (place, "cyan")) for name, place in places.items()]
    return Panel.fit(Text("\n").join(lines), border_style="green", padding=(0, 2))


def dynamodb_curl(endpoint_url: str, operation: str, request: Mapping[str, object]) -> str:
    """Return a curl command that sends a signed request to DynamoDB. Signing needs curl 7.75 or newer."""
    return (
        f"curl --aws-sigv4 aws:amz:{REGION}:dynamodb --user {ROOT_KEY}:{ROOT_SECRET} {endpoint_url}"
        f" -H 'X-Amz-Target: DynamoDB_20120810.{operation}' -H 'Content-Type: application/x-amz-json-1.0'"
        f" -d {shlex.quote(json.dumps(request))}"
    )


class _Example(NamedTuple):
    body: dict[str, Any]
    item: dict[str, Any]
    table: str  # The table of the first view that counts the order.
    key: tuple[str, str]  # The name and value of the counter's partition key.
    path: str  # The API's path to the counter.


def _example() -> _Example:
    """Return the model's example order, and where to read the counter that it adds to."""
    # Import late, so that packaging is the first to report an error in model.py.
    from chalicelib import orders, tables, views

    order = orders.parse_order(json.dumps(orders.EXAMPLE).encode(), orders.UPDATE_FIELDS)
    assert isinstance(order, orders.OrderInput)
    item = orders.to_item("written-directly", order, "2026-11-23T18:13:05Z")
    counted = views.contributions(orders.from_item(item, "")).contributions
    del item["PlacedAt"]
    if not counted:  # No view counts the order, so read the order itself.
        return _Example(orders.EXAMPLE, item, tables.ORDERS, ("OrderID", "written-directly"), "/views")
    table, key = next(iter(counted))
    view = views.VIEWS[table]
    route = "/totals" if table == tables.TOTALS else f"/views/{view.name}"
    return _Example(orders.EXAMPLE, item, table, (view.key[0], key[0]), f"{route}/{quote(key[0], safe='')}")


def _query(table: str, name: str, value: str) -> dict[str, object]:
    """Return the Query request for all rows with a partition key."""
    return {
        "TableName": table,
        "KeyConditionExpression": "#key = :key",
        "ExpressionAttributeNames": {"#key": name},
        "ExpressionAttributeValues": {":key": {"S": value}},
    }
