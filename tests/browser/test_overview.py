"""Tests for the rest of the dashboard: the sum of all totals, any product, the latest orders, the audit, local time.

The page is real. The API is simulated.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

from chalicelib import dashboard
from chalicelib.api import openapi
from tests.browser.conftest import DESKTOP, PHONE

FOLDER = Path(dashboard.__file__).parent
FILES = [(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES]
URL = "http://orders.example/api/"
NOW = "2026-11-24T20:30:00Z"
PRODUCTS = 100_000
HOSTILE = "<img src=x onerror=window.hacked=1>"
CLEAN = {"verdict": "clean", "finishedAt": "2026-11-24T03:17:00Z", "driftedProducts": 0} | {
    part: {"checked": 1204} for part in ("orders", "counters")
}


def product(number: int) -> dict[str, Any]:
    return {"product": f"Product {number}", "totalQuantity": PRODUCTS - number, "orderCount": 3, "updatedAt": NOW}


class Api:
    """Respond to the page's requests as an API with 100,000 products."""

    def __init__(self) -> None:
        self.products = PRODUCTS
        self.order_count = 300_000
        self.as_of = NOW
        self.recent: list[dict[str, Any]] = []
        self.audits: dict[str, Any] = {"last": CLEAN, "runningSince": None, "requestedAt": None}
        self.requests: list[str] = []

    def serve(self, page: Page, fragment: str = "") -> None:
        """Serve the dashboard and the API, and open the page."""
        served = dashboard.page(*FILES)
        page.route(f"{URL}**", self._respond)
        page.route(URL, lambda route: route.fulfill(body=served.body, headers=dict(served.headers)))
        page.clock.install(time=NOW)
        page.goto(f"{URL}{fragment}")

    def _respond(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        path, query = url.path.removeprefix("/api/"), {name: each[0] for name, each in parse_qs(url.query).items()}
        self.requests.append(path)
        if path == "audit" and route.request.method == "POST":
            self.audits["requestedAt"] = NOW
        found: Any = {"views": {"views": []}, "audit": self.audits}.get(path)
        if path == "totals":
            found = self._totals(query)
        elif path.startswith("totals/"):
            found = product(int(unquote(path).rpartition(" ")[2]))
        route.fulfill(
            body=json.dumps(found), content_type="application/json", headers={"date": "Tue, 24 Nov 2026 20:30:00 GMT"}
        )

    def _totals(self, query: dict[str, str]) -> dict[str, Any]:
        amounts = {"totalQuantity": 5_000_050_000, "orderCount": self.order_count}
        response: dict[str, Any] = {
            "totals": [product(number) for number in range(min(self.products, int(query["top"])))],
            "asOf": self.as_of,
            "complete": True,
            "all": {"rows": self.products, "amounts": amounts},
            "recentOrders": self.recent,
            "freshness": None,
        }
        if "trend" in query:
            days: list[dict[str, Any]] = [
                {"day": f"2026-11-{24 - back:02}", "total": 0, "hours": [0] * 24} for back in range(int(query["days"]))
            ]
            days[0]["hours"][18], days[0]["hours"][19] = 3, 4
            found = re.fullmatch(r"Product \d+", query["trend"])
            response["trend"] = {"product": query["trend"], "total": 7, "days": days[::-1]} if found else None
        return response


@pytest.fixture
def api(page: Page) -> Iterator[Api]:
    yield Api()
    page.unroute_all(behavior="ignoreErrors")


def test_sum_and_rate_of_all_products_are_shown(page: Page, api: Api):
    api.serve(page)
    everything = page.locator("#all")
    expect(everything).to_have_text("5,000,050,000in 300,000 orders of 100,000 products")
    api.as_of, api.order_count = "2026-11-24T20:30:30Z", 300_010
    page.clock.run_for(3000)
    expect(everything).to_contain_text("300,010 orders of 100,000 products · 20 orders a minute")


def test_any_product_can_be_found_and_is_reachable_by_its_address(page: Page, api: Api):
    api.serve(page)
    page.get_by_label("Find a product").fill("Product 99999")
    page.get_by_label("Find a product").press("Enter")
    expect(page.locator("#trend-title")).to_have_text("Product 99999")
    expect(page.locator("#trend-all")).to_have_text("1 in all, in 3 orders")
    assert urlsplit(page.url).fragment == "/totals/Product%2099999"
    page.reload()
    expect(page.locator("#trend-title")).to_have_text("Product 99999")
    expect(page.locator("#trend-all")).to_have_text("1 in all, in 3 orders")
    page.get_by_label("Find a product").fill(HOSTILE)
    page.get_by_label("Find a product").press("Enter")
    expect(page.locator("#trend-problem")).to_contain_text(f"Nothing has been counted for {HOSTILE} yet.")
    expect(page.locator("#trend-all")).to_be_hidden()
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_detail_is_next_to_the_click_at_row_90(browser: Browser, viewport: Any):
    context = browser.new_context(viewport=viewport, reduced_motion="reduce")
    page, api = context.new_page(), Api()
    api.serve(page)
    page.get_by_role("button", name="Show 100").click()
    button = page.locator("#bars > li > button").nth(89)
    button.click()
    expect(page.locator("#trend-title")).to_have_text("Product 89")
    expect(page.locator("#trend-sum")).to_contain_text("7")
    box, clicked = page.locator("#trend").bounding_box(), button.bounding_box()
    assert box
    assert clicked
    assert 0 <= clicked["y"] < viewport["height"]
    assert -viewport["height"] / 2 < box["y"] < viewport["height"] / 2 + clicked["y"]
    if viewport is PHONE:
        assert 0 <= box["y"] - clicked["y"] - clicked["height"] < 30
    else:
        assert box["x"] > clicked["x"] + clicked["width"]
        assert box["y"] < viewport["height"] / 2
    page.set_viewport_size({"width": 390 if viewport is DESKTOP else 1280, "height": 844})
    expect(page.locator("#bars li #trend" if viewport is DESKTOP else "#side-totals #trend")).to_be_visible()
    api.products = 0  # The selected row goes, and its detail stays on the page.
    page.clock.run_for(3000)
    expect(page.locator("#bars li")).to_have_count(0)
    expect(page.locator("#trend-title")).to_be_attached()
    page.unroute_all(behavior="ignoreErrors")
    context.close()


def test_latest_orders_are_shown_with_how_long_each_took(page: Page, api: Api):
    order = {"countedAt": "2026-11-24T20:29:57Z", "lagSeconds": 0.42, "quantity": 5}
    api.recent = [{"orderId": "a", "product": HOSTILE, **order}, {"orderId": "long", **order, "lagSeconds": 75.0}]
    api.serve(page)
    lines = page.get_by_role("region", name="Latest orders").get_by_role("listitem")
    expect(lines).to_have_count(2)
    expect(lines.first).to_contain_text(f"5 × {HOSTILE}")
    expect(lines.first).to_contain_text("counted in 0.4 s")
    expect(lines.nth(1)).to_contain_text("5 × long")
    expect(lines.first.locator("time")).to_have_attribute("title", "2026-11-24 20:29:57 UTC")
    lines.first.get_by_role("link").click()
    expect(page.locator("#trend-title")).to_have_text(HOSTILE)
    assert page.evaluate("window.hacked") is None


def test_verdict_of_the_last_audit_is_shown_and_an_audit_can_be_asked_for(page: Page, api: Api):
    api.serve(page)
    badge, button = page.locator("#audit"), page.get_by_role("button", name="Audit now")
    expect(badge).to_contain_text(re.compile(r"Proven at \d\d:\d\d: 1,204 orders, 0 drift"))
    expect(badge).to_have_attribute("title", "2026-11-24 03:17:00 UTC")
    button.click()
    expect(badge).to_contain_text("an audit starts within 15 minutes")
    expect(button).to_be_hidden()
    drifted = {**CLEAN, "verdict": "drifted", "driftedProducts": 2}
    api.audits = {"last": drifted, "runningSince": None, "requestedAt": None}
    page.clock.run_for(20_000)
    expect(badge).to_contain_text(re.compile(r"Wrong at \d\d:\d\d: 2 totals of 1,204"))
    expect(button).to_be_visible()
    before = api.requests.count("audit")
    page.clock.run_for(60_000)
    assert api.requests.count("audit") == before


def test_trend_is_in_local_time_and_says_so(browser: Browser):
    context = browser.new_context(viewport=DESKTOP, timezone_id="Asia/Kolkata")  # 5.5 hours ahead of UTC.
    page, api = context.new_page(), Api()
    api.serve(page, "#/totals/Product%201")
    expect(page.locator("#zone")).to_contain_text("India Standard Time")
    page.locator("#chart").focus()
    page.keyboard.press("End")
    expect(page.locator("#readout")).to_have_text("Wed, Nov 25: 4")  # 19:00 UTC is 00:30 in Kolkata.
    page.keyboard.press("ArrowDown")
    expect(page.locator("#readout")).to_contain_text("00:00–01:00: 4 of the day’s 4")
    expect(page.locator("#readout")).to_have_attribute("title", "From 2026-11-24 18:30:00 UTC")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#readout")).to_contain_text("of the day’s 3")
    page.unroute_all(behavior="ignoreErrors")
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (2560, "dark")])
def test_docs_are_accessible_and_fit_every_viewport(browser: Browser, width: int, scheme: Any):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    served = dashboard.docs_page(FILES[1], openapi.document("/api"), URL.rstrip("/"))
    page.route(f"{URL}docs", lambda route: route.fulfill(body=served.body, headers=dict(served.headers)))
    page.goto(f"{URL}docs")
    expect(page.get_by_role("heading", name="Order Totals API")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


@pytest.mark.parametrize("width", [390, 2560])
def test_full_page_is_accessible_and_fits(browser: Browser, width: int):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark", reduced_motion="reduce"
    )
    page, api = context.new_page(), Api()
    order = {"countedAt": NOW, "lagSeconds": 0.4, "quantity": 5}
    api.recent = [{"orderId": f"o{number}", "product": "very long name " * 10, **order} for number in range(5)]
    api.serve(page)
    expect(page.locator("#trend-all")).to_be_visible()
    expect(page.locator("#recent-orders li")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.unroute_all(behavior="ignoreErrors")
    context.close()
