"""Chalice's command line for the emulator: `python -P tests/chalice_cli.py deploy --stage dev` in a project's folder.

All of it is Chalice's own but two calls. ministack 1.5.33 has neither ImportRestApi nor PutRestApi, and makes the
same of a Swagger document when CloudFormation asks for it: so they become a stack with the API alone. And where
Chalice waits for AWS it looks again sooner: the emulator has a function ready in half a second, and not in five.
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

from localcloud.servers import HOST

STACK = "rest-api"
POLL_SECONDS = 0.05
LONGEST_SLEEP_SECONDS = 0.2


def import_rest_api(client: TypedAWSClient, swagger_document: dict[str, Any], endpoint_type: str) -> str:
    """Makes an API; returns its id."""
    return put_stack("create_stack", swagger_document)


def update_api_from_swagger(client: TypedAWSClient, rest_api_id: str, swagger_document: dict[str, Any]) -> None:
    """Changes an API to what the document says."""
    updated = put_stack("update_stack", swagger_document)
    assert updated == rest_api_id


def put_stack(operation: str, swagger_document: dict[str, Any]) -> str:
    """Creates or updates the stack; returns the API's id."""
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
    """Waits, but not for long."""
    time.sleep(min(seconds, LONGEST_SLEEP_SECONDS))


def aws(service: str) -> Any:
    """A client of the emulator, and of nothing else."""
    client = botocore.session.get_session().create_client(service)
    assert urlsplit(client.meta.endpoint_url).hostname == HOST, "This would reach the real AWS."
    return client


if __name__ == "__main__":
    for needed in ("lambda", "iam", "apigateway", "events", "sts"):
        aws(needed)
    for replaced in (import_rest_api, update_api_from_swagger):
        setattr(TypedAWSClient, replaced.__name__, replaced)
    vars(botocore.waiter)["time"] = SimpleNamespace(sleep=sleep)
    sys.exit(main())
