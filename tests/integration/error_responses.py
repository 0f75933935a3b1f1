"""Make DynamoDB error responses that moto never sends."""

from typing import Any

from botocore.awsrequest import AWSResponse


def error_response(code: str, **metadata: Any) -> tuple[AWSResponse, dict[str, Any]]:
    """Return an error response with this code. `metadata` is the SDK's metadata, such as its retries.

    A handler of botocore's event `before-call` can return this instead of a real response.
    """
    headers: Any = {}
    raw: Any = None
    return AWSResponse("", 400, headers, raw), {
        "Error": {"Code": code, "Message": "Made up."},
        "ResponseMetadata": metadata,
    }
