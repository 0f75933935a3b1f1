"""Compute increments from the old and new image of a stream record, for the contenders that use both."""

from typing import Any


def deltas(record: Any) -> dict[str, int]:
    """Return the nonzero increments of a record by product."""
    moved: dict[str, int] = {}
    for image, sign in (("OldImage", -1), ("NewImage", 1)):
        order = record["dynamodb"].get(image)
        if order:
            product = order["Product"]["S"]
            moved[product] = moved.get(product, 0) + sign * int(order["Quantity"]["N"])
    return {product: delta for product, delta in moved.items() if delta}
