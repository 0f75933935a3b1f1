"""The latest orders in the lag report: which ones, how long they took, and what the report costs."""

from typing import Any

import pytest

from chalicelib import recent_orders, timestamps
from chalicelib.counting import committer, stream
from chalicelib.recent_orders import ORDERS_MAX, PACKED_MAX_BYTES, RecentOrder
from chalicelib.stream_lag import Reporter, State
from tests.doubles import FakeDynamoDB, run
from tests.streams import STARTED, Stream, item

WRITE_UNIT_BYTES = 1024


def counted(records: Any, dynamo: FakeDynamoDB | None = None) -> tuple[stream.Batch, committer.Committer]:
    """Count a batch; return it and its committer."""
    batch = stream.read(records)
    work = committer.for_stream(batch.records_by_order)
    run(work, dynamo or FakeDynamoDB())
    return batch, work


def recent(records: Any, now: float, dynamo: FakeDynamoDB | None = None) -> list[RecentOrder]:
    batch, work = counted(records, dynamo)
    return recent_orders.of_batch(batch.records_by_order, work.counts.counted, now)


def order(number: int, at: int = STARTED, **content: Any) -> RecentOrder:
    return RecentOrder(f"order-{number}", at + number, 0.4, content or {"product": "Pen", "quantity": number})


def test_orders_are_listed_newest_first_with_their_content_and_lag():
    placed = Stream()
    placed.put(item("a", "Pen", 2))
    placed.put(item("b", "Ink", 3))
    assert recent(placed.records, STARTED + 3.4) == [
        RecentOrder("b", STARTED + 3, 2.4, {"product": "Ink", "quantity": 3}),
        RecentOrder("a", STARTED + 3, 3.4, {"product": "Pen", "quantity": 2}),
    ]


@pytest.mark.parametrize(
    ("placed_at", "lag"),
    [
        (timestamps.from_epoch(STARTED)[:-1] + ".750Z", 0.7),
        (timestamps.from_epoch(STARTED - 1)[:-1] + ".900Z", 1.5),  # The record's time is rounded.
        (timestamps.from_epoch(STARTED - 86_400), 1.4),  # A backdated order: the record's time counts.
        (timestamps.from_epoch(STARTED + 60), 1.4),
        ("yesterday", 1.4),
    ],
)
def test_lag_is_measured_from_a_plausible_time_of_placing(placed_at: str, lag: float):
    placed = Stream()
    placed.put(item("a", PlacedAt={"S": placed_at}))
    assert recent(placed.records, STARTED + 1.4)[0].lag_seconds == pytest.approx(lag, abs=0.051)


def test_lag_of_an_amended_order_is_measured_from_the_amendment():
    placed = Stream()
    placed.put(item("a", PlacedAt={"S": timestamps.from_epoch(STARTED)}))
    placed.put(item("a", quantity=7, PlacedAt={"S": timestamps.from_epoch(STARTED)}))  # A second later.
    (only,) = recent(placed.records, STARTED + 5)
    assert (only.lag_seconds, only.content["quantity"]) == (4.0, 7)


def test_rejected_cancelled_and_redelivered_orders_are_not_listed():
    placed, dynamo = Stream(), FakeDynamoDB()
    placed.put(item("good"))
    placed.put(item("bad", quantity=0))
    placed.put(item("gone"))
    placed.remove("gone")
    assert [each.order_id for each in recent(placed.records, STARTED, dynamo)] == ["good"]
    assert recent(placed.records, STARTED, dynamo) == []


def test_only_twenty_of_a_batch_are_listed():
    placed = Stream()
    for number in range(30):
        placed.put(item(f"order-{number}"))
    found = recent(placed.records, STARTED + 30)
    assert [each.order_id for each in found] == [f"order-{number}" for number in range(29, 9, -1)]


def test_lists_are_merged_without_repeating_an_order():
    mine, others = [order(3), order(1)], [order(4), order(3), order(2)]
    merged = recent_orders.merge(mine, others)
    assert [each.order_id for each in merged] == ["order-4", "order-3", "order-2", "order-1"]
    amended = order(3, at=STARTED + 10, quantity=9)
    assert recent_orders.merge(mine, [amended])[0] == amended
    assert len(recent_orders.merge([order(number) for number in range(30)])) == ORDERS_MAX


# --- The report ----------------------------------------------------------------------------------


