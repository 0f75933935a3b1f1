"""Make stream records for tests as Lambda delivers them, in batches that are cut and repeated in every way."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

LABEL = "2026-11-23T00:00:00.000"
STARTED = 1_795_000_000  # The time of a stream's first record, in epoch seconds. Records are one second apart.

TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

Batch = Sequence[dict[str, Any]]


def item(order_id: str, product: object = "Notebook", quantity: object = 5, **more: dict[str, Any]) -> dict[str, Any]:
    """Return an order's item. `product` and `quantity` may have the wrong type, to make it invalid."""
    converters: dict[type, Callable[[Any], dict[str, Any]]] = {str: lambda value: {"S": value}}
    as_number: Callable[[Any], dict[str, Any]] = lambda value: {"N": str(value)}  # noqa: E731
    return {
        "OrderID": {"S": order_id},
        "Product": converters.get(type(product), as_number)(product),
        "Quantity": converters.get(type(quantity), as_number)(quantity),
        **more,
    }


class Stream:
    """The stream of OrdersTable. `put` and `remove` add a record to `records` and update `items`."""

    def __init__(self, label: str = LABEL, view_type: str = "NEW_AND_OLD_IMAGES", started: int = STARTED) -> None:
        self.arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/OrdersTable/stream/{label}"
        self.view_type = view_type
        self.started = started
        self.records: list[dict[str, Any]] = []
        self.items: dict[str, dict[str, Any]] = {}

    def put(self, new: dict[str, Any]) -> dict[str, Any]:
        """Place an order, or amend it if it exists. Return the record."""
        order_id = new["OrderID"]["S"]
        old = self.items.get(order_id)
        self.items[order_id] = new
        return self._record("MODIFY" if old else "INSERT", order_id, old, new)

    def remove(self, order_id: str, expired: bool = False) -> dict[str, Any]:
        """Cancel an order, or archive it as DynamoDB's TTL does if `expired`. Return the record."""
        record = self._record("REMOVE", order_id, self.items.pop(order_id), None)
        if expired:
            record["userIdentity"] = TTL
        return record

    def _record(
        self, name: str, order_id: str, old: dict[str, Any] | None, new: dict[str, Any] | None
    ) -> dict[str, Any]:
        number = len(self.records) + 1
        images = {"NewImage": new} if new else {}
        if old and self.view_type == "NEW_AND_OLD_IMAGES":
            images["OldImage"] = old
        record = {
            "eventID": str(number),
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "eventSourceARN": self.arn,
            "dynamodb": {
                "Keys": {"OrderID": {"S": order_id}},
                **images,
                # The numbers get longer, as real ones may, so a comparison as text would fail.
                "SequenceNumber": str(99_999_999_999_999_999_995 + number),
                "SizeBytes": 100,
                "StreamViewType": self.view_type,
                "ApproximateCreationDateTime": self.started + number - 1,
            },
        }
        self.records.append(record)
        return record


def every_way(records: Batch) -> Iterator[tuple[str, list[Batch]]]:
    """Yield (name, batches) for each way Lambda can deliver a shard's records. All must give the same result."""
    yield "whole", [records]
    yield "one by one", [[record] for record in records]
    for cut in range(1, len(records)):
        yield f"cut before record {cut}", [records[:cut], records[cut:]]
    yield "each batch twice", [records, records]
    yield "each record twice", [[record] for record in records for _ in range(2)]
    yield "each record twice in one batch", [[record for record in records for _ in range(2)]]
    for end in range(1, len(records) + 1):
        yield f"whole, then again up to record {end}", [records, records[:end]]
        yield f"up to record {end}, then from the start", [records[:end], records]
        yield f"one by one, then record {end - 1} late", [*([record] for record in records), [records[end - 1]]]
