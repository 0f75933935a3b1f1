"""Reading stream records: the form in which Lambda delivers them."""

import pytest

from chalicelib import stream
from chalicelib.stream import StreamWithoutNewImages
from tests.streams import STARTED, TTL, Stream, item


def test_the_records_of_an_order_come_oldest_first_whatever_the_batch_says():
    told = Stream()
    for quantity in range(1, 12):  # Their sequence numbers grow from 20 digits to 21 on the way.
        told.put(item("o", quantity=quantity))
    (records,) = stream.by_order(reversed(told.records)).values()
    assert [record.image["Quantity"]["N"] for record in records if record.image] == [str(n) for n in range(1, 12)]


def test_a_record_says_what_became_of_its_order():
    told = Stream()
    told.put(item("o"))
    told.put(item("o", quantity=6))
    told.remove("o")
    placed, amended, cancelled = stream.by_order(told.records)["o"]
    assert (placed.first, placed.image, placed.at) == (True, item("o"), STARTED)
    assert (amended.first, amended.image) == (False, item("o", quantity=6))
    assert (cancelled.first, cancelled.image, cancelled.by_ttl) == (False, None, False)
    assert placed.version == "2026-11-23T00:00:00.000/" + "99999999999999999996".zfill(40)


@pytest.mark.parametrize(
    ("identity", "by_ttl"),
    [
        (TTL, True),
        (None, False),
        ({"type": "Service", "principalId": "someone.else"}, False),
        ({"type": "User", "principalId": "dynamodb.amazonaws.com"}, False),
    ],
)
def test_only_dynamodbs_own_ttl_archives(identity: dict[str, str] | None, by_ttl: bool):
    told = Stream()
    told.put(item("o"))
    removed = {**told.remove("o"), "userIdentity": identity}
    assert stream.by_order([removed])["o"][0].by_ttl is by_ttl


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_that_does_not_show_what_became_of_orders_is_refused_and_not_misread(view_type: str):
    told = Stream(view_type=view_type)
    record = told.put(item("o"))
    del record["dynamodb"]["NewImage"]
    with pytest.raises(StreamWithoutNewImages, match=f"{view_type}.*NEW_AND_OLD_IMAGES"):
        stream.by_order([record])


def test_the_lag_is_that_of_the_oldest_record():
    told = Stream()
    told.put(item("a"))
    told.put(item("b"))
    assert stream.oldest_lag_seconds(stream.by_order(told.records), STARTED + 3.5) == 3.5
    assert stream.oldest_lag_seconds({}, STARTED) == 0
