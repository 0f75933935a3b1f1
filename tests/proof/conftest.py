"""The harness fixture that all tests in this folder share."""

from collections.abc import Iterator

import pytest

from tests.proof.harness import Harness, open_harness


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    """Start an emulator for one test module and load app.py on it."""
    with open_harness() as opened:
        yield opened
