"""One lab for all schedules of a run."""

from collections.abc import Iterator

import pytest

from tests.proof.lab import Harness, open_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Harness]:
    """An emulator of its own, with app.py in this process on it."""
    with open_lab() as opened:
        yield opened
