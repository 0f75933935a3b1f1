"""Schedules that once led to a wrong total, or come close to one, written down: each is a story of its own."""

from collections.abc import Callable, Iterator

import pytest

from chalicelib import tables
from tests.proof.faults import Fault, Request
from tests.proof.lab import Harness
from tests.proof.world import Content, Model, State

PEN = Content("Pen", 5)


class Story:
    """A world in which something can be made to happen just before a request."""

    def __init__(self, lab: Harness) -> None:
        self.world = Model(lab, "NEW_AND_OLD_IMAGES", self._before_request)
        self._waiting: list[tuple[str, Callable[[], object]]] = []

    def before_next(self, operation: str, happen: Callable[[], object]) -> None:
        self._waiting.append((operation, happen))

    def _before_request(self, request: Request) -> Fault:
        if self._waiting and self._waiting[0][0] == request.operation:
            self._waiting.pop()[1]()
        return Fault.NONE

    def deliver(self, first: int, last: int) -> None:
        """Delivers these records of the one order, counted from 1."""
        self.world.read_stream()
        self.world.deliver(self.world.shards[1], first - 1, last)

    def end(self) -> None:
        assert not self._waiting
        assert self.world.all_is_told
        self.world.check_all()


@pytest.fixture
def story(lab: Harness) -> Iterator[Story]:
    told = Story(lab)
    yield told
    told.world.close()


def test_a_backfill_with_a_slow_clock_meets_an_order_before_its_first_record(story: Story):
    story.world.clock.skew = -1  # The order is placed as an hour begins.
    story.world.put("order-1", PEN)
    story.world.backfill()
    story.deliver(1, 1)
    story.end()


def test_the_time_of_placing_is_kept_though_a_backfill_left_nothing_to_count(story: Story):
    story.world.clock.skew = -1
    story.world.put("order-1", PEN._replace(placed="2026-11-10T09:00:00Z"))
    story.world.backfill()
    story.deliver(1, 1)
    story.world.put("order-1", PEN)
    story.deliver(2, 2)
    story.end()


def test_a_record_that_counted_for_nothing_comes_again_after_a_backfill(story: Story):
    story.world.put("order-1", PEN)
    story.world.put("order-1", PEN._replace(note="urgent"))
    story.deliver(1, 2)
    story.world.put("order-1", PEN._replace(quantity=6))
    story.world.backfill()
    story.deliver(3, 3)
    story.deliver(2, 2)
    story.end()


def test_such_a_record_is_under_way_while_the_stream_catches_up_with_the_backfill(story: Story):
    story.world.put("order-1", PEN)
    story.deliver(1, 1)
    story.world.put("order-1", PEN._replace(note="urgent"))
    story.deliver(2, 2)
    story.world.put("order-1", PEN._replace(quantity=6))
    story.world.backfill()
    story.before_next("TransactWriteItems", lambda: story.deliver(3, 3))
    story.deliver(2, 2)
    story.end()


def test_an_audit_takes_an_order_for_cancelled_that_ttl_has_archived_while_the_stream_stood_still(story: Story):
    story.world.put("order-1", PEN)
    story.deliver(1, 1)
    story.world.archive("order-1")
    story.world.clock.now += 3600
    story.world.audit(repair=True)
    story.deliver(2, 2)
    story.end()


def test_a_tombstone_expires_while_the_order_is_placed_again(story: Story):
    story.world.put("order-1", PEN)
    story.world.cancel("order-1")
    story.deliver(1, 2)
    story.world.let_a_week_pass()
    story.world.put("order-1", PEN)
    story.before_next("TransactWriteItems", story.world.expire_tombstones)
    story.deliver(3, 3)
    story.end()
    assert len(list(story.world.scan(tables.LEDGER))) == 1


def test_an_archived_order_is_placed_and_removed_again_without_a_stream_and_stays_archived(story: Story):
    """The one removal that nobody can know of: an audit finds just what it would if nothing had happened."""
    archived = place_an_archived_order_again_without_a_stream(story)
    assert not story.world.can_find_removal("order-1")
    story.world.cancel("order-1")
    story.world.switch_on()
    story.world.backfill()
    story.world.audit(repair=True)
    story.world.truth["order-1"] = archived
    story.end()


def test_if_a_backfill_has_met_it_in_between_an_audit_finds_its_removal(story: Story):
    place_an_archived_order_again_without_a_stream(story)
    story.world.backfill()
    assert story.world.can_find_removal("order-1")
    story.world.cancel("order-1")
    story.world.switch_on()
    story.world.clock.now += 3600
    story.world.audit(repair=True)
    story.end()


def place_an_archived_order_again_without_a_stream(story: Story) -> State:
    """Returns what had become of the order before."""
    story.world.put("order-1", PEN)
    story.world.archive("order-1")
    story.deliver(1, 2)
    archived = story.world.truth["order-1"]
    story.world.switch_off()
    story.world.put("order-1", PEN._replace(quantity=6))
    return archived
