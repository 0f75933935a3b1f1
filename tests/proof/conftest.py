"""Fixtures for all tests in this folder."""

from collections.abc import Iterator

import pytest

from tests.proof.app_on_engine import AppOnEngine, open_app
from tests.proof.harness import Harness, open_harness


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    """Start an emulator for one test module and connect app.py to it."""
    with open_harness() as opened:
        yield opened


@pytest.fixture(scope="module")
def app() -> Iterator[AppOnEngine]:
    """Load app.py for use with the engine."""
    with open_app() as opened:
        yield opened
