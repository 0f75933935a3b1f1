"""The address and root credentials of the stage `local`, the emulator that `make local` starts."""

from typing import Any

from botocore.config import Config

STAGE = "local"
STACK = "order-totals"
"""The name of its CloudFormation stack."""
HOST = "127.0.0.1"
DEFAULT_PORTS = {"HTTP_PORT": 8000, "AWS_PORT": 4566}
"""The ports of `chalice local` and of the emulator, by the environment variable that changes them."""
REGION = "us-east-1"
# ministack treats these credentials as the account's root user. IAM applies to all other users.
ROOT_KEY = "test"
ROOT_SECRET = "test"


def endpoint_url(port: int) -> str:
    """Return the URL at which the emulator serves every AWS service."""
    return f"http://{HOST}:{port}"


def root_access() -> dict[str, Any]:
    """Return the arguments, besides the endpoint, for a boto3 client of the emulator's root user."""
    return {
        "region_name": REGION,
        "aws_access_key_id": ROOT_KEY,
        "aws_secret_access_key": ROOT_SECRET,
        "config": Config(retries={"mode": "standard"}, read_timeout=900, inject_host_prefix=False),
    }


def root_environment(url: str) -> dict[str, str]:
    """Return the environment variables that make an AWS program use the emulator as the root user."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
    }
