"""Read the stream records that Lambda delivers, and convert them to the ledger's ChangeRecords."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chalicelib import timestamps
from chalicelib.counting.ledger import ChangeRecord

# Sequence numbers have 21 to 40 digits (API reference, DynamoDB Streams, StreamRecord).
_SEQUENCE_NUMBER_DIGITS = 40

_KINDS = frozenset({"INSERT", "MODIFY", "REMOVE"})
_VIEW_TYPES = frozenset({"NEW_IMAGE", "NEW_AND_OLD_IMAGES"})

# The identity of DynamoDB's TTL in a record (Developer Guide, "DynamoDB Streams and Time to Live").
_TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class StreamWithoutNewImages(Exception):
    """The stream's view type does not include new images, which the app needs."""


class MalformedRecord(NamedTuple):
    """A stream record without a field that every stream record has."""

    event_id: str
    order_id: str | None  # None if the record has no order id.
    problem: str


class Batch(NamedTuple):
    """A batch of stream records."""

    records_by_order: dict[str, list[ChangeRecord]]  # Each order's records, oldest first.
    malformed: list[MalformedRecord]

    @property
    def size(self) -> int:
        """The number of records in the batch, including malformed ones."""
        return len(self.malformed) + sum(map(len, self.records_by_order.values()))

    def ages(self, now: float) -> list[float]:
        """Return the ages of the records in seconds. DynamoDB's timestamps are in whole seconds."""
        return [max(0.0, now - record.created_at) for records in self.records_by_order.values() for record in records]


def read(records: Iterable[Mapping[str, Any]]) -> Batch:
    """Group the `Records` of an event by order, and set the malformed ones apart.

    Raises StreamWithoutNewImages if the stream's view type is neither NEW_AND_OLD_IMAGES nor NEW_IMAGE.
    """
    batch = Batch({}, [])
    for each in records:
        try:
            record = _read(each)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            batch.malformed.append(_malformed(each, error))
        else:
            batch.records_by_order.setdefault(record.order_id, []).append(record)
    for of_one_order in batch.records_by_order.values():
        if len(of_one_order) > 1:
            of_one_order.sort(key=lambda record: record.position)
    return batch


def _read(record: Mapping[str, Any]) -> ChangeRecord:
    change = record["dynamodb"]
    kind = record["eventName"]
    if kind not in _KINDS:
        raise ValueError(f"eventName is {kind!r}")
    removed = kind == "REMOVE"
    if not removed and "NewImage" not in change and change["StreamViewType"] not in _VIEW_TYPES:
        raise StreamWithoutNewImages(
            f"The stream {record['eventSourceARN']} sends {change['StreamViewType']}:"
            " set its view type to NEW_AND_OLD_IMAGES or NEW_IMAGE."
        )
    return ChangeRecord(
        change["Keys"]["OrderID"]["S"],
        position(record["eventSourceARN"], change["SequenceNumber"]),
        _created_at(change["ApproximateCreationDateTime"]),
        None if removed else {**change["NewImage"]},
        removed and _is_ttl(record.get("userIdentity")),
        kind == "INSERT",
    )


def _created_at(value: float) -> int:
    seconds = int(value)
    if not 0 <= seconds <= timestamps.LATEST:
        raise ValueError(f"ApproximateCreationDateTime is {value!r}")
    return seconds


def _malformed(record: Any, error: Exception) -> MalformedRecord:
    """Return a description of a malformed record with all parts that can be read."""
    problem = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    return MalformedRecord(_part(record, "eventID") or "", _part(record, "dynamodb", "Keys", "OrderID", "S"), problem)


def _part(value: Any, *names: str) -> str | None:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def position(stream_arn: str, sequence_number: str) -> str:
    """Return a record's position, a string that sorts an order's records by time.

    It begins with the stream's label, the time at which the stream was switched on. Sequence numbers rise within a
    stream, but AWS promises nothing about those of a later stream.
    """
    label = stream_arn.partition("/stream/")[2]
    if not label or not sequence_number.isdigit():
        raise ValueError(f"{stream_arn!r} and {sequence_number!r} are not a stream's ARN and a sequence number")
    return f"{label}/{sequence_number.zfill(_SEQUENCE_NUMBER_DIGITS)}"


def _is_ttl(identity: Mapping[str, Any] | None) -> bool:
    return identity is not None and all(identity.get(name) == value for name, value in _TTL_IDENTITY.items())
