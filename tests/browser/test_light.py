"""Tests for the dashboard's status light: its state for each input, and the light on the page when the stream stops."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from chalicelib import dashboard
from localcloud.stack import Stack
from tests.browser.conftest import Site, wait_until

SCRIPT = (Path(dashboard.__file__).parent / "light.js").read_text(encoding="utf-8")

NOW = datetime(2026, 11, 24, 12, 4, 0, tzinfo=UTC)


# --- The light's state --------------------------------------------------------------------------------


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def report(state: str, lag: float, measured: float, failing: float | None = None) -> dict[str, Any]:
    """Return a lag report from `measured` seconds ago, which has been failing since `failing` seconds ago."""
    failing_since = None if failing is None else ago(failing)
    return {"state": state, "lagSeconds": lag, "measuredAt": ago(measured), "failingSince": failing_since}


def milliseconds(seconds_ago: float) -> int:
    return round((NOW.timestamp() - seconds_ago) * 1000)


LOST = {"lost": {"text": "No connection to the server since {time}", "since": milliseconds(33)}}
OLD_TOTAL, NEW_TOTAL, FOREIGN_TOTAL = [{"updatedAt": ago(90)}], [{"updatedAt": ago(3)}], [{"updatedAt": None}]

CASES: dict[str, tuple[dict[str, Any], str, str, float | None]] = {
    # The input, the light's colour, its text, and how many seconds ago the time in the text is.
    "just counted": ({"freshness": report("current", 0.4, 3)}, "green", "Live · at most 1 s behind", 3),
    "counted 9 s ago": ({"freshness": report("current", 1.2, 9)}, "green", "Live · at most 2 s behind", 9),
    "counted 10 s ago": ({"freshness": report("current", 0.4, 10)}, "grey", "Quiet since {time}", 10),
    "a total is newer than the report": (
        {"freshness": report("current", 0.4, 12), "totals": NEW_TOTAL}, "green", "Live · at most 1 s behind", 3,
    ),
    "a report cannot be read": ({"totals": NEW_TOTAL}, "green", "Live", 3),
    "a report cannot be read, and it is quiet": ({"totals": OLD_TOTAL}, "grey", "Quiet since {time}", 90),
    "nothing counted ever": ({}, "grey", "No order has been counted yet", None),
    "a total without a time": (
        {"totals": FOREIGN_TOTAL}, "grey", "Time of the last counted order unknown", None,
    ),
    "an order waits 4.9 s": ({"waitedSeconds": 4.9, "freshness": report("current", 0.4, 3)},
        "green", "Live · at most 1 s behind", 3),
    "an order waits 7 s while others are counted": ({"waitedSeconds": 7, "freshness": report("current", 0.4, 3)},
        "amber", "An order from this page has waited 7 s to be counted", None),
    "an order waits though nothing was counted ever": ({"waitedSeconds": 40},
        "amber", "An order from this page has waited 40 s to be counted", None),
    "an order waits within a backlog": ({"waitedSeconds": 90, "freshness": report("catchingUp", 42, 3)},
        "amber", "An order from this page has waited 2 min to be counted", None),
    "within a backlog": ({"freshness": report("catchingUp", 42, 3)}, "amber", "Catching up · 42 s behind", 3),
    "switched off within a backlog": ({"freshness": report("catchingUp", 42, 40)},
        "amber", "Nothing counted since {time}; orders may be waiting", 40),
    "after a backlog": ({"freshness": report("current", 42, 3)},
        "green", "Caught up at {time} · was 42 s behind", 3),
    "20 s after a backlog": ({"freshness": report("current", 42, 20)},
        "grey", "Caught up at {time} · was 42 s behind", 20),
    "a minute after a backlog": ({"freshness": report("current", 42, 60)}, "grey", "Quiet since {time}", 60),
    "failing": ({"freshness": report("failing", 42, 3, 60)},
        "red", "Counting has failed since {time}; orders are waiting", 60),
    "failing, and an order waits": ({"freshness": report("failing", 42, 3, 60), "waitedSeconds": 7},
        "amber", "Counting has failed since {time}; an order from this page has waited 7 s to be counted", 60),
    "failed an hour ago, and nothing since": ({"freshness": report("failing", 42, 3600, 3660)},
        "red", "Counting has failed since {time}; orders are waiting", 3660),
    "failing, while another shard's total is new": (
        {"freshness": report("failing", 42, 3, 60), "totals": NEW_TOTAL},
        "red", "Counting has failed since {time}; orders are waiting", 60),
    "out of reach": ({**LOST, "freshness": report("current", 0.4, 3)},
        "red", "No connection to the server since {time}", 33),
    "out of reach, and an order waits": ({**LOST, "waitedSeconds": 7},
        "red", "No connection to the server since {time}", 33),
}  # fmt: skip


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    """Open an empty page without a content security policy, so that the light's code can run alone."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.mark.parametrize("case", CASES)
def test_light_for_each_situation(blank: Page, case: str):
    given, colour, text, time = CASES[case]
    state = {"now": milliseconds(0), "lost": None, "waitedSeconds": 0, "freshness": None, "totals": [], **given}
    shown = blank.evaluate(f"(state) => {{ {SCRIPT}; return light(state); }}", state)
    assert (shown["colour"], shown["text"]) == (colour, text)
    assert shown["time"] == (None if time is None else milliseconds(time))


