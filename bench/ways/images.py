"""What a stream record changes, by its two images: for the ways that care."""

from typing import Any


def deltas(record: Any) -> dict[str, int]:
    """By how much the record moves the totals, by product; what stays as it is is left out."""
    moved: dict[str, int] = {}
    for image, sign in (("OldImage", -1), ("NewImage", 1)):
        order = record["dynamodb"].get(image)
        if order:
            product = order["Product"]["S"]
            moved[product] = moved.get(product, 0) + sign * int(order["Quantity"]["N"])
    return {product: delta for product, delta in moved.items() if delta}
