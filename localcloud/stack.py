"""The app's CloudFormation stack in the emulator: deploy it, invoke its functions, and read its logs."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from infrastructure.local_stage import STACK
from infrastructure.package import CODE, TEMPLATE, read_template
from localcloud.emulator import Emulator
from localcloud.servers import responds

BUCKET = "order-totals-code"
POLL_SECONDS = 0.05
DEPLOY_SECONDS = 120.0

Template = dict[str, Any]


class DeployError(Exception):
    """CloudFormation rejected a template or rolled back. The message has the reasons."""


class FunctionError(Exception):
    """A function raised an exception. `payload` has Lambda's errorType and errorMessage."""

    def __init__(self, payload: Any) -> None:
        super().__init__(json.dumps(payload))
        self.payload = payload


class LogEvent(NamedTuple):
    """One line of a function's log."""

    time_ms: int
    stream: str
    """The log stream. ministack makes one for each invocation."""
    message: str


class Stack:
    """The app's stack in the emulator."""

    def __init__(self, emulator: Emulator, name: str) -> None:
        self.emulator = emulator
        self.name = name
        self.resources: dict[str, str] = {}
        """Physical names by logical names: {"Aggregate": "order-totals-Aggregate-…", "OrdersTable": "OrdersTable"}."""
        self.outputs: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        """The part of `resources` that are functions."""
        self.tables: dict[str, str] = {}
        """The part of `resources` that are tables."""
        self.refresh()

    def refresh(self) -> None:
        """Read the stack's current resources and outputs."""
        formation = self.emulator.client("cloudformation")
        listed = formation.describe_stack_resources(StackName=self.name)["StackResources"]
        self.resources = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed}
        self.functions = _of_type(listed, "AWS::Lambda::Function")
        self.tables = _of_type(listed, "AWS::DynamoDB::Table")
        description = formation.describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in description.get("Outputs", [])}

    @property
    def api_url(self) -> str:
        """The API's URL on 127.0.0.1, which needs no name resolution. It has no trailing slash."""
        return f"{self.emulator.endpoint_url}/_aws/execute-api/{self.resources['RestAPI']}/{self._api_stage}"

    @property
    def api_host_url(self) -> str:
        """The API's URL with a host name, as on AWS. curl and browsers can resolve the name, but Python cannot."""
        return f"http://{self.resources['RestAPI']}.execute-api.localhost:{self.emulator.port}/{self._api_stage}"

    @property
    def _api_stage(self) -> str:
        return self.outputs["EndpointURL"].rstrip("/").rpartition("/")[2]

    def role(self, function: str) -> str:
        """Return the name of a function's role. `function` is the function's logical name."""
        return self.resources[f"{function}Role"]

    @property
    def stream_mapping(self) -> dict[str, Any]:
        """The stream handler's event source mapping."""
        return self.mapping("Aggregate")

    def mapping(self, function: str) -> dict[str, Any]:
        """Return the event source mapping of a function, given the function's logical name."""
        listed = self.emulator.client("lambda").list_event_source_mappings(FunctionName=self.functions[function])
        mapping: dict[str, Any] = listed["EventSourceMappings"][0]
        return mapping

    def invoke(self, function: str, payload: Any = None) -> Any:
        """Invoke a function by its logical name and return its result. Raise FunctionError if it raises."""
        response = self.emulator.client("lambda").invoke(
            FunctionName=self.functions[function], Payload=json.dumps({} if payload is None else payload)
        )
        result = json.loads(response["Payload"].read() or b"null")
        if "FunctionError" in response:
            raise FunctionError(result)
        return result

    def warm(self) -> None:
        """Start the processes of the API's function and the stream handler, so that the first requests do not wait.

        The event source mapping reuses the stream handler's process. The empty batch changes nothing. A request for
        `/views` before the first order marks all views as complete.
        """
        responds(f"{self.api_url}/views")
        self.invoke("Aggregate", {"Records": []})

    def log_events(self, function: str, since_ms: int = 0) -> list[LogEvent]:
        """Return a function's log lines since a time in epoch milliseconds, oldest first.

        The lines of an invocation appear when the invocation ends, all with that time.
        """
        group = self.resources[f"{function}LogGroup"]
        pages = self.emulator.client("logs").get_paginator("filter_log_events")
        try:
            found = [each for page in pages.paginate(logGroupName=group, startTime=since_ms) for each in page["events"]]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return []  # The log group appears when the function is first invoked.
            raise
        events = [LogEvent(each["timestamp"], each["logStreamName"], each["message"]) for each in found]
        return sorted(events, key=lambda event: event.time_ms)

    def logs(self, function: str, since_ms: int = 0) -> list[str]:
        """Return the messages of `log_events`."""
        return [event.message for event in self.log_events(function, since_ms)]

    def log_entries(self, function: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """Return the app's own log entries as JSON objects, without metrics."""
        return [entry for entry in _objects(self.logs(function, since_ms)) if "_aws" not in entry]

    def metrics(self, function: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """Return the metrics that a function has logged, in CloudWatch's embedded metric format."""
        return [entry for entry in _objects(self.logs(function, since_ms)) if "_aws" in entry]


def deploy(
    emulator: Emulator,
    build: Path,
    name: str = STACK,
    change: Callable[[Template], None] | None = None,
) -> Stack:
    """Deploy the package in the folder `build`: create the stack, or update it if it exists. Raise DeployError.

    `change` can edit the template first.
    """
    template = read_template(build / TEMPLATE)
    if change:
        change(template)
    _remove_metric_math(template)
    _point_to_code(template, _upload(emulator, (build / CODE).read_bytes()))
    # Pass the template by URL, because inside the request it may have only 51,200 bytes (CloudFormation quotas).
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
    """Upload content with its hash as the key. Return the key, so that changed content also changes the template."""
    storage = emulator.client("s3")
    storage.create_bucket(Bucket=BUCKET)
    key = hashlib.sha256(content).hexdigest()
    storage.put_object(Bucket=BUCKET, Key=key, Body=content)
    return key


def _point_to_code(template: Template, key: str) -> None:
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": BUCKET, "Key": key}


def _remove_metric_math(template: Template) -> None:
    """Make each alarm that compares metrics watch only its last metric. ministack 1.5.33 has no metric math."""
    for resource in template["Resources"].values():
        if metrics := resource["Properties"].pop("Metrics", None):
            watched = metrics[-1]["MetricStat"]
            resource["Properties"] |= {**watched["Metric"], "Period": watched["Period"], "Statistic": watched["Stat"]}


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
    """Return the stack's status, or "" if the stack does not exist."""
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
        except ValueError:  # Not JSON: a platform line such as START, or a traceback.
            continue
        if isinstance(entry, dict):
            yield entry
