"""Tests for trends: the hour in which an order counts, and the JSON with all days and hours."""

import pytest

from chalicelib import views
from chalicelib.api import trend
from chalicelib.orders import Order
from chalicelib.views import CounterKey
from tests.doubles import FakeDynamoDB, deliver
from tests.streams import STARTED, Stream, item

DAYS = ["2026-11-22", "2026-11-23"]


def test_order_counts_in_the_hour_it_was_placed_in():
    order = Order("order-1", "Pen", 5, "2026-11-23T09:59:59Z")
    counted = views.contributions(order).contributions
    assert counted[CounterKey("TrendTable", ("Pen", "2026-11-23"))] == {"total": 5, "h09": 5}


def test_transaction_holds_98_orders_of_one_product_and_hour():
    dynamo = FakeDynamoDB()
    placed = {"PlacedAt": {"S": "2026-11-23T09:00:00Z"}}
    stream = Stream()
    for number in range(98 + 99):
        stream.put(item(f"order-{number}", "Pen", 1, **placed))
    deliver(stream.records[:98], dynamo)
    assert dynamo.transactions == 1
    deliver(stream.records[98:], dynamo)
    assert dynamo.transactions == 3


def days_of(*items: dict[str, dict[str, str]]):
    return trend.to_json("Pen", DAYS, items)["days"]


def test_days_and_hours_without_orders_are_zero():
    assert days_of() == [{"day": day, "total": 0, "hours": [0] * 24} for day in DAYS]


def test_hours_are_in_order():
    day = {"product": {"S": "Pen"}, "day": {"S": "2026-11-23"}, "total": {"N": "276"}, "revision": {"N": "9"}}
    day |= {f"h{hour:02}": {"N": str(hour)} for hour in range(24)}
    assert days_of(day) == [
        {"day": "2026-11-22", "total": 0, "hours": [0] * 24},
        {"day": "2026-11-23", "total": 276, "hours": list(range(24))},
    ]


def test_total_is_the_sum_of_the_days_in_the_response():
    items = [{"day": {"S": day}, "total": {"N": "3"}, "h00": {"N": "3"}} for day in (*DAYS, "2020-01-01")]
    assert trend.to_json("Pen", DAYS, items)["total"] == 6


def test_days_are_consecutive_and_end_with_the_last():
    assert trend.days_until("2026-03-02", 4) == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert trend.days_until("2026-03-02", 1) == ["2026-03-02"]


def test_default_is_seven_days():
    assert trend.parse_days(None) == trend.parse_days({}) == 7
    assert trend.parse_days({"days": "1"}) == 1
    assert trend.parse_days({"days": "90"}) == 90


@pytest.mark.parametrize("days", ["0", "91", "-1", "", "7.0", "week", "٣"])
def test_number_of_days_out_of_range_is_an_error(days: str):
    assert trend.parse_days({"days": days}) == {"days": "must be a whole number from 1 to 90"}


def test_unknown_parameter_is_an_error():
    assert trend.parse_days({"day": "3"}) == {"day": "is not a known parameter; the parameters are days"}


# --- Through the ledger: changes count in the hour in which the order was placed --------------------


def hours(dynamo: FakeDynamoDB) -> dict[tuple[str, ...], dict[str, int]]:
    return {key: amounts for (table, key), amounts in dynamo.counters().items() if table == "TrendTable"}


def placed(at: str) -> dict[str, dict[str, str]]:
    return {"PlacedAt": {"S": at}}


def test_amendment_counts_in_the_hour_of_placing():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T23:30:00+02:00")
    deliver([stream.put(item("order-1", "Pen", 5, **at))], dynamo)
    deliver([stream.put(item("order-1", "Pen", 7, **at))], dynamo)
    assert hours(dynamo) == {("Pen", "2026-11-20"): {"total": 7, "h21": 7}}


def test_change_of_product_keeps_the_hour():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T08:00:00Z")
    deliver([stream.put(item("order-1", "Pen", 5, **at))], dynamo)
    deliver([stream.put(item("order-1", "Ink", 5, **at))], dynamo)
    assert hours(dynamo) == {("Ink", "2026-11-20"): {"total": 5, "h08": 5}}


@pytest.mark.parametrize("invalid", [{}, placed("yesterday"), placed("2026-11-20")])
def test_order_without_a_valid_placed_at_stays_in_the_hour_of_its_first_record(
    invalid: dict[str, dict[str, str]],
):
    dynamo = FakeDynamoDB()
    stream = Stream(started=STARTED)
    deliver([stream.put(item("order-1", "Pen", 5, **invalid))], dynamo)
    (first,) = hours(dynamo)
    stream.started += 3 * 24 * 60 * 60
    deliver([stream.put(item("order-1", "Pen", 9, **invalid))], dynamo)
    ((key, amounts),) = hours(dynamo).items()
    assert key == first
    assert set(amounts.values()) == {9}


def test_cancelled_order_is_removed_from_its_hour():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T08:00:00Z")
    deliver([stream.put(item("order-1", "Pen", 5, **at)), stream.put(item("order-2", "Pen", 2, **at))], dynamo)
    deliver([stream.remove("order-1")], dynamo)
    assert hours(dynamo) == {("Pen", "2026-11-20"): {"total": 2, "h08": 2}}
