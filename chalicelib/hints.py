"""Error messages for an incomplete setup on a developer's machine. They say what is missing and what to do.

In Lambda, the region, the credentials and the tables are always there.
"""

from typing import Any

_RUN_LOCALLY = "Run `make local`"

_HINTS = {
    "ResourceNotFoundException": (
        f"There is no table {{table}} in {{region}}. {_RUN_LOCALLY}, or `make provision STAGE=dev`."
    ),
    "UnrecognizedClientException": f"AWS does not accept the credentials. {_RUN_LOCALLY}, or set other ones.",
    "InvalidSignatureException": f"AWS does not accept the credentials. {_RUN_LOCALLY}, or set other ones.",
    "ExpiredTokenException": "The AWS credentials have expired. Log in to AWS again.",
}
"""Messages by DynamoDB's error code."""


def missing_settings(region: str | None, credentials: Any) -> str | None:
    """Return a message if the AWS region or the credentials are None. Return None if both are set."""
    if region is None:
        return f"No AWS region is set. {_RUN_LOCALLY}, or set AWS_DEFAULT_REGION."
    if credentials is None:
        return f"No AWS credentials are set. {_RUN_LOCALLY}, or log in to AWS."
    return None


def error_hint(code: str | None, table: str, region: str | None) -> str | None:
    """Return a message for an error code of DynamoDB, or None if there is no hint for it."""
    hint = _HINTS.get(code or "")
    return hint and hint.format(table=table, region=region)
