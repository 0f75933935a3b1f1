"""Cursors: opaque texts, each of which holds a JSON value. The API's pages and the jobs use them.

A cursor is URL-safe base64, without padding, of a CRC-32 and the compressed JSON. The checksum detects damage, not
forgery: whoever decodes a cursor checks its value.
"""

import base64
import json
import zlib
from typing import Any

_RAW_DEFLATE = -zlib.MAX_WBITS  # Without zlib's header and checksum, which would make a short cursor longer.


class CursorError(ValueError):
    """The text is not a cursor."""


def encode(value: Any) -> str:
    """Return the cursor that holds a JSON value."""
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    packed = zlib.compress(content, wbits=_RAW_DEFLATE)
    return _to_text(zlib.crc32(packed).to_bytes(4, "big") + packed)


def decode(text: object, max_bytes: int) -> Any:
    """Decode a cursor. Raise CursorError if the text is not a cursor, or if its JSON is larger than `max_bytes`."""
    unpacking = zlib.decompressobj(_RAW_DEFLATE)
    try:
        raw = base64.urlsafe_b64decode(f"{text}==")
        content = unpacking.decompress(raw[4:], max_bytes + 1)
        # The decoder ignores invalid characters and unused bits of the last one. Encode again to reject such text.
        if _to_text(raw) != text or raw[:4] != zlib.crc32(raw[4:]).to_bytes(4, "big"):
            raise CursorError("The text or its checksum is wrong.")
        if len(content) > max_bytes or not unpacking.eof or unpacking.unused_data:
            raise CursorError("The content is too long or incomplete.")
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, zlib.error, RecursionError) as error:
        raise CursorError(f"The text is not a cursor: {error}") from None


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python accepts as JSON."""
    raise ValueError(constant)
