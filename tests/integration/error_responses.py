"""Error responses of DynamoDB that moto never sends."""

from typing import Any

from botocore.awsrequest import AWSResponse


def error_response(code: str, **metadata: Any) -> tuple[AWSResponse, dict[str, Any]]:
    """Return a response with this error code. `metadata` is what the SDK adds about its retries.

    A handler of botocore's event `before-call` can return it in place of a real response.
    """
    headers: Any = {}
    raw: Any = None
    return AWSResponse("", 400, headers, raw), {
        "Error": {"Code": code, "Message": "Made up."},
        "ResponseMetadata": metadata,
    }
