"""The lines that `make local` prints for the app's log: one line each, in 80 columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from localcloud import log_lines

LOG = Path("build/local-8000.log")


def batch(**fields: Any) -> str:
    counts = {"records": 1, "applied": 1, "rejected": 0, "lagSeconds": 0.12}
    return json.dumps({"level": "INFO", "message": "Batch", **counts, **fields})


@pytest.mark.parametrize(
    ("line", "added", "expected"),
    [
        (batch(), {"Notebook": 5}, "✓ 1 order · Notebook +5 · 0.1 s"),
        (batch(), {}, "✓ 1 order · 0.1 s"),
        (batch(applied=2), {"Ink": -5, "Pen": 7}, "✓ 2 orders · Pen +7, Ink -5 · 0.1 s"),
        (
            batch(applied=1200),
            {f"P{number}": 1000 + number for number in range(5)},
            "✓ 1,200 orders · P4 +1,004, P3 +1,003 and 3 more · 0.1 s",
        ),
        (batch(rejected=1), {}, "· 1 change, nothing to count · 0.1 s"),
        (batch(records=2, applied=0), {}, "· 2 changes, nothing to count · 0.1 s"),
    ],
)
def test_batch_is_one_short_line(line: str, added: dict[str, int], expected: str):
    assert log_lines.shorten(line, LOG, added) == expected


def test_error_of_a_route_names_the_error_and_the_log():
    traceback = "Traceback (most recent call last):\nValueError: no"
    logged = {"level": "ERROR", "message": "Caught exception for path /broken", "exception": traceback}
    assert log_lines.shorten(json.dumps(logged), LOG, {}) == "✗ /broken: ValueError: no → build/local-8000.log"


def test_rejected_order_is_one_line():
    logged = {"level": "WARNING", "message": "Order rejected", "orderId": "o", "problems": {"quantity": "is missing"}}
    expected = "✗ Order rejected o: quantity is missing → build/local-8000.log"
    assert log_lines.shorten(json.dumps(logged), LOG, {}) == expected


@pytest.mark.parametrize("text", ["x" * 500, "a\nb " * 90])
def test_no_line_of_the_app_is_longer_than_80_columns(text: str):
    for fields in ({"exception": text}, {"orderId": text, "reason": text}, {}):
        line = log_lines.shorten(json.dumps({"level": "ERROR", "message": text, **fields}), LOG, {})
        assert len(line) <= 80
        assert "\n" not in line
    assert len(log_lines.shorten(batch(applied=10**6), LOG, {f"{number}{text}": 10**9 for number in range(9)})) <= 80


def test_other_lines_stay_as_they_are():
    for line in ("Traceback (most recent call last):", '{"a": 1}', "[1]"):
        assert log_lines.shorten(line, LOG, {}) == line
