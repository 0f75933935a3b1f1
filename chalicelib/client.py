"""Configure app.py's DynamoDB client, and tell which of its errors are outages."""

from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from chalicelib.counting import transactions

TIMEOUT_VARIABLE = "DYNAMODB_TIMEOUT_SECONDS"
TRIES_VARIABLE = "DYNAMODB_TRIES"


def config(variables: Mapping[str, str]) -> Config:
    """Return the client's configuration for these environment variables.

    The default timeouts leave time to retry a hanging request within an invocation. The API's function sets shorter
    timeouts. A retry does no harm, because every write has a condition.
    """
    return Config(
        connect_timeout=2,
        read_timeout=int(variables.get(TIMEOUT_VARIABLE, 5)),
        retries={"mode": "standard", "total_max_attempts": int(variables.get(TRIES_VARIABLE, 4))},
        tcp_keepalive=True,
        # DynamoDB validates every request anyway, and botocore's validation would take more CPU than the rest of
        # counting an order. The integration tests turn it on.
        parameter_validation=False,
    )


# The keys that botocore adds to an error's metadata after its last retry.
_RETRIES_EXHAUSTED = {"MaxAttemptsReached", "RetryQuotaReached"}


def is_outage(error: Exception) -> bool:
    """Return whether DynamoDB was unreachable, or still too busy after the last retry."""
    if isinstance(error, ClientError):
        return not _RETRIES_EXHAUSTED.isdisjoint(error.response["ResponseMetadata"])
    return isinstance(error, ConnectionError | HTTPClientError)


def nothing_read(error: ClientError, request_items: Any) -> dict[str, Any]:
    """Return an empty BatchGetItem response for a temporary error, so that the caller retries. Raise other errors."""
    if error.response["Error"]["Code"] not in transactions.RETRYABLE_CODES:
        raise error
    return {"Responses": {}, "UnprocessedKeys": request_items}