# --- The light on the page ---------------------------------------------------------------------------------


@contextmanager
def stream_off(stack: Stack) -> Iterator[None]:
    """Disable the event source mapping of the stream during the block."""
    functions, mapping = stack.emulator.client("lambda"), stack.stream_mapping["UUID"]
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)


def place(page: Page, product: str) -> None:
    page.get_by_label("Product", exact=True).fill(product)
    page.get_by_label("Quantity", exact=True).press("Enter")


def shift_server_time(page: Page, site: Site, seconds: float) -> None:
    """Set a later time in the Date header of responses with totals."""

    def respond(route: Route) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        query = urlsplit(route.request.url).query
        route.fulfill(json=site.api.get(f"/totals?{query}").json, headers={"date": date})

    page.route("**/totals?**", respond)


def test_waiting_order_turns_the_light_amber_until_it_is_counted(page: Page, site: Site, stack: Stack, unique: str):
    status, light, announcement = page.locator("#status"), page.locator("#status-text"), page.locator("#status-news")
    order_status = page.locator("#placed .order-status").first
    page.goto(site.url)
    expect(light).not_to_have_text("Connecting …")
    with stream_off(stack):
        place(page, unique)
        expect(order_status).to_have_text("Placed. Waiting to be counted …")
        expect(light).to_have_text(re.compile(r"^An order from this page has waited \d+ s to be counted$"))
        expect(status).to_have_attribute("data-light", "amber")
        # The displayed seconds advance, but a screen reader does not announce each change.
        announced, first = announcement.text_content(), light.text_content()
        expect(light).not_to_have_text(str(first))
        expect(light).to_contain_text("has waited")
        expect(announcement).to_have_text(str(announced))
    expect(order_status).to_have_text(re.compile(r"^Counted after \d+\.\d s$"))
    expect(light).to_have_text(re.compile(r"^Caught up at \d\d:\d\d · was \d+ s behind$"))
    expect(announcement).to_have_text(re.compile(r"^Caught up at"))
    expect(status).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    shift_server_time(page, site, 90)
    expect(light).to_have_text(re.compile(r"^Quiet since \d\d:\d\d$"))
    expect(status).to_have_attribute("data-light", "grey")
    page.unroute_all(behavior="wait")


def test_light_is_green_for_orders_of_others_and_turns_grey_later(page: Page, local: Site, unique: str):
    status = page.locator("#status")
    page.goto(local.url)
    local.api.post("/orders", {"product": unique, "quantity": 1})
    expect(status).to_have_attribute("data-light", "green")
    expect(page.locator("#status-text")).to_have_text(re.compile(r"^(Live|Caught up)"))
    shift_server_time(page, local, 15)
    expect(status).to_have_attribute("data-light", "grey")
    page.unroute_all(behavior="wait")


def test_light_does_not_depend_on_the_browsers_clock(page: Page, local: Site, unique: str):
    page.clock.install(time=0)
    page.goto(local.url)
    local.api.post("/orders", {"product": unique, "quantity": 1})
    expect(page.locator("#status")).to_have_attribute("data-light", "green")


def test_light_turns_red_if_the_server_does_not_respond(page: Page, local: Site):
    page.goto(local.url)
    expect(page.locator("#status-text")).not_to_have_text("Connecting …")
    page.route("**/totals?**", lambda route: None)
    expect(page.locator("#status-text")).to_have_text(re.compile(r"^No response from the server since \d\d:\d\d$"))
    expect(page.locator("#status")).to_have_attribute("data-light", "red")
    page.unroute_all(behavior="ignoreErrors")


def test_waiting_orders_stay_visible(page: Page, local: Site, stack: Stack, unique: str):
    page.goto(local.url)
    with stream_off(stack):
        for number in range(7):
            place(page, f"{unique} {number}")
            expect(page.locator("#placed li")).to_have_count(number + 1)
    wait_until(page, "document.querySelectorAll('#placed [data-state=counted]').length === 7")
