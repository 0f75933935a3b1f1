"""The view that two documents show: it works as it is there, added to the end of chalicelib/model.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.package import PROJECT
from tests.projects import add_view, copy_source, view_example

DOCUMENTS = ("README.md", "docs/views.md")
# Prints what one order adds to the example's table.
COUNT = """
from chalicelib import orders, tables, views
order = orders.Order("order-1", "Notebook", 5, "2026-11-02T10:00:00Z")
counted = views.contributions(order).contributions
print([(key, dict(amounts)) for (table, key), amounts in counted.items() if table == "MonthTable"])
print(tables.KEYS["MonthTable"])
"""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_view_in_the_documents_passes_the_checks_and_counts(document: str, tmp_path: Path):
    project = copy_source(tmp_path)
    add_view(project, view_example(document))
    views = project / "chalicelib" / "model.py"
    configuration = ["--no-cache", "--config", str(PROJECT / "pyproject.toml"), str(views)]
    for command in (["check"], ["format", "--check"]):
        checked = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *configuration], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    counted = subprocess.run([sys.executable, "-c", COUNT], cwd=project, capture_output=True, text=True)
    assert counted.stdout.splitlines() == [
        "[(('Notebook', '2026-11'), {'total': 5})]",
        "('product', 'month')",
    ], counted.stderr


def test_all_documents_show_the_same_view():
    assert len({view_example(document) for document in DOCUMENTS}) == 1
