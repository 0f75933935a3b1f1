"""A project folder of its own for tests that write to it."""

import shutil
from pathlib import Path

import pytest

from infrastructure.package import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Chalice works on."""
    copy = tmp_path / "project"
    copy.mkdir()
    for file in ("app.py", "requirements.txt"):
        shutil.copy(PROJECT / file, copy)
    shutil.copytree(PROJECT / "chalicelib", copy / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / ".chalice").mkdir()
    shutil.copy(PROJECT / ".chalice" / "config.json", copy / ".chalice")
    return copy
