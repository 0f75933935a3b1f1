"""Run fault schedules that are new in every run. A failure prints the command that reproduces and shrinks it."""

import pytest

from tests.proof import schedules
from tests.proof.app_on_engine import AppOnEngine

OF_EACH_KIND = 170


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_totals_are_exact_after_new_schedules(app: AppOnEngine, kind: str):
    schedules.run(app, kind, OF_EACH_KIND, schedules.fresh_seed())
