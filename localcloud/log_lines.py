"""Select the log lines that `make local` prints, and shorten them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLATFORM_LINES = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# `chalice local` logs requests like this: 127.0.0.1 - - [23/Nov/2026 18:29:20] "GET /totals HTTP/1.1" 200 -
REQUEST_LINE = re.compile(r'\S+ - - \[[^]]+\] ".*" \d{3} -')
WIDTH = 80
ROWS_SHOWN = 2  # The number of changed rows that a batch's line shows.


def is_worth_printing(line: str) -> bool:
    """Return False for blank lines, Lambda's platform lines, metrics, and lines that only record a request."""
    skipped = line.startswith(PLATFORM_LINES) or '"_aws":' in line or REQUEST_LINE.fullmatch(line)
    return bool(line.strip()) and not skipped


def entry(line: str) -> Mapping[str, Any]:
    """Return the app's log entry in a line, or an empty dict if the line is something else."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and "message" in value else {}


def shorten(line: str, log: Path, added: Mapping[str, Any]) -> str:
    """Return a line for the terminal. Shorten the app's own entries to 80 columns.

    `log` is the file with the whole entry. `added` has the amounts that a batch has added to the first view's rows.
    """
    logged = entry(line)
    if not logged:
        return line
    if logged["message"] == "Batch":
        return _batch(logged, added)
    error = logged.get("exception", "").strip().rpartition("\n")[2] or logged.get("reason") or logged.get("problems")
    what = re.sub(r"^Caught exception for path ", "", logged["message"])
    subject = f" {logged['orderId']}" if "orderId" in logged else ""
    failed = logged.get("level") in ("ERROR", "WARNING")
    detail = f": {_words(error)}" if error else ""
    return _fit(f"{'✗' if failed else '·'} {what}{subject}{detail}", f" → {log}" if failed else "")


def _batch(logged: Mapping[str, Any], added: Mapping[str, Any]) -> str:
    seconds = f" · {logged['lagSeconds']:.1f} s"
    counted = logged["applied"] - logged["rejected"]
    if counted <= 0:
        return f"· {_count(logged['records'], 'change')}, nothing to count{seconds}"
    changes = sorted(added.items(), key=lambda change: -abs(change[1]))
    shown = ", ".join(f"{_fit(name, '', 24)} {amount:+,}" for name, amount in changes[:ROWS_SHOWN])
    more = f" and {len(changes) - ROWS_SHOWN} more" if len(changes) > ROWS_SHOWN else ""
    return _fit(f"✓ {_count(counted, 'order')}{f' · {shown}{more}' if shown else ''}", seconds)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _words(value: Any) -> str:
    """Return an error, or problems by field, as a text."""
    return "; ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _fit(text: str, end: str, width: int = WIDTH) -> str:
    """Return a text in one line, cut so that it fits before `end`."""
    text, room = " ".join(text.split()), width - len(end)
    return (text if len(text) <= room else f"{text[: room - 1]}…") + end
