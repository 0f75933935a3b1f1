"""Progress messages for the benchmark commands."""

import sys
import time


def show_progress(text: str) -> None:
    """Print a line with the time of day to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
