"""Error messages for an incomplete setup on a developer's machine: what is missing, and what to do.

Lambda does not need them, because region, credentials and tables always exist there.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.api.http import ServiceUnavailableError

NOT_PROVISIONED = "Stage {stage} has no tables yet. Run `make provision STAGE={stage}` first."

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


def deployed_stage(modules: Mapping[str, Any]) -> str | None:
    """Return the stage to deploy if `chalice deploy` imports the app, otherwise None. `modules` is sys.modules."""
    command = "click" in modules and modules["click"].get_current_context(silent=True)
    return command.params["stage"] if command and command.info_name == "deploy" else None


def register(events: Any, region: str | None, credentials: Callable[[], Any], log: Callable[[str], None]) -> None:
    """Make the client raise a 503 with a message for the developer. `events` are the boto3 client's events."""

    def require_settings(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["table"] = params.get("TableName", "")
        explain(missing_settings(region, credentials()))

    def require_table(parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        explain(error_hint(parsed.get("Error", {}).get("Code"), context.get("table", ""), region))

    def explain(problem: str | None) -> None:
        if problem:
            log(problem)
            raise ServiceUnavailableError(problem)

    events.register("provide-client-params.dynamodb", require_settings)
    events.register("after-call.dynamodb", require_table)


def missing_settings(region: str | None, credentials: Any) -> str | None:
    """Return a message if the AWS region or the credentials are None. Return None if both are set."""
    if region is None:
        return f"No AWS region is set. {_RUN_LOCALLY}, or set AWS_DEFAULT_REGION."
    if credentials is None:
        return f"No AWS credentials are set. {_RUN_LOCALLY}, or log in to AWS."
    return None


def error_hint(code: str | None, table: str, region: str | None) -> str | None:
    """Return the message for a DynamoDB error code, or None if there is no hint for it."""
    hint = _HINTS.get(code or "")
    return hint and hint.format(table=table, region=region)
