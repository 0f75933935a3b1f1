"""What each way shows after what streams and networks do, beside what is true.

Where something may happen at any of several moments, it is made to happen at each of them in turn, and the total
farthest from the truth is told.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

from bench.delivery import Way
from bench.records import Feed, Record, event
from bench.wire import Crash, Wire

QUANTITIES = (5, 7, 11)
INVOCATION_SECONDS = 0.15
DELIVERIES_MAX = 4


class Story(NamedTuple):
    """What happens to three orders of a product."""

    title: str
    batches: Callable[[Feed, str], list[list[Record]]]
    """The batches that Lambda delivers, of orders of a product that is given."""
    truth: int


class Shown(NamedTuple):
    """A total as a way shows it."""

    total: int
    stuck: bool  # Whether Lambda would deliver the batch again and again, and nothing after it.


def placed(feed: Feed, product: str) -> list[Record]:
    """Three orders."""
    return [feed.put(f"{product}-{number}", product, quantity) for number, quantity in enumerate(QUANTITIES)]


def nothing_more(feed: Feed, product: str) -> list[list[Record]]:
    """They are placed."""
    return [placed(feed, product)]


def redelivered(feed: Feed, product: str) -> list[list[Record]]:
    """Their batch comes twice."""
    return [placed(feed, product)] * 2


def amended(feed: Feed, product: str) -> list[list[Record]]:
    """One becomes larger."""
    return [placed(feed, product), [feed.put(f"{product}-0", product, QUANTITIES[0] + 3)]]


def moved(feed: Feed, product: str) -> list[list[Record]]:
    """One becomes an order of something else."""
    return [placed(feed, product), [feed.put(f"{product}-0", f"other than {product}", QUANTITIES[0])]]


def cancelled(feed: Feed, product: str) -> list[list[Record]]:
    """One is taken back."""
    return [placed(feed, product), [feed.remove(f"{product}-2")]]


def nonsense(feed: Feed, product: str) -> list[list[Record]]:
    """Between them is one without a quantity."""
    first, *others = placed(feed, product)
    return [[first, feed.put(f"{product}-x", product, None), *others]]


ALL = sum(QUANTITIES)
STORIES = (
    Story("new orders", nothing_more, ALL),
    Story("their batch delivered twice", redelivered, ALL),
    Story("one of them amended", amended, ALL + 3),
    Story("one moved to another product", moved, ALL - QUANTITIES[0]),
    Story("one cancelled", cancelled, ALL - QUANTITIES[2]),
    Story("one without a quantity among them", nonsense, ALL),
)
LOST = "an answer of DynamoDB lost"
CRASH = "a crash in the midst"


def table(ways: list[Way], wire: Wire) -> Iterator[tuple[str, str, int, Shown]]:
    """Plays every story to every way: its title, the way, the truth, and what the way shows."""
    for story in STORIES:
        for way in ways:
            yield story.title, way.name, story.truth, play(way, story)
    for title, fault in ((LOST, wire.losing), (CRASH, wire.crashing)):
        for way in ways:
            yield title, way.name, ALL, worst(way, wire, fault)


def play(way: Way, story: Story, fault: Any = None) -> Shown:
    """Delivers a story's batches; the fault is in the first delivery."""
    product = f"product-{time.monotonic_ns()}"
    stuck = False
    with fault or nullcontext():
        for batch in story.batches(Feed(), product):
            stuck = stuck or not deliver_until_done(way, batch)
    return Shown(way.shown(product), stuck)


def worst(way: Way, wire: Wire, fault: Callable[[int], Any]) -> Shown:
    """The total farthest from the truth, over all the answers at which the fault may happen."""
    with wire.counting():
        play(way, STORIES[0])
    shown = [play(way, STORIES[0], fault(moment)) for moment in range(1, wire.traffic.requests + 1)]
    return max(shown, key=lambda each: abs(each.total - ALL))


def deliver_until_done(way: Way, batch: list[Record]) -> bool:
    """Delivers a batch as Lambda does, again after an error; returns whether it ever went through."""
    for _ in range(DELIVERIES_MAX):
        try:
            way.deliver(event(batch), INVOCATION_SECONDS)
        except (Exception, Crash):
            # By then the one that failed has surely ended, which Powertools asks before it tries again.
            time.sleep(INVOCATION_SECONDS)
        else:
            return True
    return False
