"""200 fault schedules after which all totals must be exact: 140 are the same in every run, 60 are new each time.

A failure prints the command that reproduces and shrinks it. `make soak` runs 10,000 schedules.
"""

import pytest

from tests.proof import schedules
from tests.proof.harness import Harness

OF_EACH_KIND = 20
FRESH = 60
SEED = 20261123


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_totals_are_exact_after_every_schedule(harness: Harness, kind: str):
    schedules.run(harness, kind, OF_EACH_KIND, SEED)


def test_totals_are_exact_after_new_schedules(harness: Harness):
    schedules.run(harness, "everything", FRESH, schedules.fresh_seed())
