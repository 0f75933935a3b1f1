"""Stream records as Lambda delivers them, read into what the ledger cares for.

Only the stream's format is here. What a record does is ledger.py's.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from chalicelib.ledger import Record

# A sequence number has 21 to 40 digits (API reference, DynamoDB Streams, StreamRecord).
_SEQUENCE_NUMBER_DIGITS = 40

# How a record of DynamoDB's TTL is told from others (Developer Guide, "DynamoDB Streams and Time to Live").
_TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class StreamWithoutNewImages(Exception):
    """The stream is of a view type that does not show what an order has become."""


def by_order(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Record]]:
    """A batch's records by order, those of one order oldest first.

    `records` are the `Records` of the event. Raises StreamWithoutNewImages where the stream is neither
    of type NEW_AND_OLD_IMAGES nor of type NEW_IMAGE.
    """
    news: dict[str, list[Record]] = {}
    for each in records:
        record = _read(each)
        news.setdefault(record.order_id, []).append(record)
    for of_one_order in news.values():
        if len(of_one_order) > 1:
            of_one_order.sort(key=lambda record: record.version)
    return news


def _read(record: Mapping[str, Any]) -> Record:
    change = record["dynamodb"]
    removed = record["eventName"] == "REMOVE"
    if not removed and "NewImage" not in change:
        raise StreamWithoutNewImages(
            f"The stream {record['eventSourceARN']} sends {change.get('StreamViewType')}:"
            " set its view type to NEW_AND_OLD_IMAGES or NEW_IMAGE."
        )
    return Record(
        change["Keys"]["OrderID"]["S"],
        version(record["eventSourceARN"], change["SequenceNumber"]),
        int(change["ApproximateCreationDateTime"]),
        None if removed else change["NewImage"],
        removed and _is_ttl(record.get("userIdentity")),
        record["eventName"] == "INSERT",
    )


def version(stream_arn: str, sequence_number: str) -> str:
    """Orders an order's records by time, as a plain string.

    The stream's label, the time at which it was switched on, comes first: sequence numbers rise within
    one stream, and nothing is promised of those of the next.
    """
    label = stream_arn.partition("/stream/")[2]
    return f"{label}/{sequence_number.zfill(_SEQUENCE_NUMBER_DIGITS)}"


def _is_ttl(identity: Mapping[str, Any] | None) -> bool:
    return identity is not None and all(identity.get(name) == value for name, value in _TTL_IDENTITY.items())


def oldest_lag_seconds(news: Mapping[str, Iterable[Record]], now: float) -> float:
    """How long ago the oldest record of a batch was made; DynamoDB gives whole seconds."""
    return max((now - record.at for records in news.values() for record in records), default=0.0)
