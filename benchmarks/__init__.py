"""Benchmarks and load tests: `make bench`, `make scale` and `make load`.

`make bench` compares the stream handlers in `contenders/`. It writes its figures to results.json and docs/bench.md.
"""
