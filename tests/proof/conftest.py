"""One lab for all schedules of a run."""

from collections.abc import Iterator

import pytest

from tests.proof.lab import Lab, open_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An emulator of its own, with app.py in this process on it."""
    with open_lab() as opened:
        yield opened
