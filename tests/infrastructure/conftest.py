"""Shared fixtures: packages that are built once, and a copy of the project for tests that write to it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.projects import copy_project, package_open


@pytest.fixture(scope="session")
def packaged_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a stage to its packaged template, which has its code beside it. Do not edit the files."""
    return cache(lambda stage: package_open(stage, tmp_path_factory.mktemp(stage)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project in which no stage is provisioned."""
    return copy_project(tmp_path / "project")
