"""Tests for `make soak`, on a small scale: it detects failing schedules and races, and prints how to reproduce them."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.proof import schedules, soak
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.mutations import MUTATIONS
from tests.proof.races import Attempts, Race, Racers
from tests.proof.schedules import KINDS


class OneProcess:
    """A pool that runs everything in this process."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        return map(function, tasks)

    imap_unordered = imap


@pytest.fixture
def pool(app: AppOnEngine, monkeypatch: pytest.MonkeyPatch) -> OneProcess:
    monkeypatch.setattr(soak.Worker, "app", app, raising=False)
    return OneProcess()


def test_schedules_are_spread_evenly_over_the_kinds():
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    planned = soak.tasks(10_000, kind=None)
    for task in planned:
        kinds[task.kind] += task.number
    assert sum(kinds.values()) == 10_000
    assert max(kinds.values()) - min(kinds.values()) <= soak.SCHEDULES_PER_TASK
    assert [(task.kind, task.number) for task in soak.tasks(270, "audit")] == [("audit", 200), ("audit", 70)]


def test_passing_schedules_are_counted(pool: OneProcess, capsys: pytest.CaptureFixture[str]):
    assert soak.soak(pool, soak.tasks(len(KINDS), kind=None, per_task=1))
    printed = capsys.readouterr().out
    assert f"{len(KINDS)}/{len(KINDS)} schedules" in printed
    assert f"{len(KINDS)} schedules passed" in printed
    assert ": " + ", ".join(f"1 {kind}" for kind in KINDS) in printed


def test_a_failing_schedule_ends_the_run_and_prints_the_command_to_shrink_it(
    pool: OneProcess, app: AppOnEngine, capsys: pytest.CaptureFixture[str]
):
    with MUTATIONS["positions are not compared"].broken(app):
        assert not soak.soak(pool, soak.tasks(50, "redelivery"))
        printed = capsys.readouterr().out
        command = re.search(r"make soak KIND='redelivery' SEED=(\d+)", printed)
        assert command
        assert soak.shrink("redelivery", int(command.group(1))) == 1
    assert "AssertionError" in printed
    assert "schedules passed" not in printed
    shrunk = capsys.readouterr().out
    assert "deliver records" in shrunk
    assert "AssertionError" in shrunk


def test_a_schedule_that_passes_is_not_shrunk(capsys: pytest.CaptureFixture[str]):
    assert soak.shrink("redelivery", 7) == 0
    assert capsys.readouterr().out == "The schedule passes.\n"


def test_a_shrunk_schedule_is_smaller_and_still_fails(app: AppOnEngine):
    with MUTATIONS["positions are not compared"].broken(app):
        failures = (schedules.failure(app, "overlap", schedules.choices_of("overlap", seed)) for seed in range(100))
        first = next(found for found in failures if found)
        smallest = schedules.shrink(app, "overlap", first)
        assert schedules.failure(app, "overlap", schedules.Choices(given=smallest.choices))
    assert len(smallest.choices) < len(first.choices) / 2


def test_workers_run_schedules_with_their_own_apps(capsys: pytest.CaptureFixture[str]):
    with soak.workers(2) as pool:
        assert soak.soak(pool, soak.tasks(4, "redelivery", per_task=1))
    assert "4 schedules passed in" in capsys.readouterr().out


def test_the_matrix_shows_how_many_schedules_catch_a_broken_rule(pool: OneProcess, capsys: pytest.CaptureFixture[str]):
    soak.print_matrix(pool, most=20, mutations=["errors are swallowed"], kinds=["redelivery", "faults"])
    *_, redelivery, faults = capsys.readouterr().out.split()
    assert redelivery == "-"  # Without faults there are no errors to swallow.
    assert 1 <= int(faults) <= 20


class FinishedRacers:
    """A fake of Racers that returns a race with a given outcome."""

    def __init__(self, total: tuple[int, int], counted: int) -> None:
        self._race = Race(Attempts(1200, 34, 5), seconds=6.4, total=total, expected=(50, 10), counted=counted)

    def race(self, orders: int, conflict_rate: float) -> Race:
        return self._race


@pytest.mark.parametrize(
    ("total", "counted", "passes"), [((50, 10), 10, True), ((51, 10), 10, False), ((50, 10), 9, False)]
)
def test_a_race_fails_if_its_total_or_its_ledger_is_wrong(
    total: tuple[int, int], counted: int, passes: bool, capsys: pytest.CaptureFixture[str]
):
    running: Racers = FinishedRacers(total, counted)  # type: ignore[assignment]
    assert soak.race(running, orders=10) is passes
    printed = capsys.readouterr().out
    assert ("WRONG" in printed) is not passes
    assert "1,200" in printed
