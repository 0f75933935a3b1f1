"""Benchmarks and load tests: `make bench`, `make scale` and `make load`.

`contenders/` has the stream handlers that `make bench` compares. Figures go to results.json and docs/bench.md.
"""
