"""What eight processes count at once is counted once, however many of their transactions are refused."""

from collections.abc import Iterator

import pytest

from localcloud.emulator import Emulator
from tests.proof.races import Racers, racers


@pytest.fixture(scope="module")
def eight() -> Iterator[Racers]:
    with Emulator() as emulator, racers(emulator) as running:
        yield running


# Nine refusals in ten are nine pauses for each success: `make soak` has the patience for 2,000 orders at every rate.
@pytest.mark.parametrize(("conflict_rate", "orders"), [(0, 2000), (0.1, 2000), (0.5, 1000), (0.9, 250)])
def test_each_order_is_counted_once(eight: Racers, conflict_rate: float, orders: int):
    race = eight.race(orders, conflict_rate)
    assert race.total == race.expected
    assert race.counted == orders
    assert race.right
    assert bool(race.attempts.refused) == bool(conflict_rate)
