"""Tests that the engine's client behaves like boto3's: the same schedules have the same requests, faults and tables."""

import pytest

from tests.proof.app_on_engine import AppOnEngine
from tests.proof.schedules import KINDS, Schedule, choices_of


@pytest.mark.parametrize("kind", ["faults", "overlap", "everything"])
def test_a_schedule_is_the_same_through_botocore(app: AppOnEngine, kind: str):
    for seed in range(12):
        assert run(app, kind, seed, through_botocore=False) == run(app, kind, seed, through_botocore=True)


def run(app: AppOnEngine, kind: str, seed: int, through_botocore: bool) -> tuple[object, ...]:
    schedule = Schedule(app, KINDS[kind], choices_of(kind, seed), through_botocore)
    schedule.run()
    model = schedule.model
    tables = {name: list(table.items()) for name, table in model.database.tables.items()}
    return schedule.choices.made, model.log, model.network.requests, tables
