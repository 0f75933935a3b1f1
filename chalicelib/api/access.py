"""Who may call the API: what a stage says about it, read and checked.

A stage says it in its environment_variables (.chalice/config.json): READ_ACCESS and WRITE_ACCESS are `open`, `key`
or `iam`, and CORS_ORIGIN is the origin of the web pages that may call the API too. It is API Gateway that refuses
calls, before any code of ours runs; what it is told is in app.py, and in infrastructure/access.py.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

READ_VARIABLE = "READ_ACCESS"
WRITE_VARIABLE = "WRITE_ACCESS"
ORIGIN_VARIABLE = "CORS_ORIGIN"

# What a browser sends as Origin (RFC 6454): scheme, host, and the port if it is not the scheme's own.
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|\*")


class Access(StrEnum):
    """Whose calls are answered."""

    OPEN = "open"  # Everybody's.
    KEY = "key"  # Those with an API key, header x-api-key.
    IAM = "iam"  # Those signed (Signature Version 4) by somebody whom IAM allows execute-api:Invoke.


class Settings(NamedTuple):
    """What a stage says. The page at `/` and the description are open in any case: no order is in them."""

    reads: Access = Access.OPEN  # GET of orders and totals.
    writes: Access = Access.OPEN  # POST, PUT and DELETE of orders.
    origin: str | None = None  # None: a browser lets only the API's own page call it.


OPEN_TO_ALL = Settings()


class Misconfigured(ValueError):
    """A setting is none that there is; the message says which there are."""


def settings(variables: Mapping[str, str]) -> Settings:
    """The settings that environment variables hold. Raises Misconfigured, rather than leave anything open."""
    return Settings(_access(variables, READ_VARIABLE), _access(variables, WRITE_VARIABLE), _origin(variables))


def _access(variables: Mapping[str, str], name: str) -> Access:
    value = variables.get(name, Access.OPEN)
    try:
        return Access(value)
    except ValueError:
        raise Misconfigured(f"{name} is {value!r}: give {', '.join(Access)}") from None


def _origin(variables: Mapping[str, str]) -> str | None:
    value = variables.get(ORIGIN_VARIABLE)
    if value is None or _ORIGIN.fullmatch(value):
        return value
    raise Misconfigured(f"{ORIGIN_VARIABLE} is {value!r}: give an origin, such as https://shop.example.com")
