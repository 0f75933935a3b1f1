"""The documents: what they copy from the code is still so, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from chalicelib.counting import ledger
from chalicelib.counting.ledger import TRANSITIONS, ChangeKind, ChangeRecord, Entry, Status

PROJECT = Path(__file__).parents[2]
DESIGN = (PROJECT / "docs" / "design.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])

VALID = {"OrderID": {"S": "order-1"}, "Product": {"S": "Notebook"}, "Quantity": {"N": "5"}}
RECORDS = {
    ChangeKind.VALID: ChangeRecord("order-1", "2", 1_795_003_200, VALID),
    ChangeKind.INVALID: ChangeRecord("order-1", "2", 1_795_003_200, {"OrderID": {"S": "order-1"}}),
    ChangeKind.REMOVED: ChangeRecord("order-1", "2", 1_795_003_200, None),
    ChangeKind.EXPIRED: ChangeRecord("order-1", "2", 1_795_003_200, None, expired=True),
}


def transitions_table() -> str:
    """Return TRANSITIONS as a Markdown table."""
    rows = [
        f"| {kind.value} | {status} | {contributions.value} | {'yes' if tombstone else 'no'} |\n"
        for kind, (status, contributions, tombstone) in TRANSITIONS.items()
    ]
    return f"| change | next status | contributions | tombstone |\n|---|---|---|---|\n{''.join(rows)}"


def test_design_prints_the_table_of_transitions():
    assert f"\n\n{transitions_table()}\n" in DESIGN


@pytest.mark.parametrize("kind", ChangeKind)
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.UNREADABLE])
def test_kind_of_change_alone_decides_the_next_status(status: Status, kind: ChangeKind):
    before = Entry("order-1", 1, "1", status, "2026-11-23T18:13:05Z")
    assert ledger.apply(before, RECORDS[kind]).status == TRANSITIONS[kind].status


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-").lower() for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith("https:"):
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
