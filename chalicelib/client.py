"""The configuration of app.py's DynamoDB client, and which of its errors are outages."""

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

# The timeouts leave room to retry a hanging request within an invocation. A retry does no harm, because every write has
# a condition.
CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 4},
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
