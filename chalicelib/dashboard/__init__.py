"""The dashboard: one HTML document that includes its style and script, and the response headers for it.

app.py reads the files in this folder; there is no build step. The page gets its data from the API.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from chalicelib import orders
from chalicelib.api import totals, trend
from chalicelib.api.access import OPEN_TO_ALL, Settings

FILES = ("page.html", "style.css", "script.js")
"""The arguments of `page`, in this order."""


class Page(NamedTuple):
    """The response to `GET /`."""

    body: str
    headers: Mapping[str, str]


def page(html: str, style: str, script: str, *, access: Settings = OPEN_TO_ALL) -> Page:
    """Return the dashboard's page for a stage with these access settings."""
    before, _, rest = html.partition("{style}")
    between, _, after = rest.partition("{script}")
    totals_view, trend_view = totals.view(), trend.view()
    values = {
        "reads": access.reads,
        "writes": access.writes,
        "totals": totals_view.name if totals_view else "",
        "trend": trend_view.name if totals_view and trend_view else "",
        "noscript": "totals?top=20" if totals_view else "views",
        "example": json.dumps(orders.EXAMPLE),
        "fields": json.dumps([{**field.form, **field.type.form} for field in orders.FIELDS]),
    }
    for name, value in values.items():
        between = between.replace(f"{{{name}}}", value.replace("&", "&amp;").replace("'", "&#39;"))
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(_policy(style, script)),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Page(f"{before}{style}{between}{script}{after}", headers)


def _policy(style: str, script: str) -> list[str]:
    """Return a Content Security Policy that allows only the page's own parts, and no injected script or style."""
    return [
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "img-src data:",  # The icon.
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
