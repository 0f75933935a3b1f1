"""The guarantee under 200 fault schedules: 140 that are the same in every run, and 60 that nobody has seen before.

A schedule that fails is printed, with the command that makes it small; that, `make soak`, also runs many more.
"""

import pytest

from tests.proof import schedules
from tests.proof.lab import Harness

OF_EACH_KIND = 20
FRESH = 60
SEED = 20261123


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_totals_are_exact_after_every_schedule(lab: Harness, kind: str):
    schedules.run(lab, kind, OF_EACH_KIND, SEED)


def test_totals_are_exact_after_schedules_that_nobody_has_seen(lab: Harness):
    schedules.run(lab, "everything", FRESH, schedules.fresh_seed())
