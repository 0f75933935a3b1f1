"""What is packaged once for all tests here, and a project folder of its own for tests that write to it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from infrastructure.package import package
from tests.projects import copy_project


@pytest.fixture(scope="session")
def packaged_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`packaged_stage("prod")` is the template of a stage, with its code beside it; not to be changed."""
    return cache(lambda stage: package(stage, tmp_path_factory.mktemp(stage)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Chalice works on, with no stage provisioned yet."""
    return copy_project(tmp_path / "project")
