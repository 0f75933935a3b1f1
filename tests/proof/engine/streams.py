"""A table's stream, and Lambda's event source mapping that reads it.

Sources: "Change data capture for DynamoDB Streams"; "Using AWS Lambda with Amazon DynamoDB" (Lambda Developer Guide).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ViewType = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]

DAY_SECONDS = 24 * 60 * 60  # A stream keeps a record for so long.
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}  # "DynamoDB Streams and Time to Live"
HASHES = 2**32


def scan_order(key: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Return what sorts the keys of a table: the partition key's hash, then the whole key."""
    return zlib.crc32(key[0].encode()), key


@dataclass(repr=False, eq=False)
class Shard:
    """The records of the keys whose hash is from `low` to below `high`, in order."""

    low: int
    high: int
    parent: "Shard | None" = None
    is_open: bool = True
    records: list[dict[str, Any]] = field(default_factory=list)
    trimmed: int = 0  # Records before this index are no longer in the stream.

    def __repr__(self) -> str:
        return f"shard {self.low:x} to {self.high:x}"


class Stream:
    """A stream. `first_number` is its first sequence number; those of one shard rise, also in its children."""

    def __init__(self, arn: str, view: ViewType, first_number: int = 10**20) -> None:
        self.arn = arn
        self.view = view
        self.shards = [Shard(0, HASHES)]
        self.last_number = first_number

    def shard_of(self, at: int) -> Shard:
        """Return the open shard for the hash of a partition key."""
        return next(shard for shard in self.shards if shard.is_open and shard.low <= at < shard.high)

    def split(self, shard: Shard) -> None:
        """Close a shard; two children take over."""
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
        """Write the record of a change. Its time is in whole seconds."""
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
        """Remove the records that are older than a day."""
        for shard in self.shards:
            while shard.trimmed < len(shard.records) and self._is_old(shard.records[shard.trimmed], now):
                shard.trimmed += 1

    @staticmethod
    def _is_old(record: Mapping[str, Any], now: float) -> bool:
        at: float = record["dynamodb"]["ApproximateCreationDateTime"]
        return at < now - DAY_SECONDS


class EventSourceMapping:
    """How far one mapping has read each shard of a stream. It starts at TRIM_HORIZON."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.checkpoints: dict[Shard, int] = {}

    def checkpoint(self, shard: Shard) -> int:
        """Return the index of the first record that the mapping has not finished with."""
        return max(self.checkpoints.get(shard, 0), shard.trimmed)

    def remaining(self, shard: Shard) -> int:
        """Return how many records follow the checkpoint."""
        return len(shard.records) - self.checkpoint(shard)

    def readable(self) -> list[Shard]:
        """Return the shards with records to deliver. A child waits until its parent is read to the end."""
        return [
            shard
            for shard in self.stream.shards
            if self.remaining(shard) and not (shard.parent and self._is_unfinished(shard.parent))
        ]

    def _is_unfinished(self, shard: Shard) -> bool:
        return bool(self.remaining(shard)) or bool(shard.parent and self._is_unfinished(shard.parent))

    def advance(self, shard: Shard, end: int) -> None:
        """Move on to a record, because those before it were delivered, or given up."""
        self.checkpoints[shard] = max(self.checkpoint(shard), end)

    def restart(self) -> None:
        """Start at TRIM_HORIZON again."""
        self.checkpoints.clear()
