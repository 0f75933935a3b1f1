"""Tests for reading stream records in the format that Lambda delivers."""

import copy
from typing import Any

import pytest

from chalicelib.counting import stream
from chalicelib.counting.stream import StreamWithoutNewImages
from tests.streams import STARTED, TTL, Stream, item


def test_an_orders_records_are_sorted_oldest_first():
    orders = Stream()
    for quantity in range(1, 12):  # The sequence numbers grow from 20 digits to 21.
        orders.put(item("o", quantity=quantity))
    (records,) = stream.read(reversed(orders.records)).records_by_order.values()
    assert [record.image["Quantity"]["N"] for record in records if record.image] == [str(n) for n in range(1, 12)]


def test_a_record_has_its_orders_new_image_and_position():
    orders = Stream()
    orders.put(item("o"))
    orders.put(item("o", quantity=6))
    orders.remove("o")
    placed, amended, cancelled = stream.read(orders.records).records_by_order["o"]
    assert (placed.is_insert, placed.image, placed.created_at) == (True, item("o"), STARTED)
    assert (amended.is_insert, amended.image) == (False, item("o", quantity=6))
    assert (cancelled.is_insert, cancelled.image, cancelled.expired) == (False, None, False)
    assert placed.position == "2026-11-23T00:00:00.000/" + "99999999999999999996".zfill(40)


@pytest.mark.parametrize(
    ("identity", "expired"),
    [
        (TTL, True),
        (None, False),
        ({"type": "Service", "principalId": "someone.else"}, False),
        ({"type": "User", "principalId": "dynamodb.amazonaws.com"}, False),
    ],
)
def test_only_a_removal_by_dynamodbs_ttl_is_an_expiry(identity: dict[str, str] | None, expired: bool):
    orders = Stream()
    orders.put(item("o"))
    removed = {**orders.remove("o"), "userIdentity": identity}
    assert stream.read([removed]).records_by_order["o"][0].expired is expired


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images_raises(view_type: str):
    orders = Stream(view_type=view_type)
    record = orders.put(item("o"))
    del record["dynamodb"]["NewImage"]
    with pytest.raises(StreamWithoutNewImages, match=f"{view_type}.*NEW_AND_OLD_IMAGES"):
        stream.read([record])


def without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a copy of a record without the field at a path."""
    *parents, last = path
    copied = copy.deepcopy(record)
    parent = copied
    for name in parents:
        parent = parent[name]
    del parent[last]
    return copied


FIELDS = [
    ("dynamodb",), ("eventName",), ("eventSourceARN",), ("dynamodb", "Keys"), ("dynamodb", "Keys", "OrderID"),
    ("dynamodb", "Keys", "OrderID", "S"), ("dynamodb", "NewImage"), ("dynamodb", "SequenceNumber"),
    ("dynamodb", "ApproximateCreationDateTime"),
]  # fmt: skip


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_a_record_without_a_field_is_set_apart_and_the_others_are_read(path: tuple[str, ...]):
    orders = Stream()
    broken = without(orders.put(item("broken")), *path)
    good = orders.put(item("good"))
    batch = stream.read([broken, good])
    assert list(batch.records_by_order) == ["good"]
    ((event_id, order_id, problem),) = batch.malformed
    assert (event_id, problem) == ("1", f"{path[-1]} is missing")
    assert order_id == (None if {"Keys", "OrderID", "S", "dynamodb"} & {path[-1]} else "broken")


@pytest.mark.parametrize(
    "change",
    [
        {"dynamodb": None},
        {"dynamodb": "text"},
        {"eventName": "TRUNCATE"},
        {"eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/OrdersTable"},
        {"eventSourceARN": 5},
    ],
    ids=repr,
)
def test_a_record_with_an_invalid_field_is_set_apart(change: dict[str, Any]):
    batch = stream.read([{**Stream().put(item("o")), **change}])
    assert (batch.records_by_order, len(batch.malformed)) == ({}, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"SequenceNumber": "12x"},
        {"SequenceNumber": 12},
        {"ApproximateCreationDateTime": "now"},
        {"ApproximateCreationDateTime": -1},
        {"ApproximateCreationDateTime": 1e18},
        {"NewImage": None},
        {"NewImage": "text"},
    ],
    ids=repr,
)
def test_a_record_with_an_invalid_change_is_set_apart(change: dict[str, Any]):
    record = Stream().put(item("o"))
    batch = stream.read([{**record, "dynamodb": {**record["dynamodb"], **change}}])
    assert (batch.records_by_order, [record.order_id for record in batch.malformed]) == ({}, ["o"])


def test_a_malformed_record_comes_with_its_problem_and_its_legible_parts():
    record = {**Stream().put(item("o")), "eventName": "TRUNCATE", "eventID": 7}
    assert stream.read([record]).malformed == [("", "o", "eventName is 'TRUNCATE'")]


@pytest.mark.parametrize("record", [None, 5, "text", []], ids=repr)
def test_a_value_that_is_not_a_record_is_set_apart(record: Any):
    assert stream.read([record]) == ({}, [("", None, stream.read([record]).malformed[0].problem)])


def test_a_batch_has_the_ages_of_its_records():
    orders = Stream()
    orders.put(item("a"))
    orders.put(item("b"))
    assert stream.read(orders.records).ages(STARTED + 3.5) == [3.5, 2.5]
    assert stream.read(orders.records).ages(STARTED) == [0, 0]
    assert stream.read([*orders.records, {}]).size == 3
