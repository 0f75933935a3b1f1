"""Tests for the documents: they agree with the code, and their links work."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from chalicelib import fields
from chalicelib.counting import ledger
from chalicelib.counting.ledger import Status

PROJECT = Path(__file__).parents[2]
DESIGN = (PROJECT / "docs" / "design.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("examples/*/*.md")])


def markdown_table(*rows: Sequence[str]) -> str:
    """Return a Markdown table. The first row is the header."""
    head, *body = ("|".join(["", *(f" {cell} " for cell in row), ""]) for row in rows)
    return "\n".join(["", "", head, "|---" * len(rows[0]) + "|", *body, "", ""])


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def transitions_table() -> str:
    """Return TRANSITIONS as a Markdown table."""
    return markdown_table(
        ("change", "next status", "contributions", "expires", "fills `reverted`", "leaves alone"),
        *(
            (
                kind,
                row.status,
                row.contributions.text,
                row.expires_at.text,
                yes_or_no(row.reverted),
                ", ".join(row.spares)
                + (f" (not if stored as {' or '.join(row.unless_stored)})" if row.unless_stored else ""),
            )
            for kind, row in ledger.TRANSITIONS.items()
        ),
    )


def sources_table() -> str:
    """Return SOURCES as a Markdown table."""
    seen = ", ".join(status for status in Status if status in ledger._SEEN)
    return markdown_table(
        (
            "learned from",
            "position",
            "revision",
            "ahead of stream",
            "catches up",
            f"first seen: {seen}",
            "other, ahead of stream",
            "other",
            "skips expired rows",
        ),
        *(
            (
                source,
                row.position.text,
                row.revision.text,
                yes_or_no(row.ahead_of_stream),
                yes_or_no(row.catches_up),
                *(rule.text for rule in row.first_seen),
                yes_or_no(row.skips_expired),
            )
            for source, row in ledger.SOURCES.items()
        ),
    )


@pytest.mark.parametrize("table", [transitions_table, sources_table])
def test_design_prints_the_tables_of_the_state_machine(table: Callable[[], str]):
    assert table() in DESIGN


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes for a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-").lower() for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_links_of_documents_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith("https:"):
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_fields_in_the_documents_can_be_declared():
    text = (PROJECT / "docs" / "adapt.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    namespace = {**vars(fields), "Decimal": Decimal, "__name__": "example"}
    exec(f"class Order(NamedTuple):\n    order_id: str\n    placed_at: str\n{example}", namespace)
    names = [(field.name, field.attribute, field.required) for field in fields.declared(namespace["Order"])]
    assert names == [("amount", "Amount", True), ("currency", "Currency", True), ("paidAt", "PaidAt", False)]