def write(state: dict[str, Any], reporter: Reporter, batch: tuple[stream.Batch, committer.Committer], now: int) -> None:
    """Write a container's report about a batch to StateTable's item, as UpdateItem does with ALL_OLD."""
    report = reporter.report(*batch, True, now, float(now))
    assert report is not None
    assert report["ReturnValues"] == "ALL_OLD"
    replaced = dict(state)
    state[recent_orders.ATTRIBUTE] = report["ExpressionAttributeValues"][":recent"]
    reporter.add_replaced({"Attributes": replaced} if replaced else {})


def test_orders_of_overlapping_invocations_return_with_the_next_report():
    state: dict[str, Any] = {}
    containers = Reporter(), Reporter()
    listed = []
    for number in range(4):
        placed = Stream()
        placed.put(item(f"order-{number}"))
        write(state, containers[number % 2], counted(placed.records), STARTED + number)
        listed.append("".join(each.order_id[-1] for each in recent_orders.unpack(state)))
    # Each report lacks only what the other container has reported just before.
    assert listed == ["0", "1", "20", "310"]
    placed = Stream()
    placed.put(item("order-4"))
    write(state, containers[1], counted(placed.records), STARTED + 4)
    assert {each.order_id[-1] for each in recent_orders.unpack(state)} == set("01234")


def test_orders_between_two_reports_are_listed_with_the_later_one():
    reporter, reports = Reporter(), []
    for number in range(12):
        placed = Stream(started=STARTED + number)
        placed.put(item(f"order-{number}"))
        reports.append(reporter.report(*counted(placed.records), True, STARTED + number, number / 10))
    assert [report is not None for report in reports] == [True] * 10 + [False] * 2
    due = reporter.report(*counted([]), True, STARTED + 60, 60.0)
    assert due is None  # Nothing has happened since.
    placed = Stream(started=STARTED + 60)
    placed.put(item("last"))
    report = reporter.report(*counted(placed.records), True, STARTED + 60, 60.0)
    assert report is not None
    values = report["ExpressionAttributeValues"]
    assert len(recent_orders.unpack({recent_orders.ATTRIBUTE: values[":recent"]})) == 13


def size(report: dict[str, Any]) -> int:
    """Return the size of the item that a report writes, as DynamoDB counts it, and a little more."""
    names = ("name", "streamLag", "lagSeconds", "measuredAt", "state", "failingSince", recent_orders.ATTRIBUTE)
    values = [next(iter(value.values())) for value in report["ExpressionAttributeValues"].values()]
    return sum(map(len, [*names, *values, values[1]]))


@pytest.mark.parametrize("character", ["x", "é", "📓", '"', "\\", "\u202e"])
def test_report_with_twenty_orders_of_any_content_stays_within_one_write_unit(character: str):
    placed = Stream()
    for number in range(ORDERS_MAX):
        placed.put(item(f"{number:02}".rjust(128, character), character * (1000 // len(character.encode())), 10**9))
    report = Reporter().report(*counted(placed.records), False, STARTED + 10**5, 0.0)
    assert report is not None
    assert report["ExpressionAttributeValues"][":state"]["S"] == State.FAILING
    assert size(report) <= WRITE_UNIT_BYTES


def test_twenty_usual_orders_fit():
    placed = Stream()
    for number in range(ORDERS_MAX):
        order_id = f"01KAX{number:02}{hash_of(number)}"
        placed.put(item(order_id, f"Product {number * 37 % 100}", number * 7 + 1))
    packed = recent_orders.pack(recent(placed.records, STARTED + 30))
    assert len(recent_orders.unpack({recent_orders.ATTRIBUTE: packed})) == ORDERS_MAX
    assert len(packed["B"]) <= PACKED_MAX_BYTES


def hash_of(number: int) -> str:
    """Return 19 random characters of base 32, as an order id has."""
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = pow(7, number + 40, 2**95 - 1)
    return "".join(digits[value >> 5 * place & 31] for place in range(19))


def test_too_long_content_is_left_out_and_too_long_ids_are_not_listed():
    placed = Stream()
    placed.put(item("long", "x" * 500))
    placed.put(item("y" * 129))
    (only,) = recent(placed.records, STARTED)
    assert (only.order_id, only.content) == ("long", {})


@pytest.mark.parametrize(
    "value",
    [{"S": "x"}, {"B": b"x"}, {"B": b""}, {"M": {}}, recent_orders.pack([("a", "b", 1.0, {})])],  # type: ignore[list-item]
)
def test_malformed_list_is_empty(value: Any):
    assert recent_orders.unpack({recent_orders.ATTRIBUTE: value}) == []
    assert recent_orders.to_json(None, 5) == []
