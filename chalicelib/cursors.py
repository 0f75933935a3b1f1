"""Encode a JSON value as an opaque text, a cursor, and decode it. The API's lists and the jobs use cursors.

A cursor is URL-safe base64, without padding, of a CRC-32 and the compressed JSON. The checksum detects damage but not
forgery, so a caller must validate the decoded value.
"""

import base64
import json
import zlib
from typing import Any

_RAW_DEFLATE = -zlib.MAX_WBITS  # Omit zlib's header and checksum to keep short cursors short.


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
        # The base64 decoder ignores invalid characters. Encoding the result again detects them.
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
