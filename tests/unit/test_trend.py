"""The trend: which hour an order counts in, and every day and hour shown, the empty ones too."""

import pytest

from chalicelib import views
from chalicelib.api import trend
from chalicelib.orders import Order
from chalicelib.views import CounterKey
from tests.doubles import FakeDynamoDB, deliver
from tests.streams import STARTED, Stream, item

DAYS = ["2026-11-22", "2026-11-23"]


def test_an_order_counts_in_the_day_and_hour_in_which_it_was_placed():
    order = Order("order-1", "Pen", 5, "2026-11-23T09:59:59Z")
    assert views.contributions(order)[CounterKey("TrendTable", ("Pen", "2026-11-23"))] == {"total": 5, "h09": 5}


def test_98_orders_of_one_product_and_hour_fill_a_transaction_and_one_more_starts_another():
    dynamo = FakeDynamoDB()
    placed = {"PlacedAt": {"S": "2026-11-23T09:00:00Z"}}
    stream = Stream()
    for number in range(98 + 99):
        stream.put(item(f"order-{number}", "Pen", 1, **placed))
    deliver(stream.records[:98], dynamo)
    assert dynamo.transactions == 1
    deliver(stream.records[98:], dynamo)
    assert dynamo.transactions == 3


def shown(*items: dict[str, dict[str, str]]):
    return trend.to_json("Pen", DAYS, items)["days"]


def test_days_and_hours_without_orders_are_shown_as_zero():
    assert shown() == [{"day": day, "total": 0, "hours": [0] * 24} for day in DAYS]


def test_every_hour_has_its_place():
    day = {"product": {"S": "Pen"}, "day": {"S": "2026-11-23"}, "total": {"N": "276"}, "revision": {"N": "9"}}
    day |= {f"h{hour:02}": {"N": str(hour)} for hour in range(24)}
    assert shown(day) == [
        {"day": "2026-11-22", "total": 0, "hours": [0] * 24},
        {"day": "2026-11-23", "total": 276, "hours": list(range(24))},
    ]


def test_the_total_is_that_of_the_days_shown():
    items = [{"day": {"S": day}, "total": {"N": "3"}, "h00": {"N": "3"}} for day in (*DAYS, "2020-01-01")]
    assert trend.to_json("Pen", DAYS, items)["total"] == 6


def test_a_weeks_days_end_with_the_last():
    assert trend.days_until("2026-03-02", 4) == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert trend.days_until("2026-03-02", 1) == ["2026-03-02"]


def test_a_week_is_shown_unless_another_number_of_days_is_asked_for():
    assert trend.days_asked(None) == trend.days_asked({}) == 7
    assert trend.days_asked({"days": "1"}) == 1
    assert trend.days_asked({"days": "90"}) == 90


@pytest.mark.parametrize("days", ["0", "91", "-1", "", "7.0", "week", "٣"])
def test_a_number_of_days_out_of_bounds_is_refused(days: str):
    assert trend.days_asked({"days": days}) == {"days": "must be a whole number from 1 to 90"}


def test_other_parameters_are_refused():
    assert trend.days_asked({"day": "3"}) == {"day": "is not a parameter here; there is days"}


# --- Through the ledger: a change stays in the hour in which the order was placed ----------------


def hours(dynamo: FakeDynamoDB) -> dict[tuple[str, ...], dict[str, int]]:
    return {key: amounts for (table, key), amounts in dynamo.counters().items() if table == "TrendTable"}


def placed(at: str) -> dict[str, dict[str, str]]:
    return {"PlacedAt": {"S": at}}


def test_an_amended_order_changes_the_hour_that_it_was_placed_in():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T23:30:00+02:00")
    deliver([stream.put(item("order-1", "Pen", 5, **at))], dynamo)
    deliver([stream.put(item("order-1", "Pen", 7, **at))], dynamo)
    assert hours(dynamo) == {("Pen", "2026-11-20"): {"total": 7, "h21": 7}}


def test_an_order_moved_to_another_product_takes_its_hour_along():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T08:00:00Z")
    deliver([stream.put(item("order-1", "Pen", 5, **at))], dynamo)
    deliver([stream.put(item("order-1", "Ink", 5, **at))], dynamo)
    assert hours(dynamo) == {("Ink", "2026-11-20"): {"total": 5, "h08": 5}}


@pytest.mark.parametrize("no_instant", [{}, placed("yesterday"), placed("2026-11-20")])
def test_an_order_without_an_instant_stays_in_the_hour_of_its_first_record(
    no_instant: dict[str, dict[str, str]],
):
    dynamo = FakeDynamoDB()
    stream = Stream(started=STARTED)
    deliver([stream.put(item("order-1", "Pen", 5, **no_instant))], dynamo)
    (first,) = hours(dynamo)
    stream.started += 3 * 24 * 60 * 60
    deliver([stream.put(item("order-1", "Pen", 9, **no_instant))], dynamo)
    ((key, amounts),) = hours(dynamo).items()
    assert key == first
    assert set(amounts.values()) == {9}


def test_a_cancelled_order_leaves_the_hour_that_it_was_placed_in():
    dynamo, stream = FakeDynamoDB(), Stream()
    at = placed("2026-11-20T08:00:00Z")
    deliver([stream.put(item("order-1", "Pen", 5, **at)), stream.put(item("order-2", "Pen", 2, **at))], dynamo)
    deliver([stream.remove("order-1")], dynamo)
    assert hours(dynamo) == {("Pen", "2026-11-20"): {"total": 2, "h08": 2}}
