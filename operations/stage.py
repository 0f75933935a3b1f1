"""A deployed stage as a job's operator needs it: its functions, called by their names, and the size of its tables.

Functions are found both ways in which the app is deployed: by `chalice deploy`, which names them itself, and in a
CloudFormation stack, which knows what it has named them.
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

from chalicelib import tables
from infrastructure import chalice_config
from infrastructure.package import PROJECT
from localcloud.emulator import root_access
from localcloud.servers import HOST
from localcloud.stack import NAME as LOCAL_STACK

LOCAL = "local"
LOCAL_PORT = 4566
# Longer than any invocation lasts (Lambda quotas: 900 seconds).
READ_TIMEOUT_SECONDS = 910


class StageError(Exception):
    """The job cannot be called, or has failed; the message says why, and what to do where that is known."""


EXPECTED = (StageError, chalice_config.ConfigError, ClientError, BotoCoreError)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors of a machine without AWS settings into a StageError that says what to do."""
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
        todo = "Check the AWS region and the network."
        if url.startswith(f"http://{HOST}:"):
            todo = "Start `make local` first, or pass the port of a running one: AWS_PORT=..."
        raise StageError(f"Nothing answers at {url}. {todo}") from None


class Stage:
    """A stage of the app, deployed somewhere."""

    def __init__(self, name: str, stack: str | None, clients: Callable[[str], Any]) -> None:
        """`clients` makes boto3's client of a service. Raises ConfigError if the project has no such stage."""
        settings = chalice_config.stage_settings(chalice_config.load(PROJECT), name)
        self._prefix = f"{settings['app_name']}-{name}"
        self._stack = stack
        self._clients = clients
        with explained():
            self._lambda = clients("lambda")

    def function(self, job: str) -> "Function":
        """The function of a job. Raises StageError if it is not deployed."""
        stack = self._stack or self._prefix
        tried = [] if self._stack else [f"{self._prefix}-{job}"]
        tried += [name for name in [self._in_stack(stack, job)] if name]
        for name in tried:
            try:
                with explained():
                    described = self._lambda.get_function_configuration(FunctionName=name)
            except self._lambda.exceptions.ResourceNotFoundException:
                continue
            return Function(name, self._lambda, described.get("Environment", {}).get("Variables", {}))
        functions = f"a function {self._prefix}-{job}, nor " if not self._stack else ""
        raise StageError(
            f"There is neither {functions}a stack {stack} with a function for {job}, in the account and region that"
            " the AWS settings of this shell say. Deploy the stage; if its stack has another name, say STACK=name."
        )

    def item_count(self, table: str, function: "Function") -> int:
        """About how many items a table has: DynamoDB counts them every six hours. 0 if it is not to be learnt."""
        name = function.variables.get(tables.variable(table), table)
        try:
            description = self._clients("dynamodb").describe_table(TableName=name)
        except ClientError:  # Only the progress bar needs it.
            return 0
        count: int = description["Table"].get("ItemCount", 0)
        return count

    def _in_stack(self, stack: str, job: str) -> str | None:
        """The function's name by the stack's own account of it."""
        logical = "".join(word.capitalize() for word in job.split("_"))  # As Chalice makes it of the name.
        cloudformation = self._clients("cloudformation")
        try:
            with explained():
                found = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=logical)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # There is no such stack, or nothing of it there.
                return None
            raise
        name: str = found["StackResourceDetail"]["PhysicalResourceId"]
        return name


class Function:
    """A deployed function."""

    def __init__(self, name: str, client: Any, variables: Mapping[str, str]) -> None:
        self.name = name
        self.variables = variables
        self._client = client

    def invoke(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Calls it and waits for its answer. Raises StageError, with what it raised."""
        with explained():
            answer = self._client.invoke(FunctionName=self.name, Payload=json.dumps(request))
        result = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise StageError(f"{self.name} failed: {result.get('errorType', '')}: {result.get('errorMessage', '')}")
        if not isinstance(result, dict):
            raise StageError(f"{self.name} answered with {result!r}: is that this app's job?")
        return result


# --- The command line ----------------------------------------------------------------------------


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that say which stage is meant."""
    made = argparse.ArgumentParser(prog=program, description=description)
    made.add_argument("--stage", required=True, help="a stage of .chalice/config.json; local is that of `make local`")
    made.add_argument("--stack", help="the CloudFormation stack's name, if it is not order-totals-STAGE")
    made.add_argument(
        "--aws-port", type=int, default=int(os.environ.get("AWS_PORT") or LOCAL_PORT), help="that of `make local`"
    )
    return made


def of(arguments: argparse.Namespace) -> Stage:
    """The stage that the arguments name."""
    if arguments.stage != LOCAL:
        config = Config(read_timeout=READ_TIMEOUT_SECONDS, retries={"mode": "standard"}, tcp_keepalive=True)
        region = os.environ.get("AWS_REGION")  # As in the AWS CLI; boto3 itself reads only AWS_DEFAULT_REGION.
        return Stage(
            arguments.stage, arguments.stack, lambda service: _client(service, region_name=region, config=config)
        )
    access = {"endpoint_url": f"http://{HOST}:{arguments.aws_port}", **root_access()}
    return Stage(LOCAL, arguments.stack or LOCAL_STACK, lambda service: _client(service, **access))


def _client(service: str, **settings: Any) -> Any:
    make: Any = boto3.client  # Its type knows services by literal names only.
    return make(service, **settings)
