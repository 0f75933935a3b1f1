"""Tests for the largest totals of a large table in the emulator, which returns pages of 1 MB."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

from chalicelib import tables
from tests.proof.faults import Fault, Request
from tests.proof.harness import Harness

PROJECT = Path(__file__).resolve().parents[2]
TOTALS = 10_000
PADDING = "x" * 900  # As much as 100,000 totals are without it, for a tenth of the requests.


@pytest.fixture
def names(harness: Harness) -> Any:
    created = harness.make_tables("NEW_AND_OLD_IMAGES")
    yield created
    harness.delete_tables(created)


def write_totals(harness: Harness, table: str) -> None:
    for start in range(0, TOTALS, 25):
        puts = [
            {
                "PutRequest": {
                    "Item": {
                        "product": {"S": f"Product number {number}"},
                        "totalQuantity": {"N": str(number)},
                        "orderCount": {"N": "3"},
                        "updatedAt": {"S": "2026-11-23T18:13:05Z"},
                        "revision": {"N": "7"},
                        "padding": {"S": PADDING},
                    }
                }
            }
            for number in range(start, start + 25)
        ]
        harness.dynamodb("BatchWriteItem", RequestItems={table: puts})


@pytest.mark.slow
def test_ten_pages_of_totals_are_scanned_by_the_schedule_and_not_by_requests(harness: Harness, names: dict[str, str]):
    write_totals(harness, names[tables.TOTALS])
    sent: Counter[str] = Counter()

    def count(request: Request) -> Fault:
        sent[request.operation] += 1
        return Fault.NONE

    harness.injector.choose = count
    with Client(harness.shell.app, stage_name="local", project_dir=str(PROJECT)) as client:

        def read() -> Any:
            return client.http.get("/totals?top=3").json_body

        def refresh() -> None:
            event = client.events.generate_cw_event(source="aws.events", detail_type="", detail={}, resources=[])
            client.lambda_.invoke("refresh_top_lists", event)

        assert read()["complete"] is False
        assert sent["Scan"] == 4
        for _ in range(10):
            harness.clock.sleep(3)
            read()
        assert sent["Scan"] == 4
        refresh()
        pages = sent["Scan"] - 4
        assert pages > 4
        for _ in range(10):
            largest = read()
            assert (largest["complete"], [each["totalQuantity"] for each in largest["totals"]]) == (
                True,
                [TOTALS - 1, TOTALS - 2, TOTALS - 3],
            )
        refresh()
        assert sent["Scan"] == 4 + pages
    harness.injector.choose = lambda request: Fault.NONE
