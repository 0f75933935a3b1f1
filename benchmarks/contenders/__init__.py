"""The stream handlers that `make bench` compares, each written in the way its users write it.

Each contender is a module. The first line of its docstring is its title, and the rest names its source. `TABLES` maps
its tables to their key attributes. `TOTAL` says where it stores its total (table, key attribute, attribute).
`handler(event, context)` is the Lambda handler. Clients are created on import, as in Lambda.
"""

import ast
from pathlib import Path
from typing import NamedTuple

NAMES = ("ours", "update_item", "guidance", "powertools", "marker")
"""All contenders, Order Totals first."""


class Description(NamedTuple):
    """A contender's title and source."""

    title: str
    origin: str


def describe(name: str) -> Description:
    """Read a contender's docstring without importing the module, which would create its clients."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    title, _, origin = str(ast.get_docstring(ast.parse(source))).partition("\n\n")
    return Description(title, " ".join(origin.split()))
