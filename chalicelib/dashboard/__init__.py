"""The dashboard's page: one document with its style and its script in it, and the headers it is served with.

The files beside this one are what to edit; app.py reads them, nothing builds them. What the page shows comes
from the API's own routes.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.api.access import OPEN_TO_ALL, Settings

FILES = ("page.html", "style.css", "script.js")
"""What `page` takes, in this order."""


class Page(NamedTuple):
    """What `GET /` answers with."""

    body: str
    headers: Mapping[str, str]


def page(html: str, style: str, script: str, *, access: Settings = OPEN_TO_ALL) -> Page:
    """The page as it is served; `access` says what the API wants with the page's requests."""
    guarded = html.replace("{reads}", access.reads).replace("{writes}", access.writes)
    before, _, rest = guarded.partition("{style}")
    between, _, after = rest.partition("{script}")
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(_policy(style, script)),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Page(f"{before}{style}{between}{script}{after}", headers)


def _policy(style: str, script: str) -> list[str]:
    """All that the page has, and nothing else: not even a script or style that got into it as a product's name."""
    return [
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "img-src data:",  # Its icon.
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
