"""Tests that the commands in docs/tutorial.md print what it shows, and that its view works while the app runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import PROJECT
from tests.e2e.pages import Command, blocks, without_times
from tests.e2e.test_localcloud import MakeLocal, make_local
from tests.projects import add_view, copy_source


def run(command: str, local: MakeLocal) -> str:
    """Run a command from the tutorial against a running `make local`. Return its output."""
    # Make `make` skip the installation and use this Python.
    variables = f"-- READY= BIN={Path(sys.executable).parent} AWS_PORT={local.aws_port}"
    done = subprocess.run(
        ["bash", "-c", command.replace("localhost:8000", f"localhost:{local.http_port}")],
        cwd=PROJECT,
        env={**os.environ, "MAKEFLAGS": variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_commands_of_the_tutorial_print_what_it_shows(tmp_path: Path, eventually: Callable[..., Any]):
    project = copy_source(tmp_path / "project")
    with make_local(project) as local:

        def check(command: Command) -> None:
            if command.line.startswith("make "):
                lines = run(command.line, local).splitlines()
                assert [line for line in command.shown.splitlines() if line not in lines] == [], lines
            elif command.line.startswith("curl localhost:8000/") and " -d " not in command.line:
                shown = without_times(command.shown)
                assert eventually(lambda: without_times(run(command.line, local)), shown) == shown
            else:
                assert without_times(run(command.line, local)) == without_times(command.shown)

        assert "\nReady" in local.output
        for block in blocks("docs/tutorial.md"):
            if isinstance(block, str):
                add_view(project, block)
                local.wait_for_line("Starting chalice local")
            else:
                for command in block:
                    check(command)
        assert "The source has changed" in local.output
