"""A deployed stage: find its functions, invoke them, and estimate the size of its tables.

`chalice deploy` gives functions predictable names. A CloudFormation stack generates names; this module looks them up in
the stack.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)
from rich.console import Console

from chalicelib import tables
from infrastructure import chalice_config, local_stage
from infrastructure.package import PROJECT

# An invocation takes at most 900 seconds (Lambda quotas).
READ_TIMEOUT_SECONDS = 910


class StageError(Exception):
    """A job could not be called or has failed. The message says why and, where possible, what to do."""


EXPECTED_ERRORS = (StageError, chalice_config.ConfigError, ClientError, BotoCoreError)
"""Errors for which a command prints the message without a traceback."""


def run(command: Callable[[], int], stopped: str, expected: tuple[type[Exception], ...] = EXPECTED_ERRORS) -> int:
    """Run a command and return its exit status. Print expected errors, and the text `stopped` after Ctrl-C."""
    try:
        return command()
    except expected as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print(stopped)
        return 130


@contextmanager
def explained_errors() -> Iterator[None]:
    """Turn errors about AWS settings or connections into a StageError that says what to do."""
    try:
        yield
    except NoRegionError:
        raise StageError("No AWS region is set. Set AWS_REGION, or run `aws configure`.") from None
    except NoCredentialsError:
        raise StageError("No AWS credentials are set. Log in to AWS, or set AWS_PROFILE.") from None
    except ProfileNotFound as error:
        raise StageError(f"{error}. Set AWS_PROFILE to one that exists.") from None
    except EndpointConnectionError as error:
        url = error.kwargs["endpoint_url"].rstrip("/")
        advice = "Check the AWS region and the network."
        if url.startswith(f"http://{local_stage.HOST}:"):
            advice = "Start `make local` first, or pass the port of a running one: AWS_PORT=..."
        raise StageError(f"Cannot connect to {url}. {advice}") from None


class Stage:
    """A deployed stage of the app."""

    def __init__(self, name: str, stack: str | None, make_client: Callable[[str], Any]) -> None:
        """Read the stage's settings from the project. Raise ConfigError if there is no such stage.

        `make_client` makes a boto3 client for a service. `stack` is the CloudFormation stack, or None to look for
        functions of `chalice deploy` first and then for the stack's default name.
        """
        settings = chalice_config.stage_settings(chalice_config.load(PROJECT), name)
        self._prefix = f"{settings['app_name']}-{name}"
        self._stack = stack
        self.client = make_client
        with explained_errors():
            self._lambda = make_client("lambda")

    def function(self, job: str) -> "Function":
        """Return the function of a job. Raise StageError if it is not deployed."""
        stack = self._stack or self._prefix
        candidates = [] if self._stack else [f"{self._prefix}-{job}"]
        logical_name = "".join(word.capitalize() for word in job.split("_"))  # Chalice names a function like this.
        candidates += [name for name in [self._name_in_stack(stack, logical_name)] if name]
        for name in candidates:
            try:
                with explained_errors():
                    found = self._lambda.get_function_configuration(FunctionName=name)
            except self._lambda.exceptions.ResourceNotFoundException:
                continue
            return Function(name, self._lambda, found.get("Environment", {}).get("Variables", {}))
        functions = f"no function {self._prefix}-{job} and " if not self._stack else ""
        raise StageError(
            f"Found {functions}no stack {stack} with a function for {job} in the account and region of this shell's AWS"
            " settings. Deploy the stage. If its stack has another name, pass STACK=name."
        )

    def item_count(self, table: str, function: "Function") -> int:
        """Return roughly how many items a table has, or 0 if unknown. DynamoDB updates the count every six hours."""
        name = function.variables.get(tables.variable(table), table)
        try:
            description = self.client("dynamodb").describe_table(TableName=name)
        except ClientError:  # Only the progress bar needs the count.
            return 0
        count: int = description["Table"].get("ItemCount", 0)
        return count

    def resource(self, logical_name: str) -> str:
        """Return the physical name of a resource in the stack. Raise StageError if it is not deployed."""
        stack = self._stack or self._prefix
        name = self._name_in_stack(stack, logical_name)
        if name is None:
            raise StageError(
                f"The stack {stack} has no {logical_name}. Only make package deploys it, not chalice deploy."
            )
        return name

    def _name_in_stack(self, stack: str, logical_name: str) -> str | None:
        """Return the physical name of a resource in a stack, or None if it does not exist."""
        try:
            with explained_errors():
                found = self.client("cloudformation").describe_stack_resource(
                    StackName=stack, LogicalResourceId=logical_name
                )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # The stack or the resource does not exist.
                return None
            raise
        name: str = found["StackResourceDetail"]["PhysicalResourceId"]
        return name


class Function:
    """A deployed function and its environment variables."""

    def __init__(self, name: str, client: Any, variables: Mapping[str, str]) -> None:
        self.name = name
        self.variables = variables
        self._client = client

    def call(self, request: Mapping[str, Any]) -> Any:
        """Invoke the function and return its result. Raise StageError with the function's error if it fails."""
        payload = json.dumps(request, ensure_ascii=False, separators=(",", ":"))  # Lambda accepts at most 6 MB.
        with explained_errors():
            response = self._client.invoke(FunctionName=self.name, Payload=payload.encode())
        result = json.loads(response["Payload"].read() or b"null")
        if "FunctionError" in response:
            raise StageError(f"{self.name} failed: {result.get('errorType', '')}: {result.get('errorMessage', '')}")
        return result

    def invoke(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a job's function and return its result. Raise StageError if it fails or returns no object."""
        result = self.call(request)
        if not isinstance(result, dict):
            raise StageError(f"{self.name} returned {result!r}. Check that it is a job of this app.")
        return result


# --- The command line ----------------------------------------------------------------------------


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that select a stage."""
    made = argparse.ArgumentParser(prog=program, description=description)
    made.add_argument("--stage", required=True, help="a stage of .chalice/config.json, or local for `make local`")
    made.add_argument("--stack", help="the CloudFormation stack's name, if it is not order-totals-STAGE")
    port = int(os.environ.get("AWS_PORT") or local_stage.DEFAULT_PORTS["AWS_PORT"])
    made.add_argument("--aws-port", type=int, default=port, help="the AWS port of `make local`")
    return made


def from_options(options: argparse.Namespace) -> Stage:
    """Return the stage that the options select."""
    if options.stage != local_stage.STAGE:
        config = Config(read_timeout=READ_TIMEOUT_SECONDS, retries={"mode": "standard"}, tcp_keepalive=True)
        region = os.environ.get("AWS_REGION")  # The AWS CLI reads AWS_REGION, but boto3 does not.
        return Stage(options.stage, options.stack, lambda service: _client(service, region_name=region, config=config))
    access = {"endpoint_url": local_stage.endpoint_url(options.aws_port), **local_stage.root_access()}
    stack = options.stack or local_stage.STACK
    return Stage(local_stage.STAGE, stack, lambda service: _client(service, **access))


def _client(service: str, **settings: Any) -> Any:
    make: Any = boto3.client  # boto3's type hints accept only literal service names.
    return make(service, **settings)
