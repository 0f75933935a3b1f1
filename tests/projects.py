"""Copy the project, for tests that change its files or need other settings for a stage."""

import json
import re
import shutil
from pathlib import Path

from infrastructure import chalice_config
from infrastructure.package import PROJECT, package

# The files and folders that `make local` and `make package` read.
SOURCE = ("app.py", "chalicelib", "infrastructure", "localcloud", "operations", ".chalice/config.json")


OPEN = {"READ_ACCESS": "open", "WRITE_ACCESS": "open"}
"""The environment variables of a stage whose API everyone may call."""


def package_open(stage: str, folder: Path) -> Path:
    """Package a stage into a folder, with an API that everyone may call. Return the template's path."""
    return package(stage, folder / "build", project=copy_project(folder / "project", OPEN))


def copy_source(folder: Path) -> Path:
    """Copy everything that `make local` and `make package` read into a folder, and return the folder."""
    for part in (*SOURCE, *(path.name for path in PROJECT.glob("requirements*"))):
        source, target = PROJECT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def view_example(document: str) -> str:
    """Return the source of the example view in a document."""
    (example,) = view_examples(document)
    return example


def view_examples(document: str) -> list[str]:
    """Return the sources of all example views in a document."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def add_view(project: Path, example: str) -> None:
    """Append a view to chalicelib/model.py."""
    with (project / "chalicelib" / "model.py").open("a", encoding="utf-8") as views:
        views.write(f"\n\n{example}")


def copy_project(folder: Path, variables: dict[str, str] | None = None) -> Path:
    """Copy the files that Chalice needs, without provisioned stages. Set every stage's environment variables.

    All copies share the zips that Chalice keeps by a hash of the source, so that pip installs the libraries once.
    """
    folder.mkdir()
    for file in ("app.py", "requirements.txt"):
        shutil.copy(PROJECT / file, folder)
    shutil.copytree(PROJECT / "chalicelib", folder / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".chalice").mkdir()
    zips = PROJECT / ".chalice" / "deployments"
    zips.mkdir(exist_ok=True)
    (folder / ".chalice" / "deployments").symlink_to(zips)
    config = chalice_config.load(PROJECT)
    for stage in config["stages"].values():
        stage.pop("environment_variables", None)
        if variables:
            stage["environment_variables"] = variables
    (folder / ".chalice" / "config.json").write_text(json.dumps(config, indent=2))
    return folder
