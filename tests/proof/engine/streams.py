"""A table's stream, and Lambda's event source mapping that reads it.

Sources: "Change data capture for DynamoDB Streams"; "Using AWS Lambda with Amazon DynamoDB" (Lambda Developer Guide).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ViewType = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]

DAY_SECONDS = 24 * 60 * 60  # A stream keeps records for a day.
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}  # See "DynamoDB Streams and Time to Live".
HASHES = 2**32


def scan_order(key: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Return the sort value of a key: the partition key's hash, then the whole key."""
    return zlib.crc32(key[0].encode()), key


@dataclass(repr=False, eq=False)
class Shard:
    """A shard: the ordered records of all keys with a hash from `low` to below `high`."""

    low: int
    high: int
    parent: "Shard | None" = None
    is_open: bool = True
    records: list[dict[str, Any]] = field(default_factory=list)
    trimmed: int = 0  # Records before this index are no longer in the stream.

    def __repr__(self) -> str:
        return f"shard {self.low:x} to {self.high:x}"


class Stream:
    """A stream of change records. Its sequence numbers rise from `first_number` on."""

    def __init__(self, arn: str, view: ViewType, first_number: int = 10**20) -> None:
        self.arn = arn
        self.view = view
        self.shards = [Shard(0, HASHES)]
        self.last_number = first_number

    def shard_of(self, at: int) -> Shard:
        """Return the open shard for a partition key's hash."""
        return next(shard for shard in self.shards if shard.is_open and shard.low <= at < shard.high)

    def split(self, shard: Shard) -> None:
        """Close a shard and open two children that replace it."""
        if shard.is_open and shard.high - shard.low > 1:
            shard.is_open = False
            middle = (shard.low + shard.high) // 2
            self.shards += [Shard(shard.low, middle, shard), Shard(middle, shard.high, shard)]

    def append(
        self,
        key_names: Sequence[str],
        key: Sequence[str],
        old: Mapping[str, Any] | None,
        new: Mapping[str, Any] | None,
        now: float,
        by_ttl: bool = False,
    ) -> None:
        """Append the record of a change. The record's time is in whole seconds."""
        self.last_number += 1
        images: dict[str, Any] = {"NewImage": new} if new is not None else {}
        if old is not None and self.view == "NEW_AND_OLD_IMAGES":
            images["OldImage"] = old
        shard = self.shard_of(scan_order(tuple(key))[0])
        shard.records.append(
            {
                "eventID": str(self.last_number),
                "eventName": "INSERT" if old is None else "MODIFY" if new is not None else "REMOVE",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "us-east-1",
                "eventSourceARN": self.arn,
                **({"userIdentity": TTL_IDENTITY} if by_ttl else {}),
                "dynamodb": {
                    "ApproximateCreationDateTime": float(int(now)),
                    "Keys": {name: {"S": value} for name, value in zip(key_names, key, strict=True)},
                    **images,
                    "SequenceNumber": str(self.last_number),
                    "SizeBytes": 100,
                    "StreamViewType": self.view,
                },
            }
        )

    def trim(self, now: float) -> None:
        """Remove records that are older than a day."""
        for shard in self.shards:
            while shard.trimmed < len(shard.records) and self._is_old(shard.records[shard.trimmed], now):
                shard.trimmed += 1

    @staticmethod
    def _is_old(record: Mapping[str, Any], now: float) -> bool:
        at: float = record["dynamodb"]["ApproximateCreationDateTime"]
        return at < now - DAY_SECONDS


class EventSourceMapping:
    """An event source mapping: its position in each shard of a stream. It starts at TRIM_HORIZON."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.checkpoints: dict[Shard, int] = {}

    def checkpoint(self, shard: Shard) -> int:
        """Return the index of the first record that is neither delivered nor discarded."""
        return max(self.checkpoints.get(shard, 0), shard.trimmed)

    def remaining(self, shard: Shard) -> int:
        """Return the number of records after the checkpoint."""
        return len(shard.records) - self.checkpoint(shard)

    def readable(self) -> list[Shard]:
        """Return the shards with records to deliver. A child is not readable until its parent is read completely."""
        return [
            shard
            for shard in self.stream.shards
            if self.remaining(shard) and not (shard.parent and self._is_unfinished(shard.parent))
        ]

    def _is_unfinished(self, shard: Shard) -> bool:
        return bool(self.remaining(shard)) or bool(shard.parent and self._is_unfinished(shard.parent))

    def advance(self, shard: Shard, end: int) -> None:
        """Move the checkpoint to record `end`, after the records before it were delivered or discarded."""
        self.checkpoints[shard] = max(self.checkpoint(shard), end)

    def restart(self) -> None:
        """Return to TRIM_HORIZON, the oldest record."""
        self.checkpoints.clear()
