"""`make soak` in small: it tells good schedules and races from bad ones, and of a bad schedule how to see it again."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.proof import soak
from tests.proof.lab import Harness
from tests.proof.mutations import MUTATIONS
from tests.proof.races import Attempts, Race, Racers
from tests.proof.schedules import KINDS


class OneProcess:
    """A pool that is this process."""

    def imap(self, function: Callable[[Any], Any], tasks: Iterable[Any], /) -> Iterator[Any]:
        return map(function, tasks)

    imap_unordered = imap


@pytest.fixture
def pool(lab: Harness, monkeypatch: pytest.MonkeyPatch) -> OneProcess:
    monkeypatch.setattr(soak.Laboratory, "lab", lab, raising=False)
    return OneProcess()


def test_schedules_are_of_every_kind_alike_and_those_of_a_seed_together():
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    wanted = soak.tasks(10_000, kind=None, seed=None)
    for task in wanted:
        kinds[task.kind] += task.number
    assert sum(kinds.values()) == 10_000
    assert max(kinds.values()) - min(kinds.values()) <= soak.OF_A_SEED
    assert len({task.seed for task in wanted}) == len(wanted)
    assert [(task.kind, task.number) for task in soak.tasks(70, "audit", None)] == [("audit", 50), ("audit", 20)]
    assert soak.tasks(70, "audit", 7) == [("audit", 70, 7, True)]


def test_good_schedules_are_counted(pool: OneProcess, capsys: pytest.CaptureFixture[str]):
    assert soak.soak(pool, soak.tasks(7, kind=None, seed=None, of_a_seed=1))
    printed = capsys.readouterr().out
    assert "7/7 schedules" in printed
    assert "all good: " + ", ".join(f"1 {kind}" for kind in KINDS) in printed


def test_a_bad_schedule_ends_it_with_the_command_that_makes_it_small(
    pool: OneProcess, lab: Harness, capsys: pytest.CaptureFixture[str]
):
    with MUTATIONS["versions are not compared"].broken(lab):
        assert not soak.soak(pool, soak.tasks(50, "redelivery", seed=None))
    printed = capsys.readouterr().out
    assert "make soak SCHEDULES=50 KIND='redelivery' SEED=" in printed
    assert "AssertionError" in printed
    assert "all good" not in printed


def test_workers_have_a_lab_each_and_tell_what_they_found(capsys: pytest.CaptureFixture[str]):
    with soak.workers(2) as pool:
        assert soak.soak(pool, soak.tasks(4, "redelivery", seed=None, of_a_seed=1))
    assert "4 schedules in" in capsys.readouterr().out


def test_the_matrix_tells_after_how_many_schedules_of_a_kind_a_broken_rule_was_caught(
    pool: OneProcess, capsys: pytest.CaptureFixture[str]
):
    soak.print_matrix(pool, most=20, mutations=["errors are swallowed"], kinds=["redelivery", "faults"])
    *_, redelivery, faults = capsys.readouterr().out.split()
    assert redelivery == "-"  # There is nothing to swallow.
    assert 1 <= int(faults) <= 20


class Ended:
    """Racers that have come to a given end."""

    def __init__(self, total: tuple[int, int], counted: int) -> None:
        self._race = Race(Attempts(1200, 34, 5), seconds=6.4, total=total, expected=(50, 10), counted=counted)

    def race(self, orders: int, conflict_rate: float) -> Race:
        return self._race


@pytest.mark.parametrize(
    ("total", "counted", "good"), [((50, 10), 10, True), ((51, 10), 10, False), ((50, 10), 9, False)]
)
def test_a_race_with_a_wrong_end_fails(
    total: tuple[int, int], counted: int, good: bool, capsys: pytest.CaptureFixture[str]
):
    running: Racers = Ended(total, counted)  # type: ignore[assignment]
    assert soak.race(running, orders=10) is good
    printed = capsys.readouterr().out
    assert ("WRONG" in printed) is not good
    assert "1,200" in printed
