"""`make soak` on a small scale: it detects failing schedules and races, and prints how to reproduce a failure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.proof import soak
from tests.proof.harness import Harness
from tests.proof.mutations import MUTATIONS
from tests.proof.races import Attempts, Race, Racers
from tests.proof.schedules import KINDS


class OneProcess:
    """A pool that runs everything in this process."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        return map(function, tasks)

    imap_unordered = imap


@pytest.fixture
def pool(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> OneProcess:
    monkeypatch.setattr(soak.Worker, "harness", harness, raising=False)
    return OneProcess()


def test_schedules_are_spread_evenly_over_the_kinds_and_grouped_by_seed():
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    planned = soak.tasks(10_000, kind=None, seed=None)
    for task in planned:
        kinds[task.kind] += task.number
    assert sum(kinds.values()) == 10_000
    assert max(kinds.values()) - min(kinds.values()) <= soak.SCHEDULES_PER_SEED
    assert len({task.seed for task in planned}) == len(planned)
    assert [(task.kind, task.number) for task in soak.tasks(70, "audit", None)] == [("audit", 50), ("audit", 20)]
    assert soak.tasks(70, "audit", 7) == [("audit", 70, 7, True)]


def test_passing_schedules_are_counted(pool: OneProcess, capsys: pytest.CaptureFixture[str]):
    assert soak.soak(pool, soak.tasks(7, kind=None, seed=None, schedules_per_seed=1))
    printed = capsys.readouterr().out
    assert "7/7 schedules" in printed
    assert "7 schedules passed" in printed
    assert ": " + ", ".join(f"1 {kind}" for kind in KINDS) in printed


def test_a_failing_schedule_ends_the_run_and_prints_the_command_to_shrink_it(
    pool: OneProcess, harness: Harness, capsys: pytest.CaptureFixture[str]
):
    with MUTATIONS["positions are not compared"].broken(harness):
        assert not soak.soak(pool, soak.tasks(50, "redelivery", seed=None))
    printed = capsys.readouterr().out
    assert "make soak SCHEDULES=50 KIND='redelivery' SEED=" in printed
    assert "AssertionError" in printed
    assert "schedules passed" not in printed


def test_workers_run_schedules_on_their_own_harnesses(capsys: pytest.CaptureFixture[str]):
    with soak.workers(2) as pool:
        assert soak.soak(pool, soak.tasks(4, "redelivery", seed=None, schedules_per_seed=1))
    assert "4 schedules passed in" in capsys.readouterr().out


def test_the_matrix_shows_how_many_schedules_catch_a_broken_rule(pool: OneProcess, capsys: pytest.CaptureFixture[str]):
    soak.print_matrix(pool, most=20, mutations=["errors are swallowed"], kinds=["redelivery", "faults"])
    *_, redelivery, faults = capsys.readouterr().out.split()
    assert redelivery == "-"  # Without faults there are no errors to swallow.
    assert 1 <= int(faults) <= 20


class FinishedRacers:
    """Racers whose race has a given outcome."""

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
