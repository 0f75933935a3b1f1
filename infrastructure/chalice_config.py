"""Reading and writing .chalice/config.json, the file in which Chalice keeps the app's settings by stage."""

import json
import os
from pathlib import Path
from typing import Any

DEFAULT_API_STAGE = "api"


class ConfigError(Exception):
    """The file is missing or broken; the message says what to do."""


def load(project: Path) -> dict[str, Any]:
    """The whole configuration of the project in this folder."""
    path = config_file(project)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run this from a checkout of the project") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error}): mend it, or take it from git") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} does not hold a JSON object: take it from git")
    return config


def stage_settings(config: dict[str, Any], stage: str) -> dict[str, Any]:
    """A stage's settings, in which its own come before those of all stages. Raises if there is no such stage."""
    stages = config.get("stages", {})
    if stage not in stages:
        known = ", ".join(stages) or "none"
        raise ConfigError(f"There is no stage {stage} in .chalice/config.json (there: {known}); add it there first")
    return {**{name: value for name, value in config.items() if name != "stages"}, **stages[stage]}


def set_stage_variables(project: Path, stage: str, variables: dict[str, str]) -> bool:
    """Sets environment variables of a stage; returns whether that changed the file. Keeps all else, in its order."""
    config = load(project)
    stage_settings(config, stage)
    before = json.dumps(config)
    config["stages"][stage].setdefault("environment_variables", {}).update(variables)
    if json.dumps(config) == before:
        return False
    path = config_file(project)
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)  # At no moment is there half a file.
    return True


def config_file(project: Path) -> Path:
    """Where Chalice looks for it."""
    return project / ".chalice" / "config.json"
