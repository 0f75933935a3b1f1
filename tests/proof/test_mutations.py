"""The schedules catch every broken rule: what they say of the app is worth something."""

import pytest

from tests.proof import schedules
from tests.proof.lab import Harness
from tests.proof.mutations import MUTATIONS

# Most are caught within ten or twenty, and then no more are run.
SCHEDULES_MAX = 400


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_caught(lab: Harness, name: str):
    mutation = MUTATIONS[name]
    with mutation.broken(lab), pytest.raises(AssertionError):
        schedules.run(lab, mutation.caught_by, SCHEDULES_MAX, mutation.seed)
