"""Tests that the commands in docs/adapt.md, with payments as the model, print what the page shows."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import PROJECT
from tests.e2e.pages import Command, blocks, without_times
from tests.e2e.test_localcloud import make_local
from tests.other_model import copy_with_model
from tests.projects import add_view, view_examples


def on_this_day(text: str, day: str) -> str:
    """Return an output from the page with its dates changed to another day."""
    return without_times(text).replace("2026-11-24", day).replace("2026-11", day[:7])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_commands_of_the_page_print_what_it_shows(tmp_path: Path, eventually: Callable[..., Any]):
    model = (PROJECT / "examples" / "payments" / "model.py").read_text(encoding="utf-8")
    project = copy_with_model(tmp_path / "project", model)
    first, second = (block for block in blocks("docs/adapt.md") if isinstance(block, list))
    with make_local(project) as local:

        def output(command: str) -> str:
            command = command.replace("localhost:8000", f"localhost:{local.http_port}")
            return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout

        def check(commands: list[Command]) -> None:
            placed = without_times(output(commands[0].line))
            if commands[0].shown:
                assert placed == without_times(commands[0].shown)
            for command, shown in commands[1:]:
                day = local.api.get("/views/revenue").json["rows"][-1:] or [{"day": "2026-11-24"}]
                expected = on_this_day(shown, day[0]["day"])
                assert eventually(lambda: without_times(output(command)), expected) == expected  # noqa: B023

        check(first)
        add_view(project, view_examples("docs/adapt.md")[0])
        local.wait_for_line("Starting chalice local")
        check(second)
