"""Run Chalice's commands against the emulator: `python -P tests/chalice_cli.py deploy --stage dev`, in a project.

It changes two things in Chalice. ministack 1.5.33 lacks ImportRestApi and PutRestApi, so a CloudFormation stack that
contains only the API replaces them. Chalice's waits are shorter, because the emulator creates a function in half a
second, not five.
"""

import json
import sys
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import botocore.waiter
from chalice.awsclient import TypedAWSClient
from chalice.cli import main

from infrastructure.local_stage import HOST

STACK = "rest-api"
POLL_SECONDS = 0.05
LONGEST_SLEEP_SECONDS = 0.2


def import_rest_api(client: TypedAWSClient, swagger_document: dict[str, Any], endpoint_type: str) -> str:
    """Create an API and return its id."""
    return put_stack("create_stack", swagger_document)


def update_api_from_swagger(client: TypedAWSClient, rest_api_id: str, swagger_document: dict[str, Any]) -> None:
    """Update an API to match an OpenAPI document."""
    updated = put_stack("update_stack", swagger_document)
    assert updated == rest_api_id


def put_stack(operation: str, swagger_document: dict[str, Any]) -> str:
    """Create or update the stack and return the API's id."""
    api = {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": swagger_document}}
    client = aws("cloudformation")
    try:
        getattr(client, operation)(StackName=STACK, TemplateBody=json.dumps({"Resources": {"Api": api}}))
    except client.exceptions.ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    while (status := client.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]).endswith("_IN_PROGRESS"):
        time.sleep(POLL_SECONDS)
    assert status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), status
    (resource,) = client.describe_stack_resources(StackName=STACK)["StackResources"]
    api_id: str = resource["PhysicalResourceId"]
    return api_id


def sleep(seconds: float) -> None:
    """Sleep, but no longer than LONGEST_SLEEP_SECONDS."""
    time.sleep(min(seconds, LONGEST_SLEEP_SECONDS))


def aws(service: str) -> Any:
    """Return a boto3 client for the emulator. Fail if the client would reach the real AWS."""
    client = botocore.session.get_session().create_client(service)
    assert urlsplit(client.meta.endpoint_url).hostname == HOST, "This would reach the real AWS."
    return client


if __name__ == "__main__":
    for service in ("lambda", "iam", "apigateway", "events", "sts"):
        aws(service)
    for replaced in (import_rest_api, update_api_from_swagger):
        setattr(TypedAWSClient, replaced.__name__, replaced)
    vars(botocore.waiter)["time"] = SimpleNamespace(sleep=sleep)
    sys.exit(main())
