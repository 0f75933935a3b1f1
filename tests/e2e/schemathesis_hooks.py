"""Hooks for schemathesis, in addition to schemathesis.toml."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """Skip quantities such as 5.0, which JSON Schema accepts as integers but the API rejects."""
    return not (isinstance(body, dict) and isinstance(body.get("quantity"), float))
