"""Tests for operations/replay.py: it replays stored batches, rejects old ones, and keeps those that fail again."""

import json
import time
from typing import Any

import boto3
import pytest
from moto import mock_aws
from rich.console import Console

from chalicelib.counting import ledger
from infrastructure.template import KEPT_BATCH_DAYS
from operations.progress import Display
from operations.replay import MAX_AGE_SECONDS, ReplayRun, records_of
from operations.stages import StageError
from tests.streams import Stream, item

NOW = 1_795_100_000.0
DAY = 24 * 60 * 60


def kept(*records: Any, as_text: bool = True) -> bytes:
    """Return a failed batch as Lambda stores it (Lambda Developer Guide, "Retaining discarded records")."""
    payload = {"Records": records}
    return json.dumps({"version": "1.0", "payload": json.dumps(payload) if as_text else payload}).encode()


def record(created: float) -> dict[str, Any]:
    return Stream(started=int(created)).put(item("order-1"))


def test_a_tombstone_outlives_every_record_that_can_be_replayed():
    assert KEPT_BATCH_DAYS * DAY < MAX_AGE_SECONDS < ledger.TOMBSTONE_SECONDS


@pytest.mark.parametrize("as_text", [True, False])
def test_records_are_read_from_the_payload(as_text: bool):
    (found,) = records_of(kept(record(NOW), as_text=as_text), NOW)
    assert found["dynamodb"]["Keys"] == {"OrderID": {"S": "order-1"}}


def test_batch_with_a_record_that_may_have_outlived_its_tombstone_is_refused():
    old = kept(record(NOW), record(NOW - MAX_AGE_SECONDS - DAY))
    with pytest.raises(StageError, match=r"more than 21 days old. Run make audit with REPAIR=yes"):
        records_of(old, NOW)
    assert len(records_of(old, NOW - 2 * DAY)) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"payload": "x"}', kept(), kept({}), b'{"payload": 5}'])
def test_object_that_is_not_a_batch_is_rejected(body: bytes):
    with pytest.raises(StageError, match="not a batch that Lambda stored"):
        records_of(body, NOW)


class Handler:
    """A stream handler that fails for some orders."""

    def __init__(self) -> None:
        self.broken = True
        self.counted: list[str] = []

    def call(self, request: Any) -> None:
        ids = [each["dynamodb"]["Keys"]["OrderID"]["S"] for each in request["Records"]]
        if self.broken and "order-2" in ids:
            raise StageError("aggregate failed: KeyError")
        self.counted += ids


def run(storage: Any, handler: Any) -> ReplayRun:
    with Display(Console(quiet=True)) as display:
        replay = ReplayRun(storage, "failed", handler, display)
        replay.run()
    return replay


@mock_aws
def test_batch_that_fails_again_is_left_and_the_next_replay_counts_it():
    storage = boto3.client("s3", region_name="us-east-1")
    storage.create_bucket(Bucket="failed")
    for number in (1, 2, 3):
        stream = Stream(started=int(time.time()))
        storage.put_object(Bucket="failed", Key=f"{number}", Body=kept(stream.put(item(f"order-{number}"))))
    handler = Handler()
    first = run(storage, handler)
    assert (first.batches, first.records, first.left) == (2, 2, {"2": "aggregate failed: KeyError"})
    assert [each["Key"] for each in storage.list_objects_v2(Bucket="failed")["Contents"]] == ["2"]

    handler.broken = False
    second = run(storage, handler)
    assert (second.batches, second.records, second.left) == (1, 1, {})
    assert handler.counted == ["order-1", "order-3", "order-2"]
    assert run(storage, handler).batches == 0
