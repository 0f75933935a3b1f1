"""Hooks for schemathesis, in addition to schemathesis.toml."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """Skip quantities such as 5.0: JSON Schema accepts them as integers, the API does not."""
    return not (isinstance(body, dict) and isinstance(body.get("quantity"), float))
