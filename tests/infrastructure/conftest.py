"""A project folder of its own for tests that write to it."""

from pathlib import Path

import pytest

from tests.projects import copy_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Chalice works on, with no stage provisioned yet."""
    return copy_project(tmp_path / "project")
