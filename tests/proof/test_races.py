"""Tests that each order is counted once when eight processes count the same orders at the same time."""

from collections.abc import Iterator

import pytest

from localcloud.emulator import Emulator
from tests.proof.races import Racers, racers


@pytest.fixture(scope="module")
def eight() -> Iterator[Racers]:
    with Emulator() as emulator, racers(emulator) as running:
        yield running


# Few orders at high conflict rates: at 90%, each success takes nine pauses. `make soak` always uses 2,000 orders.
@pytest.mark.parametrize(("conflict_rate", "orders"), [(0, 1000), (0.1, 1000), (0.5, 500), (0.9, 150)])
def test_each_order_is_counted_once(eight: Racers, conflict_rate: float, orders: int):
    race = eight.race(orders, conflict_rate)
    assert race.total == race.expected
    assert race.counted == orders
    assert race.exact
    assert bool(race.attempts.cancelled) == bool(conflict_rate)
