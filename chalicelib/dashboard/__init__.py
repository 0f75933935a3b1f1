"""The pages for people, each one HTML document with its style and script, and its response headers.

The dashboard at `/` gets its data from the API; docs.py is the page at `/docs`. app.py reads the files in this folder.
There is no build step: the scripts are parts of one module, which stands in the page. So its policy can name the one
script by its hash and allow no other.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib import orders
from chalicelib.api import totals, trend
from chalicelib.api.access import OPEN_TO_ALL, Settings
from chalicelib.dashboard import docs

SCRIPTS = ("api.js", "light.js", "totals.js", "trend.js", "views.js", "orders.js", "refresh.js")
FILES = ("page.html", "style.css", *SCRIPTS)
"""The arguments of `page`, in this order."""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' "
    "rx='4' fill='%230f766e'/%3E%3Cpath d='M4 12V8m4 4V4m4 8V6' stroke='%23fff' stroke-width='2' "
    "stroke-linecap='round'/%3E%3C/svg%3E"
)


class Page(NamedTuple):
    """The response to `GET /` or `GET /docs`."""

    body: str
    headers: dict[str, str]


def page(html: str, style: str, *scripts: str, access: Settings = OPEN_TO_ALL) -> Page:
    """Return the dashboard for a stage with these access settings."""
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
        html = html.replace(f"{{{name}}}", value.replace("&", "&amp;").replace("'", "&#39;"))
    return build_page("Order totals", html, style, "".join(scripts))


def docs_page(style: str, document: Mapping[str, Any], url: str) -> Page:
    """Return the page that describes the API. `url` is that of the API, without a slash at its end."""
    return build_page("Order totals API", f"<body>{docs.body(document, url)}", style)


def build_page(title: str, body: str, style: str, script: str = "") -> Page:
    """Return an HTML document, given its body without an end tag. Its policy allows only this style and script."""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title><link rel="icon" href="{ICON}">'
    )
    code = f'<script type="module">{script}</script>' if script else ""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(_policy(style, script)),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Page(
        f'<!doctype html><html lang="en"><head>{head}<style>{style}</style></head>{body}{code}</body></html>', headers
    )


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
    if not text:
        return "'none'"
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
