"""The access settings of a stage: who may call the API.

They are in the stage's environment_variables (.chalice/config.json). READ_ACCESS and WRITE_ACCESS are `open`, `key` or
`iam`. CORS_ORIGIN is the origin of the other web pages that may call the API. API Gateway enforces access before it
invokes the app; app.py and infrastructure/access.py configure it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from chalice.app import IAMAuthorizer

READ_VARIABLE = "READ_ACCESS"
WRITE_VARIABLE = "WRITE_ACCESS"
ORIGIN_VARIABLE = "CORS_ORIGIN"

# The Origin header of a browser (RFC 6454): scheme and host, and the port unless it is the scheme's default.
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|\*")


class Access(StrEnum):
    """The callers that may send a request."""

    OPEN = "open"  # Everyone may call.
    KEY = "key"  # Callers with an API key, in the header x-api-key.
    IAM = "iam"  # Callers who sign with Signature Version 4 and have the IAM permission execute-api:Invoke.


_ROUTE_OPTIONS: Mapping[Access, Mapping[str, Any]] = {
    Access.OPEN: {},
    Access.KEY: {"api_key_required": True},
    Access.IAM: {"authorizer": IAMAuthorizer()},
}


def route_options(access: Access) -> Mapping[str, Any]:
    """Return the Chalice options for a route with this access."""
    return _ROUTE_OPTIONS[access]


class Settings(NamedTuple):
    """A stage's access settings. The dashboard and the OpenAPI document contain no orders and are always open."""

    reads: Access = Access.OPEN  # Who may read orders and totals (GET).
    writes: Access = Access.OPEN  # Who may write orders (POST, PUT, DELETE).
    origin: str | None = None  # The allowed CORS origin. With None, only the dashboard can call the API in a browser.


OPEN_TO_ALL = Settings()


class InvalidSettingError(ValueError):
    """An access setting has an unknown value. The message lists the valid ones."""


def settings(variables: Mapping[str, str]) -> Settings:
    """Return the settings in the environment variables.

    Raise InvalidSettingError for an unknown value, so that a typo cannot leave the API open.
    """
    return Settings(_access(variables, READ_VARIABLE), _access(variables, WRITE_VARIABLE), _origin(variables))


def _access(variables: Mapping[str, str], name: str) -> Access:
    value = variables.get(name, Access.OPEN)
    try:
        return Access(value)
    except ValueError:
        raise InvalidSettingError(f"{name} is {value!r}. Set it to one of: {', '.join(Access)}.") from None


def _origin(variables: Mapping[str, str]) -> str | None:
    value = variables.get(ORIGIN_VARIABLE)
    if value is None or _ORIGIN.fullmatch(value):
        return value
    raise InvalidSettingError(f"{ORIGIN_VARIABLE} is {value!r}. Set it to an origin such as https://shop.example.com.")
