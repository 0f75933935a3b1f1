"""Tests that the example views in the documents work when you paste them at the end of chalicelib/model.py."""

import subprocess
import sys
from pathlib import Path

from infrastructure.package import PROJECT
from tests.other_model import copy_with_model
from tests.projects import add_view, copy_source, view_example, view_examples

# A program that prints what one order adds to the example's table.
COUNT = """
from chalicelib import orders, tables, views
order = orders.Order("order-1", "Notebook", 5, "2026-11-02T10:00:00Z")
counted = views.contributions(order).contributions
print([(key, dict(amounts)) for (table, key), amounts in counted.items() if table == "MonthTable"])
print(tables.KEYS["MonthTable"])
"""


# A program that prints what a payment adds to the tables of the examples in docs/adapt.md.
COUNT_PAYMENT = """
from decimal import Decimal
from chalicelib import orders, views
order = orders.Order("p1", "Book Corner", Decimal("12.50"), "EUR", "paid", "2026-11-02T10:00:00Z")
for (table, key), amounts in views.contributions(order).contributions.items():
    if table in ("MerchantTable", "AmountTable"):
        print(table, key, dict(amounts))
"""


def checked_and_run(project: Path, code: str) -> list[str]:
    """Check a project's model with ruff. Then run code in the project and return the printed lines."""
    configuration = ["--no-cache", "--config", str(PROJECT / "pyproject.toml"), "chalicelib/model.py"]
    for command in (["check"], ["format", "--check"]):
        checked = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *configuration], cwd=project, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_views_in_the_readme_and_the_tutorial_pass_the_checks_and_count(tmp_path: Path):
    project = copy_source(tmp_path)
    for document in ("README.md", "docs/tutorial.md"):
        add_view(project, view_example(document))
    assert checked_and_run(project, COUNT) == ["[(('Notebook', '2026-11'), {'total': 5})]", "('product', 'month')"]


def test_views_in_the_page_about_adapting_pass_the_checks_and_count(tmp_path: Path):
    project = copy_with_model(tmp_path, (PROJECT / "examples" / "payments" / "model.py").read_text(encoding="utf-8"))
    for example in view_examples("docs/adapt.md"):
        add_view(project, example)
    assert checked_and_run(project, COUNT_PAYMENT) == [
        "MerchantTable ('Book Corner', '2026-11-02') {'payments': 1}",
        "MerchantTable ('Book Corner', '2026-11') {'payments': 1}",
        "AmountTable ('Book Corner', '0000012.50') {'payments': 1}",
    ]
