"""A project folder of its own for tests that write to it, or want a stage to say something else."""

import json
import shutil
from pathlib import Path

from infrastructure import chalice_config
from infrastructure.package import PROJECT


def copy_project(folder: Path, variables: dict[str, str] | None = None) -> Path:
    """A copy of what Chalice works on, with no stage provisioned; every stage has these environment variables."""
    folder.mkdir()
    for file in ("app.py", "requirements.txt"):
        shutil.copy(PROJECT / file, folder)
    shutil.copytree(PROJECT / "chalicelib", folder / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".chalice").mkdir()
    config = chalice_config.load(PROJECT)
    for stage in config["stages"].values():
        stage.pop("environment_variables", None)
        if variables:
            stage["environment_variables"] = variables
    (folder / ".chalice" / "config.json").write_text(json.dumps(config, indent=2))
    return folder
