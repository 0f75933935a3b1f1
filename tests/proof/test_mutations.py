"""Tests of the schedules themselves: they catch every broken rule of mutations.py."""

import pytest

from tests.proof import schedules
from tests.proof.harness import Harness
from tests.proof.mutations import MUTATIONS

# Most mutations are caught within ten or twenty schedules; the run stops there.
SCHEDULES_MAX = 400


@pytest.mark.parametrize("name", MUTATIONS)
def test_schedules_catch_a_broken_rule(harness: Harness, name: str):
    mutation = MUTATIONS[name]
    with mutation.broken(harness), pytest.raises(AssertionError):
        schedules.run(harness, mutation.caught_by, SCHEDULES_MAX, mutation.seed)
