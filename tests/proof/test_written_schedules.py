"""Tests of hand-written schedules: sequences of events that once led to a wrong total, or almost did."""

from collections.abc import Callable

import pytest

from chalicelib import tables
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine import calm
from tests.proof.faults import Fault
from tests.proof.model import MONTH_SECONDS, Content, Model, State

PEN = Content("Pen", 5)


class Scenario:
    """A model with one order. A test can schedule an action just before a request of the app."""

    def __init__(self, app: AppOnEngine) -> None:
        self.model = Model(app, calm, choose_fault=self._before_request)
        self._scheduled: list[tuple[str, Callable[[], object]]] = []

    def before_next(self, operation: str, action: Callable[[], object]) -> None:
        """Run `action` just before the app's next `operation`. Invocations that it starts end before the request."""
        self._scheduled.append((operation, action))

    def _before_request(self, operation: str) -> Fault:
        if self._scheduled and self._scheduled[0][0] == operation:
            self._scheduled.pop()[1]()
            self.model.scheduler.sleep(30)
        return Fault.NONE

    def start(self, first: int, last: int) -> None:
        """Start an invocation with the order's records `first` to `last`, counted from 1."""
        self.model.deliver(self.model.mappings[0], self.model.shards[0], first - 1, last)

    def deliver(self, first: int, last: int) -> None:
        """Deliver the order's records `first` to `last`, counted from 1, and wait for the end."""
        self.start(first, last)
        self.model.finish()

    def backfill(self) -> None:
        """Run a backfill."""
        self.model.backfill()
        self.model.finish()

    def repair(self) -> None:
        """Run an audit with repair."""
        self.model.audit(repair=True)
        self.model.finish()

    def check_end(self) -> None:
        assert not self._scheduled
        assert self.model.all_delivered
        self.model.check_all()


@pytest.fixture
def scenario(app: AppOnEngine) -> Scenario:
    return Scenario(app)


def test_a_backfill_with_a_slow_clock_reads_an_order_before_its_first_record(scenario: Scenario):
    scenario.model.shell.time.skew = -1  # The order is placed at the start of an hour, so this is the hour before.
    scenario.model.put("order-1", PEN)
    scenario.backfill()
    scenario.deliver(1, 1)
    scenario.check_end()


def test_the_insert_time_is_stored_even_if_a_backfill_has_counted_the_order(scenario: Scenario):
    scenario.model.shell.time.skew = -1
    scenario.model.put("order-1", PEN._replace(placed_at="2026-11-10T09:00:00Z"))
    scenario.backfill()
    scenario.deliver(1, 1)
    scenario.model.put("order-1", PEN)
    scenario.deliver(2, 2)
    scenario.check_end()


def test_a_record_that_changed_nothing_is_redelivered_after_a_backfill(scenario: Scenario):
    scenario.model.put("order-1", PEN)
    scenario.model.put("order-1", PEN._replace(note="urgent"))
    scenario.deliver(1, 2)
    scenario.model.put("order-1", PEN._replace(quantity=6))
    scenario.backfill()
    scenario.deliver(3, 3)
    scenario.deliver(2, 2)
    scenario.check_end()


def test_a_record_that_changed_nothing_is_redelivered_while_the_stream_catches_up_with_a_backfill(scenario: Scenario):
    scenario.model.put("order-1", PEN)
    scenario.deliver(1, 1)
    scenario.model.put("order-1", PEN._replace(note="urgent"))
    scenario.deliver(2, 2)
    scenario.model.put("order-1", PEN._replace(quantity=6))
    scenario.backfill()
    scenario.before_next("TransactWriteItems", lambda: scenario.start(3, 3))
    scenario.deliver(2, 2)
    scenario.check_end()


def test_a_late_duplicate_is_counted_after_lost_records_until_an_audit_repairs_it(scenario: Scenario):
    """The one case in which a total goes wrong (docs/proof.md): nothing has stored the position of record 2."""
    model = scenario.model
    model.put("order-1", PEN)
    model.put("order-1", PEN._replace(note="urgent"))
    scenario.deliver(1, 1)
    scenario.deliver(2, 2)
    model.put("order-1", PEN._replace(quantity=6))
    assert model.give_up(model.mappings[0], model.shards[0], 3, can_repair=True)
    scenario.backfill()
    model.check_all()
    scenario.deliver(2, 2)
    with pytest.raises(AssertionError, match="totalQuantity is 5 but must be 6"):
        model.check_all()
    model.let_time_pass(3600)
    scenario.repair()
    model.check_all()


def test_an_audit_cancels_an_order_that_ttl_archived_while_the_stream_lagged(scenario: Scenario):
    scenario.model.put("order-1", PEN)
    scenario.deliver(1, 1)
    scenario.model.archive("order-1")
    scenario.model.let_time_pass(3600)
    scenario.repair()
    scenario.deliver(2, 2)
    scenario.check_end()


def test_a_tombstone_expires_while_the_order_is_placed_again(scenario: Scenario):
    scenario.model.put("order-1", PEN)
    scenario.model.cancel("order-1")
    scenario.deliver(1, 2)
    scenario.model.let_time_pass(MONTH_SECONDS)
    scenario.model.put("order-1", PEN)
    scenario.before_next("TransactWriteItems", scenario.model.expire_tombstones)
    scenario.deliver(3, 3)
    scenario.check_end()
    assert len(list(scenario.model.items(tables.LEDGER))) == 1


def test_an_archived_order_that_is_placed_and_removed_while_the_stream_is_off_stays_archived(scenario: Scenario):
    """No audit can find this removal, because the tables are the same as if nothing had happened."""
    archived = place_an_archived_order_again_without_a_stream(scenario)
    assert not scenario.model.can_find_removal("order-1")
    scenario.model.cancel("order-1")
    scenario.model.switch_on()
    scenario.backfill()
    scenario.repair()
    scenario.model.orders["order-1"].states.append(archived)
    scenario.check_end()


def test_an_audit_finds_the_removal_if_a_backfill_has_counted_the_order_before(scenario: Scenario):
    place_an_archived_order_again_without_a_stream(scenario)
    scenario.backfill()
    assert scenario.model.can_find_removal("order-1")
    scenario.model.cancel("order-1")
    scenario.model.switch_on()
    scenario.model.let_time_pass(3600)
    scenario.repair()
    scenario.check_end()


def place_an_archived_order_again_without_a_stream(scenario: Scenario) -> State:
    """Archive an order, switch the stream off, and place the order again. Return the order's archived state."""
    scenario.model.put("order-1", PEN)
    scenario.model.archive("order-1")
    scenario.deliver(1, 2)
    archived = scenario.model.orders["order-1"].now
    scenario.model.switch_off()
    scenario.model.put("order-1", PEN._replace(quantity=6))
    return archived
