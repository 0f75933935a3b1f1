"""Tests that the interleavings of two invocations end with the right totals (interleavings.py)."""

import pytest

from tests.proof.app_on_engine import AppOnEngine
from tests.proof.interleavings import Case, explore
from tests.proof.mutations import MUTATIONS

# Two orders, each placed and amended: records 0 to 2 place them, records 2 to 4 amend them.
CASES = {
    "the same batch twice, one of both may die": Case((0, 4), (0, 4), crashes=1),
    "one batch after the other": Case((0, 2), (2, 4), crashes=0),
    "an amendment during a redelivery": Case((0, 4), (2, 4), crashes=0),
    "a backfill during a batch": Case((0, 4), None, crashes=0, backfill=True),
    "requests of a round, whose invocation may die": Case((2, 4), None, crashes=1, rounds=True),
}


@pytest.mark.parametrize("name", CASES)
def test_interleavings_end_with_the_right_totals(app: AppOnEngine, name: str):
    explored = explore(app, CASES[name])
    assert explored.ends > 20
    assert explored.paths > explored.ends


def test_a_broken_rule_is_caught(app: AppOnEngine):
    with MUTATIONS["ledger entries are written without a condition"].broken(app), pytest.raises(AssertionError):
        explore(app, CASES["the same batch twice, one of both may die"])
