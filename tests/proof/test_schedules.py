"""Run fault schedules, after which all totals must be exact. They are the same in every run.

A failure prints the command that reproduces and shrinks it. `make soak` runs 500,000 schedules. Random schedules are in
their own file, test_new_schedules.py, so that a second worker can run them.
"""

import pytest

from tests.proof import schedules
from tests.proof.app_on_engine import AppOnEngine

OF_EACH_KIND = 335
SEED = 20261124


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_totals_are_exact_after_every_schedule(app: AppOnEngine, kind: str):
    schedules.run(app, kind, OF_EACH_KIND, SEED)
