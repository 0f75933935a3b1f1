"""Read the blocks of a document that tests run: Python code, and console commands with their output."""

import re
from typing import NamedTuple

from infrastructure.package import PROJECT


class Command(NamedTuple):
    """A console command, which begins with `$` in the document, and its output."""

    line: str
    shown: str


def blocks(document: str) -> list[str | list[Command]]:
    """Return a document's `python` blocks as text and its `console` blocks as commands, in order."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    found = re.findall(r"^```(python|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block if kind == "python" else _commands(block) for kind, block in found]


def _commands(block: str) -> list[Command]:
    return [Command(*each) for each in re.findall(r"^\$ (.*)\n([^$]*)", block, re.MULTILINE)]


def without_times(text: str) -> str:
    """Return a text with TIME in place of each timestamp."""
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)
