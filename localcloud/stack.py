"""The packaged app as a CloudFormation stack in the emulator: deploying it, calling it, reading its logs."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from infrastructure.package import CODE, TEMPLATE, read
from localcloud.emulator import Emulator
from localcloud.servers import answers

NAME = "order-totals"
BUCKET = "order-totals-code"
POLL_SECONDS = 0.05
DEPLOY_SECONDS = 120.0

Template = dict[str, Any]


class DeployError(Exception):
    """CloudFormation refused or rolled back; the message is what it says of each resource."""


class FunctionError(Exception):
    """A function raised; `payload` is what Lambda says of it: errorType, errorMessage."""

    def __init__(self, payload: Any) -> None:
        super().__init__(json.dumps(payload))
        self.payload = payload


class LogEvent(NamedTuple):
    """A line of a function's log."""

    time_ms: int
    stream: str
    """The log stream, of which ministack makes one for each invocation."""
    message: str


class Stack:
    """A deployed stack."""

    def __init__(self, emulator: Emulator, name: str) -> None:
        self.emulator = emulator
        self.name = name
        self.resources: dict[str, str] = {}
        """Physical names by logical ones: {"Aggregate": "order-totals-Aggregate-…", "OrdersTable": "OrdersTable"}."""
        self.outputs: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        """The functions among the resources."""
        self.tables: dict[str, str] = {}
        """The tables among the resources."""
        self.refresh()

    def refresh(self) -> None:
        """Reads anew what the stack consists of."""
        formation = self.emulator.client("cloudformation")
        there = formation.describe_stack_resources(StackName=self.name)["StackResources"]
        self.resources = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in there}
        self.functions = _of_type(there, "AWS::Lambda::Function")
        self.tables = _of_type(there, "AWS::DynamoDB::Table")
        description = formation.describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in description.get("Outputs", [])}

    @property
    def api_url(self) -> str:
        """The API's URL by path, without a slash at its end: it needs no name resolved."""
        return f"{self.emulator.endpoint_url}/_aws/execute-api/{self.resources['RestAPI']}/{self._api_stage}"

    @property
    def api_host_url(self) -> str:
        """The API's URL by host, as on AWS. curl and browsers resolve such names by themselves, Python does not."""
        return f"http://{self.resources['RestAPI']}.execute-api.localhost:{self.emulator.port}/{self._api_stage}"

    @property
    def _api_stage(self) -> str:
        return self.outputs["EndpointURL"].rstrip("/").rpartition("/")[2]

    @property
    def role(self) -> str:
        """The name of the role of all functions."""
        return self.resources["DefaultRole"]

    @property
    def stream_mapping(self) -> dict[str, Any]:
        """The event source mapping of the stream handler."""
        listed = self.emulator.client("lambda").list_event_source_mappings(FunctionName=self.functions["Aggregate"])
        mapping: dict[str, Any] = listed["EventSourceMappings"][0]
        return mapping

    def invoke(self, function: str, payload: Any = None) -> Any:
        """Calls a function by its logical name; returns what it answers. Raises FunctionError if it raises."""
        answer = self.emulator.client("lambda").invoke(
            FunctionName=self.functions[function], Payload=json.dumps({} if payload is None else payload)
        )
        result = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise FunctionError(result)
        return result

    def warm(self) -> None:
        """Start the processes of the API's functions and the stream handler, so that the first requests do not wait.

        The event source mapping then uses the stream handler's process. An empty batch changes nothing.
        """
        answers(f"{self.api_url}/totals")
        self.invoke("Aggregate", {"Records": []})

    def log_events(self, function: str, since_ms: int = 0) -> list[LogEvent]:
        """All that a function has logged since a time (epoch milliseconds), oldest first.

        The lines of an invocation appear when it has ended, all with the time of its end.
        """
        group = f"/aws/lambda/{self.functions[function]}"
        pages = self.emulator.client("logs").get_paginator("filter_log_events")
        try:
            found = [each for page in pages.paginate(logGroupName=group, startTime=since_ms) for each in page["events"]]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":  # It has never been called.
                return []
            raise
        events = [LogEvent(each["timestamp"], each["logStreamName"], each["message"]) for each in found]
        return sorted(events, key=lambda event: event.time_ms)

    def logs(self, function: str, since_ms: int = 0) -> list[str]:
        """The lines of `log_events`."""
        return [event.message for event in self.log_events(function, since_ms)]

    def log_entries(self, function: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """What the app itself has logged, as JSON objects; metrics, which are log lines too, are left out."""
        return [entry for entry in _objects(self.logs(function, since_ms)) if "_aws" not in entry]

    def metrics(self, function: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """The metrics that a function has logged (CloudWatch's embedded metric format)."""
        return [entry for entry in _objects(self.logs(function, since_ms)) if "_aws" in entry]


def deploy(
    emulator: Emulator,
    build: Path,
    name: str = NAME,
    change: Callable[[Template], None] | None = None,
) -> Stack:
    """Deploys what infrastructure.package wrote to a folder, as a new stack or over the one that is there.

    `change` may change the template before. Raises DeployError.
    """
    template = read(build / TEMPLATE)
    if change:
        change(template)
    _point_to_code(template, _upload(emulator, (build / CODE).read_bytes()))
    # By URL, since a template in the request itself may have only 51,200 bytes (CloudFormation quotas).
    url = f"{emulator.endpoint_url}/{BUCKET}/{_upload(emulator, json.dumps(template).encode())}"
    formation = emulator.client("cloudformation")
    request = {
        "StackName": name,
        "TemplateURL": url,
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    try:
        if _status(emulator, name):
            formation.update_stack(**request)
        else:
            formation.create_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise DeployError(str(error)) from None
    _wait(emulator, name)
    return Stack(emulator, name)


def _upload(emulator: Emulator, content: bytes) -> str:
    """Puts something under the hash of its content, so that a change of it is a change of the template too."""
    storage = emulator.client("s3")
    storage.create_bucket(Bucket=BUCKET)
    key = hashlib.sha256(content).hexdigest()
    storage.put_object(Bucket=BUCKET, Key=key, Body=content)
    return key


def _point_to_code(template: Template, key: str) -> None:
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": BUCKET, "Key": key}


def _wait(emulator: Emulator, name: str) -> None:
    end = time.monotonic() + DEPLOY_SECONDS
    while (status := _status(emulator, name)).endswith("_IN_PROGRESS"):
        if time.monotonic() > end:
            raise DeployError(f"The stack {name} is still in {status} after {DEPLOY_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = emulator.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason")
        ]
        raise DeployError("\n".join([f"The stack {name} is in {status}.", *reasons]))


def _status(emulator: Emulator, name: str) -> str:
    """The stack's status; "" if there is no such stack."""
    try:
        stacks = emulator.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError:
        return ""
    status: str = stacks[0]["StackStatus"]
    return status


def _of_type(resources: list[dict[str, Any]], resource_type: str) -> dict[str, str]:
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for each in resources
        if each["ResourceType"] == resource_type
    }


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # A platform line, such as START, or a traceback.
            continue
        if isinstance(entry, dict):
            yield entry
