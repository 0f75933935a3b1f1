"""Read and write Chalice's own files.

.chalice/config.json has the app's settings by stage. .chalice/deployed/STAGE.json lists the resources that
`chalice deploy` has deployed for a stage.
"""

import json
import os
from pathlib import Path
from typing import Any

DEFAULT_API_STAGE = "api"


class ConfigError(Exception):
    """A file is missing or broken. The message says what to do."""


def load(project: Path) -> dict[str, Any]:
    """Return the whole configuration of the project in a folder. Raise ConfigError."""
    path = config_file(project)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Run this in a checkout of the project.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error}). Fix it, or restore it from git.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} does not contain a JSON object. Restore it from git.")
    return config


def stage_settings(config: dict[str, Any], stage: str) -> dict[str, Any]:
    """Return a stage's settings, which override the top-level ones. Raise ConfigError if the stage does not exist."""
    stages = config.get("stages", {})
    if stage not in stages:
        known = ", ".join(stages) or "none"
        raise ConfigError(f"There is no stage {stage} in .chalice/config.json (stages: {known}). Add it there first.")
    return {**{name: value for name, value in config.items() if name != "stages"}, **stages[stage]}


def set_stage_variables(project: Path, stage: str, variables: dict[str, str]) -> bool:
    """Set a stage's environment variables and return whether the file changed. Keep everything else as it is."""
    config = load(project)
    stage_settings(config, stage)
    before = json.dumps(config)
    config["stages"][stage].setdefault("environment_variables", {}).update(variables)
    if json.dumps(config) == before:
        return False
    _write(config_file(project), config)
    return True


def remove_old_stream_mappings(project: Path, stage: str, table_arn: str, stream_arn: str) -> bool:
    """Remove mappings to a table's earlier streams from Chalice's records. Return whether there were any.

    When the stream's ARN changes, Chalice 1.34 creates a new mapping and then deletes the recorded one. If that no
    longer exists, Chalice fails without recording the new mapping. Every later deployment then fails too, because it
    tries to create the same mapping again.
    """
    path = project / ".chalice" / "deployed" / f"{stage}.json"
    if not path.exists():
        return False
    try:
        deployed = json.loads(path.read_text(encoding="utf-8"))
        kept = [each for each in deployed["resources"] if not _is_of_earlier_stream(each, table_arn, stream_arn)]
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path} is not in chalice deploy's format. Fix it, or restore it from a backup.") from None
    if kept == deployed["resources"]:
        return False
    _write(path, {**deployed, "resources": kept})
    return True


def _is_of_earlier_stream(resource: dict[str, str], table_arn: str, stream_arn: str) -> bool:
    stream = resource.get("stream_arn", "")
    return stream.startswith(f"{table_arn}/stream/") and stream != stream_arn


def _write(path: Path, content: dict[str, Any]) -> None:
    new = path.with_suffix(".json.new")
    new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, path)  # Replacing a file is atomic, so readers never see half a file.


def config_file(project: Path) -> Path:
    """Return the path of the project's Chalice configuration."""
    return project / ".chalice" / "config.json"
