"""A project folder of its own for tests that write to it."""

import json
import shutil
from pathlib import Path

import pytest

from infrastructure import chalice_config
from infrastructure.package import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Chalice works on, with no stage provisioned yet."""
    copy = tmp_path / "project"
    copy.mkdir()
    for file in ("app.py", "requirements.txt"):
        shutil.copy(PROJECT / file, copy)
    shutil.copytree(PROJECT / "chalicelib", copy / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / ".chalice").mkdir()
    config = chalice_config.load(PROJECT)
    for stage in config["stages"].values():
        stage.pop("environment_variables", None)
    (copy / ".chalice" / "config.json").write_text(json.dumps(config, indent=2))
    return copy
