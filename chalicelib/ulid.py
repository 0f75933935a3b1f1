"""Make order ids (ULIDs) for orders that a client sends without an id."""

_CROCKFORD_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_order_id(epoch_milliseconds: int, randomness: bytes) -> str:
    """Return a ULID (github.com/ulid/spec): 26 characters that sort by time. `randomness` must be 10 bytes."""
    number = (epoch_milliseconds << 80) | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD_BASE32[(number >> shift) & 31] for shift in range(125, -1, -5))
