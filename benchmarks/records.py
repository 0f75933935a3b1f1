"""Make stream records of generated orders, as Lambda delivers them. The same calls give the same records."""

from collections.abc import Iterable
from typing import Any

STREAM_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/OrdersTable/stream/2026-11-23T18:00:00.000"
STARTED = 1_795_456_800  # Epoch seconds.
RECORDS_PER_SECOND = 500

Record = dict[str, Any]
Image = dict[str, Any]


class OrdersStream:
    """The stream of OrdersTable. Each call changes one order and returns the stream record of the change."""

    def __init__(self) -> None:
        self._records = 0
        self._orders: dict[str, Image] = {}

    def put(self, order_id: str, product: str, quantity: int | None) -> Record:
        """Place an order, or amend it if it exists. Without a quantity, the order is invalid."""
        old = self._orders.get(order_id)
        new: Image = {
            "OrderID": {"S": order_id},
            "Product": {"S": product},
            "PlacedAt": {"S": f"2026-11-23T18:13:{self._records // 1000 % 60:02}.{self._records % 1000:03}Z"},
        }
        if quantity is not None:
            new["Quantity"] = {"N": str(quantity)}
        if old:
            new["PlacedAt"] = old["PlacedAt"]
        self._orders[order_id] = new
        return self._record("MODIFY" if old else "INSERT", order_id, old, new)

    def remove(self, order_id: str) -> Record:
        """Cancel an order."""
        return self._record("REMOVE", order_id, self._orders.pop(order_id), None)

    def _record(self, name: str, order_id: str, old: Image | None, new: Image | None) -> Record:
        self._records += 1
        images = {"OldImage": old, "NewImage": new}
        return {
            "eventID": f"{order_id}/{self._records}",
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": STARTED + self._records // RECORDS_PER_SECOND,
                "Keys": {"OrderID": {"S": order_id}},
                **{image: item for image, item in images.items() if item},
                "SequenceNumber": str(100_000_000_000_000_000_000_000 + self._records),
                "SizeBytes": 150,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "eventSourceARN": STREAM_ARN,
        }


def event(records: Iterable[Record]) -> Any:
    """Return the event that Lambda passes to the handler for a batch."""
    return {"Records": list(records)}
