"""Answers of DynamoDB that moto never gives, for handlers of botocore's event `before-call`: those may answer it."""

from typing import Any

from botocore.awsrequest import AWSResponse


def refusal(code: str, **metadata: Any) -> tuple[AWSResponse, dict[str, Any]]:
    """The answer at which the client raises the error with this code, and what the SDK notes of its tries."""
    headers: Any = {}
    nothing: Any = None
    return AWSResponse("", 400, headers, nothing), {
        "Error": {"Code": code, "Message": "Made up."},
        "ResponseMetadata": metadata,
    }
