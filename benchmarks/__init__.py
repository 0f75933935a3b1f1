"""Benchmarks and load tests: `make bench`, `make cost`, `make scale` and `make load`.

- contenders/: the stream handlers that `make bench` compares
- scenarios.py: what each of them is put through, for correctness, cost and speed
- measure.py, container.py, interceptor.py, units.py, quiet.py: how it is measured
- report.py, chart.py: docs/bench.md, its charts and README's table, from results.json
- bill.py: `make cost`, a month's bill
- load.py: `make load`; scale.py: `make scale`
"""

import sys
import time


def show_progress(text: str) -> None:
    """Print a line with the time of day to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
