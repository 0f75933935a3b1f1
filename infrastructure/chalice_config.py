"""Reading and writing Chalice's own files: .chalice/config.json, the app's settings by stage, and .chalice/deployed/.

In the latter `chalice deploy` keeps what it has deployed, one file for each stage.
"""

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
    _write(config_file(project), config)
    return True


def forget_earlier_streams(project: Path, stage: str, table_arn: str, stream_arn: str) -> bool:
    """Has Chalice forget mappings to earlier streams of a table; returns whether it remembered one.

    Chalice 1.34 deletes a mapping that it remembers and that is to another stream than the one it is told of, after it
    has made the new one. If the old mapping is no longer there it fails at that, remembers nothing of what it has just
    made, and fails for ever after, since it would make the new mapping again.
    """
    path = project / ".chalice" / "deployed" / f"{stage}.json"
    if not path.exists():
        return False
    try:
        deployed = json.loads(path.read_text(encoding="utf-8"))
        kept = [each for each in deployed["resources"] if not _is_of_earlier_stream(each, table_arn, stream_arn)]
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path} is not what chalice deploy writes: mend it, or take it from a backup") from None
    if kept == deployed["resources"]:
        return False
    _write(path, {**deployed, "resources": kept})
    return True


def _is_of_earlier_stream(resource: dict[str, str], table_arn: str, stream_arn: str) -> bool:
    stream = resource.get("stream_arn", "")
    return stream.startswith(f"{table_arn}/stream/") and stream != stream_arn


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)  # At no moment is there half a file.


def config_file(project: Path) -> Path:
    """Where Chalice looks for it."""
    return project / ".chalice" / "config.json"
