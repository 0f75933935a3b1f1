"""Tests for the dashboard's tabs: one for each view of the model, with a list, a search and details of a row.

The page is the real one. The API is simulated.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

from chalicelib import dashboard, views
from tests.browser.conftest import DESKTOP, PHONE, WAIT_SECONDS, can_be_hidden, hide

FOLDER = Path(dashboard.__file__).parent
URL = "http://orders.example/api/"
HOSTILE = "<img src=x onerror=window.hacked=1>"
STAMP = "2026-11-23T18:13:05Z"
FRESHNESS = {"state": "current", "lagSeconds": 0.4, "measuredAt": STAMP, "failingSince": None}

TOTALS = {
    "view": "totals", "key": ["product"], "top": "totalQuantity", "keepDays": None, "complete": True,
    "amounts": [{"name": "totalQuantity", "decimalPlaces": 0}, {"name": "orderCount", "decimalPlaces": 0}],
}  # fmt: skip
CURRENCIES = {
    "view": "currencies", "key": ["currency"], "top": "revenue", "keepDays": None, "complete": True,
    "amounts": [{"name": "revenue", "decimalPlaces": 2}, {"name": "payments", "decimalPlaces": 0}],
}  # fmt: skip
BY_DAY = {
    "view": "revenue_by_day", "key": ["merchant", "day"], "top": None, "keepDays": 90, "complete": False,
    "amounts": [{"name": "revenue", "decimalPlaces": 2}],
}  # fmt: skip


def currency(name: str, revenue: str, payments: int = 1) -> dict[str, Any]:
    return {"currency": name, "revenue": revenue, "payments": payments, "updatedAt": STAMP}


class Api:
    """Respond to the page's requests from `views` and `rows`, and record their paths and queries."""

    def __init__(self, page: Page) -> None:
        self.views: list[dict[str, Any]] = [TOTALS, CURRENCIES, BY_DAY]
        self.rows: dict[str, list[dict[str, Any]]] = {
            "currencies": [
                currency("EUR", "1234567890123456789012.50", 12345),
                currency("USD", "-1234.00"),
                *[currency(f"X{number:02}", "1.00") for number in range(10)],
            ],
            "revenue_by_day": [
                {"merchant": f"Shop {number:02}", "day": f"2026-11-{day:02}", "revenue": f"{day}.00"}
                for number in range(40)
                for day in (1, 2)
            ],
        }
        self.requests: list[str] = []
        self.failing = ""
        self.freshness: dict[str, Any] = FRESHNESS
        self._page = page
        page.route(f"{URL}**", self._respond)

    def open(self, fragment: str = "") -> None:
        files = [(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES]
        served = dashboard.page(*files)
        self._page.route(URL, lambda route: route.fulfill(body=served.body, headers=dict(served.headers)))
        self._page.goto(f"{URL}{fragment}")

    def paths(self) -> set[str]:
        return {urlsplit(request).path for request in self.requests}

    def _respond(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        request = route.request.url.removeprefix(URL)
        self.requests.append(request)
        path = [unquote(part) for part in url.path.removeprefix("/api/").split("/")]
        found = None if request == self.failing else self._find(path, {k: v[0] for k, v in parse_qs(url.query).items()})
        route.fulfill(status=404 if found is None else 200, json=found or {"Code": "NotFoundError", "Message": "never"})

    def _find(self, path: list[str], query: dict[str, str]) -> dict[str, Any] | None:
        if path == ["views"]:
            return {"views": self.views}
        if path == ["audit"]:
            return {"last": None, "runningSince": None, "requestedAt": None}
        if path[0] == "totals":
            total = {"product": "Ink", "totalQuantity": 5, "orderCount": 1, "updatedAt": STAMP}
            return {"totals": [total], "asOf": STAMP, "complete": True, "freshness": self.freshness, "trend": None}
        if path[0] == "orders":
            return {"orderId": "o", "product": "Ink", "quantity": 1, "counted": True}
        view = next(each for each in self.views if each["view"] == path[1])
        names: list[str] = view["key"]
        rows = [row for row in self.rows[path[1]] if [row[name] for name in names][: len(path) - 2] == path[2:]]
        if len(path) - 2 == len(names):
            return rows[0] if rows else None
        if "top" in query:
            rows = rows[: int(query["top"])]
            return {"rows": rows, "asOf": STAMP, "complete": True, "freshness": self.freshness}
        rows = [row for row in rows if query.get("from", "") <= row[names[-1]] <= query.get("to", "~")]
        start = int(query.get("cursor", 0))
        page = {"rows": rows[start : start + 50], "cursor": str(start + 50) if len(rows) > start + 50 else None}
        return page if len(path) > 2 else {**page, "freshness": self.freshness}


@pytest.fixture
def api(page: Page) -> Iterator[Api]:
    yield Api(page)
    page.unroute_all(behavior="ignoreErrors")


@pytest.fixture
def without_totals(monkeypatch: pytest.MonkeyPatch, api: Api) -> Api:
    """Remove the view of the totals from the model, which then has two other views."""
    monkeypatch.setattr(views, "VIEWS", {})
    api.views = [CURRENCIES, BY_DAY]
    return api


def tab(page: Page, name: str) -> Any:
    return page.get_by_role("tab", name=name, exact=True)


def wait_for_requests(page: Page, api: Api, count: int) -> None:
    """Wait until the page has sent `count` more requests."""
    enough, end = len(api.requests) + count, time.monotonic() + WAIT_SECONDS
    while len(api.requests) < enough:
        assert time.monotonic() < end, api.requests
        page.wait_for_timeout(50)


# --- Tabs ----------------------------------------------------------------------------------------


def test_each_view_has_a_tab_and_totals_come_first(page: Page, api: Api):
    api.open()
    expect(page.get_by_role("tab")).to_have_text(["Totals", "Currencies", "Revenue by day"])
    expect(tab(page, "Totals")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#bars")).to_contain_text("Ink")
    expect(page.locator("#panel-view")).to_be_hidden()
    tab(page, "Currencies").click()
    expect(page.get_by_role("tabpanel", name="Currencies")).to_be_visible()
    expect(page.locator("#bars")).to_be_hidden()
    assert urlsplit(page.url).fragment == "/views/currencies"
    page.go_back()
    expect(page.locator("#bars")).to_be_visible()
    assert api.requests.count("views") == 1


def test_single_view_has_no_tab_bar(page: Page, api: Api):
    api.views = [TOTALS]
    api.open()
    expect(page.locator("#bars")).to_contain_text("Ink")
    expect(page.locator("[role=tab]")).to_have_count(1)
    expect(page.get_by_role("tablist")).to_be_hidden()


def test_totals_are_shown_although_the_views_cannot_be_read(page: Page, api: Api):
    api.failing = "views"
    api.open()
    expect(page.locator("#bars")).to_contain_text("Ink")
    expect(page.locator("#alert")).to_be_hidden()
    api.failing = ""
    expect(tab(page, "Currencies")).to_be_visible()


def test_tabs_can_be_used_with_the_keyboard(page: Page, api: Api):
    api.open()
    tab(page, "Totals").focus()
    for key, name in [
        ("ArrowRight", "Currencies"),
        ("End", "Revenue by day"),
        ("ArrowRight", "Totals"),
        ("ArrowLeft", "Revenue by day"),
        ("Home", "Totals"),
    ]:
        page.keyboard.press(key)
        expect(tab(page, name)).to_be_focused()
        expect(tab(page, name)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel", name=name)).to_be_attached()
        expect(page.locator("[role=tab][tabindex='0']")).to_have_count(1)


def test_only_the_visible_tab_is_refreshed(page: Page, api: Api):
    api.open("#/views/currencies")
    expect(page.locator("#list-table")).to_contain_text("EUR")
    api.requests.clear()
    wait_for_requests(page, api, 2)
    assert set(api.requests) == {"views/currencies?top=10&recent=5"}
    tab(page, "Totals").click()
    expect(page.locator("#bars")).to_contain_text("Ink")
    api.requests.clear()
    wait_for_requests(page, api, 2)
    assert api.paths() == {"totals"}


def test_hidden_page_does_not_refresh_a_view(page: Page, api: Api):
    can_be_hidden(page)
    page.clock.install()
    api.open("#/views/currencies")
    expect(page.locator("#list-table")).to_contain_text("EUR")
    hide(page)
    api.requests.clear()
    page.clock.run_for(30_000)
    assert api.requests == []


# --- A view's rows -------------------------------------------------------------------------------


def test_largest_rows_are_listed_with_exact_amounts(page: Page, api: Api):
    api.open("#/views/currencies")
    table = page.locator("#list-table")
    expect(table.get_by_role("columnheader")).to_have_text(["Currency", "Revenue", "Payments", "Updated at"])
    expect(table.get_by_role("columnheader", name="Revenue")).to_have_attribute("aria-sort", "descending")
    cells = table.locator("tbody tr").nth(0).locator("td")
    expect(cells.nth(0)).to_have_text("1,234,567,890,123,456,789,012.50")
    expect(cells.nth(1)).to_have_text("12,345")
    expect(cells.nth(0)).to_have_css("text-align", "end")
    stamp = table.locator("time").first
    expect(stamp).to_have_attribute("title", "2026-11-23 18:13:05 UTC")
    local = page.evaluate("time => new Date(time).getHours()", STAMP)
    expect(stamp).to_have_text(re.compile(rf"\b{local:02}:13$"))
    expect(table.locator("tbody tr").nth(1).locator("td").first).to_have_text("-1,234.00")
    expect(page.locator("#view-age")).to_have_text(re.compile(r"^As of"))
    expect(table.locator("tbody tr")).to_have_count(10)
    page.get_by_role("button", name="More").click()
    expect(table.locator("tbody tr")).to_have_count(12)
    expect(page.get_by_role("button", name="More")).to_be_hidden()


def test_view_without_top_is_listed_in_pages(page: Page, api: Api):
    api.open("#/views/revenue_by_day")
    rows = page.locator("#list-table tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="More").click()
    expect(rows).to_have_count(80)
    expect(page.get_by_role("button", name="More")).to_be_hidden()
    api.rows["revenue_by_day"][0]["revenue"] = "7.50"
    expect(rows.first).to_contain_text("7.50")  # The first page is refreshed; the second stays.
    expect(rows).to_have_count(80)


def test_changed_amount_appears_and_keeps_the_focus(page: Page, api: Api):
    api.open("#/views/currencies")
    link = page.get_by_role("link", name="USD")
    link.focus()
    api.rows["currencies"][1]["revenue"] = "99.00"
    expect(page.locator("#list-table")).to_contain_text("99.00")
    expect(link).to_be_focused()


def test_incomplete_view_says_so(page: Page, api: Api):
    api.open("#/views/revenue_by_day")
    expect(page.locator("#view-note")).to_have_text(
        "Older orders are missing until a backfill has run. Rows are kept for 90 days."
    )
    tab(page, "Currencies").click()
    expect(page.locator("#list-table")).to_contain_text("EUR")
    expect(page.locator("#view-note")).to_be_hidden()


def test_view_without_rows_says_so(page: Page, api: Api):
    api.rows["currencies"] = []
    api.open("#/views/currencies")
    expect(page.locator("#list-problem")).to_have_text("Nothing has been counted in this view yet.")


# --- Search and detail ---------------------------------------------------------------------------


def search(page: Page, label: str, key: str) -> None:
    page.get_by_label(label, exact=True).fill(key)
    page.get_by_role("button", name="Search").click()


def test_search_finds_a_row_by_its_key(page: Page, api: Api):
    api.open("#/views/currencies")
    search(page, "Currency", "X09")
    detail = page.get_by_role("region", name="X09")
    expect(detail.locator("#detail-table tr").nth(1)).to_have_text("Revenue1.00")
    expect(detail.locator("time")).to_have_attribute("title", "2026-11-23 18:13:05 UTC")
    assert "views/currencies/X09" in api.requests  # The row is not one of the ten largest.
    api.rows["currencies"][-1]["revenue"] = "2.00"
    expect(detail.locator("#detail-table tr").nth(1)).to_have_text("Revenue2.00")
    search(page, "Currency", "a/b?c#d%")
    expect(page.locator("#detail-problem")).to_have_text("Nothing has been counted for a/b?c#d% in Currencies yet.")
    assert "views/currencies/a%2Fb%3Fc%23d%25" in api.requests
    expect(page.locator("#alert")).to_be_hidden()
    page.get_by_role("link", name="Close").click()
    expect(page.locator("#detail")).to_be_hidden()


def test_listed_row_is_shown_without_a_request_of_its_own(page: Page, api: Api):
    api.open("#/views/currencies")
    page.get_by_role("link", name="USD").click()
    expect(page.locator("#detail-table")).to_contain_text("-1,234.00")
    expect(page.get_by_role("link", name="USD")).to_have_attribute("aria-current", "true")
    assert "views/currencies/USD" not in api.requests


def test_search_finds_the_rows_of_a_partition_within_a_range(page: Page, api: Api):
    api.rows["revenue_by_day"] += [{"merchant": "Z", "day": f"d{day:03}", "revenue": "1.50"} for day in range(70)]
    api.open("#/views/revenue_by_day")
    search(page, "Merchant", "Z")
    rows = page.locator("#detail-table tbody tr")
    expect(rows).to_have_count(50)
    page.locator("#detail-more").click()
    expect(rows).to_have_count(70)
    page.get_by_label("Day from", exact=True).fill("d010")
    page.get_by_label("To", exact=True).fill("d012")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(3)
    assert urlsplit(page.url).fragment == "/views/revenue_by_day/Z?from=d010&to=d012"
    page.reload()
    expect(rows).to_have_count(3)
    expect(page.get_by_label("Day from", exact=True)).to_have_value("d010")
    page.get_by_role("link", name="d011").click()
    expect(page.locator("#detail-title")).to_have_text("Z · d011")
    expect(page.locator("#detail-table tr").nth(2)).to_have_text("Revenue1.50")


def test_hostile_keys_are_text(page: Page, api: Api):
    names = [HOSTILE, "\"'><svg onload=window.hacked=1>", "javascript:window.hacked=1", "50%|\u202egnp.exe"]
    api.rows["currencies"] = [currency(name, "1.00") for name in names]
    api.open("#/views/currencies")
    for name in names:
        page.locator("#list-table a").nth(names.index(name)).click()
        expect(page.locator("#detail-title")).to_have_text(name)
        expect(page.locator("#detail-table")).to_contain_text(name)
    assert page.locator("main img, main table svg").count() == 0
    assert page.evaluate("window.hacked") is None


# --- Another model -------------------------------------------------------------------------------


def test_model_without_totals_has_no_totals_tab_and_does_not_ask_for_them(page: Page, without_totals: Api):
    api = without_totals
    without_totals.freshness = {**FRESHNESS, "state": "failing", "failingSince": STAMP}
    api.open()
    expect(page.get_by_role("tab")).to_have_text(["Currencies", "Revenue by day"])
    expect(page.locator("#list-table")).to_contain_text("EUR")
    expect(page.locator("#status-text")).to_contain_text("Counting has failed since")
    expect(page.locator("#panel-totals")).to_be_hidden()
    page.get_by_label("Product", exact=True).fill("Ink")
    page.get_by_label("Quantity", exact=True).press("Enter")
    expect(page.locator("#placed li").first).to_contain_text("Counted after")
    assert not [path for path in api.paths() if path.startswith("totals")]


def test_light_uses_the_freshness_and_stamps_of_the_view(page: Page, without_totals: Api):
    page.clock.install(time=datetime.fromisoformat(STAMP))
    without_totals.open()
    expect(page.locator("#status")).to_have_attribute("data-light", "green")
    expect(page.locator("#status-text")).to_have_text("Live · at most 1 s behind")


def test_model_without_totals_retries_while_the_views_cannot_be_read(page: Page, without_totals: Api):
    without_totals.failing = "views"
    without_totals.open()
    expect(page.locator("#alert")).to_be_visible()
    without_totals.failing = ""
    expect(page.locator("#list-table")).to_contain_text("EUR")
    expect(page.locator("#alert")).to_be_hidden()


def test_model_without_trends_does_not_ask_for_them(page: Page, api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(views, "VIEWS", {"AggregateTable": views.VIEWS["AggregateTable"]})
    api.open()
    expect(page.locator("#bars")).to_contain_text("Ink")
    page.locator("#bars button").click()
    api.requests.clear()
    wait_for_requests(page, api, 2)
    assert set(api.requests) == {"totals?top=10&recent=5"}
    expect(page.locator("#trend")).to_be_hidden()


# --- Accessibility and layout --------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("place", ["currencies/EUR", "revenue_by_day/Shop 01", "revenue_by_day/nobody"])
def test_views_are_accessible_and_fit_every_viewport(browser: Browser, place: str, viewport: Any, scheme: Any):
    context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    api = Api(page)
    api.rows["currencies"][1]["currency"] = "very long name " * 40
    api.views.append({**CURRENCIES, "view": "another_view_with_a_long_name"})
    api.open(f"#/views/{place.replace(' ', '%20')}")
    expect(page.locator("#list-table tbody tr").first).to_be_visible()
    expect(page.locator("#detail-table tr, #detail-problem:not([hidden])").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.unroute_all(behavior="ignoreErrors")
    context.close()
