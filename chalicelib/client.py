"""The configuration of app.py's DynamoDB client, and which of its errors are outages."""

from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from chalicelib.counting import transactions

TIMEOUT_VARIABLE = "DYNAMODB_TIMEOUT_SECONDS"
TRIES_VARIABLE = "DYNAMODB_TRIES"


def config(variables: Mapping[str, str]) -> Config:
    """Return the client's configuration for these environment variables.

    By default its timeouts leave room to retry a hanging request within an invocation. The API's function sets shorter
    ones. A retry does no harm, because every write has a condition.
    """
    return Config(
        connect_timeout=2,
        read_timeout=int(variables.get(TIMEOUT_VARIABLE, 5)),
        retries={"mode": "standard", "total_max_attempts": int(variables.get(TRIES_VARIABLE, 4))},
        tcp_keepalive=True,
        # DynamoDB validates every request itself. botocore's validation would take more CPU than everything else that
        # counting an order takes. The client of the integration tests has it on.
        parameter_validation=False,
    )


# The marks that botocore leaves on an error after its last retry.
_RETRIES_EXHAUSTED = {"MaxAttemptsReached", "RetryQuotaReached"}


def is_outage(error: Exception) -> bool:
    """Return whether DynamoDB could not be reached, or was too busy for every retry."""
    if isinstance(error, ClientError):
        return not _RETRIES_EXHAUSTED.isdisjoint(error.response["ResponseMetadata"])
    return isinstance(error, ConnectionError | HTTPClientError)


def nothing_read(error: ClientError, request_items: Any) -> dict[str, Any]:
    """Return the result of a BatchGetItem that DynamoDB refused for a temporary reason. Raise the error otherwise."""
    if error.response["Error"]["Code"] not in transactions.RETRYABLE_CODES:
        raise error
    return {"Responses": {}, "UnprocessedKeys": request_items}
