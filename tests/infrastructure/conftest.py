"""Fixtures for these tests: packages that are built once, and a copy of the project for tests that change it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.projects import copy_project, package_open


@pytest.fixture(scope="session")
def packaged_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that packages a stage once and returns the template's path. Do not edit the packaged files."""
    return cache(lambda stage: package_open(stage, tmp_path_factory.mktemp(stage)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project without provisioned stages."""
    return copy_project(tmp_path / "project")
