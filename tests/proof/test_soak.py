"""`make soak` in small: it tells good schedules and races from bad ones, and of a bad schedule how to see it again."""

import pytest

from tests.proof import soak
from tests.proof.lab import Lab
from tests.proof.mutations import MUTATIONS
from tests.proof.races import Attempts, Race, Racers
from tests.proof.schedules import KINDS


def test_schedules_of_every_kind_are_run_and_counted(lab: Lab, capsys: pytest.CaptureFixture[str]):
    assert soak.soak(lab, number=7, kind=None, seed=None, of_a_seed=1)
    printed = capsys.readouterr().out
    assert "7/7 schedules" in printed
    assert "7 schedules in" in printed
    assert all(f"'{kind}': 1" in printed for kind in KINDS)


def test_a_bad_schedule_ends_it_with_the_command_that_makes_it_small(lab: Lab, capsys: pytest.CaptureFixture[str]):
    with MUTATIONS["versions are not compared"].broken(lab):
        assert not soak.soak(lab, number=50, kind="redelivery", seed=None)
    printed, error = capsys.readouterr()
    assert "make soak SCHEDULES=50 KIND='redelivery' SEED=" in printed
    assert "AssertionError" in error
    assert "all good" not in printed


def test_the_matrix_tells_after_how_many_schedules_of_a_kind_a_broken_rule_was_caught(
    lab: Lab, capsys: pytest.CaptureFixture[str]
):
    name = "errors are swallowed"
    soak.print_matrix(lab, most=20, mutations={name: MUTATIONS[name]}, kinds=["redelivery", "faults"])
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
