"""Tests that the schedules catch every broken rule in mutations.py."""

import pytest

from tests.proof import schedules
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.mutations import MUTATIONS

# The most schedules to run. Most mutations are caught within twenty, and the run stops then.
SCHEDULES_MAX = 2000


@pytest.mark.parametrize("name", MUTATIONS)
def test_schedules_catch_a_broken_rule(app: AppOnEngine, name: str):
    mutation = MUTATIONS[name]
    with mutation.broken(app), pytest.raises(AssertionError):
        schedules.run(app, mutation.caught_by, SCHEDULES_MAX, mutation.seed)
