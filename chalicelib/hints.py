"""What a developer's machine may lack to serve the routes, and what to do about it. Lambda never lacks it."""

from typing import Any

LOCAL = "Run `make local`"

REFUSALS = {
    "ResourceNotFoundException": "There is no table {table} in {region}. " + LOCAL + ", or `make provision STAGE=dev`.",
    "UnrecognizedClientException": "AWS does not accept the credentials. " + LOCAL + ", or set other ones.",
    "InvalidSignatureException": "AWS does not accept the credentials. " + LOCAL + ", or set other ones.",
    "ExpiredTokenException": "The AWS credentials have expired. Log in to AWS again.",
}
"""What to say to an error of DynamoDB's, by its code."""


def missing_settings(region: str | None, credentials: Any) -> str | None:
    """Return which of the AWS settings is missing, or None. `credentials` is None if there are none."""
    if region is None:
        return f"No AWS region is set. {LOCAL}, or set AWS_DEFAULT_REGION."
    if credentials is None:
        return f"No AWS credentials are set. {LOCAL}, or log in to AWS."
    return None


def refusal(code: str | None, table: str, region: str | None) -> str | None:
    """Return what is missing if DynamoDB refused a request with this error code, or None."""
    hint = REFUSALS.get(code or "")
    return hint and hint.format(table=table, region=region)
