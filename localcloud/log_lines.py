"""Select the log lines that `make local` prints, and shorten tracebacks."""

import json
import re
from pathlib import Path

PLATFORM_LINES = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# `chalice local` logs requests like this: 127.0.0.1 - - [23/Nov/2026 18:29:20] "GET /totals HTTP/1.1" 200 -
REQUEST_LINE = re.compile(r'\S+ - - \[[^]]+\] ".*" \d{3} -')


def is_worth_printing(line: str) -> bool:
    """Return False for blank lines, Lambda's platform lines, metrics, and lines that only record a request."""
    skipped = line.startswith(PLATFORM_LINES) or '"_aws":' in line or REQUEST_LINE.fullmatch(line)
    return bool(line.strip()) and not skipped


def shorten(line: str, log: Path) -> str:
    """Shorten a log entry that has a traceback to its level, message and error.

    `log` is the file with the whole entry.
    """
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "exception" not in entry:
        return line
    error = entry["exception"].strip().rpartition("\n")[2]
    return f"{entry['level']} {entry['message']}: {error} (traceback in {log})"
