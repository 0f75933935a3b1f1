"""Tests for the dashboard of a stage with access control: it works with a key, and says when it cannot work.

The page is real. The API is simulated, with API Gateway's responses. tests/e2e/test_access.py tests the real API.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, Route, expect

from chalicelib import dashboard
from chalicelib.api.access import Access, Settings

FOLDER = Path(dashboard.__file__).parent
URL = "http://orders.example/api/"
KEY = "a-key-that-is-good"
TOTALS = json.dumps(
    {
        "totals": [{"product": "Ink", "totalQuantity": 5, "orderCount": 1, "updatedAt": None}],
        "freshness": None,
        "asOf": "2026-11-23T18:13:05Z",
        "complete": True,
    }
)


class FakeGateway:
    """Respond to the page's requests as API Gateway would, and record their API keys."""

    def __init__(self, page: Page) -> None:
        self.keys: list[str | None] = []
        self._page = page

    def serve(self, access: Settings) -> None:
        """Serve the dashboard of a stage with these access settings at URL, and open the page."""
        files = [(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES]
        served = dashboard.page(*files, access=access)
        self._page.route(f"{URL}**", self._respond)
        self._page.route(URL, lambda route: route.fulfill(body=served.body, headers=dict(served.headers)))
        self._page.goto(URL)

    def _respond(self, route: Route) -> None:
        key = route.request.headers.get("x-api-key")
        self.keys.append(key)
        if key != KEY:
            route.fulfill(status=403, json={"message": "Forbidden"})
        elif route.request.method == "POST":
            route.fulfill(status=201, json={"orderId": "o", "product": "Ink", "quantity": 1})
        elif "/orders/" in route.request.url:
            route.fulfill(json={"orderId": "o", "product": "Ink", "quantity": 5, "counted": True})
        elif "/trend" in route.request.url:
            route.fulfill(status=404, json={"Code": "NotFoundError", "Message": "never"})
        else:
            route.fulfill(body=TOTALS, content_type="application/json")


@pytest.fixture
def gateway(page: Page) -> Iterator[FakeGateway]:
    yield FakeGateway(page)
    page.unroute_all(behavior="ignoreErrors")


def use_key(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()


def place(page: Page) -> None:
    page.get_by_label("Product", exact=True).fill("Ink")
    page.get_by_label("Quantity", exact=True).press("Enter")


def test_page_asks_for_a_required_key_and_then_works(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.KEY, Access.KEY))
    expect(page.locator("#status-text")).to_have_text("Waiting for an API key")
    assert gateway.keys == []
    use_key(page, KEY)
    expect(page.locator("#bars")).to_contain_text("Ink")
    place(page)
    expect(page.locator("#placed")).to_contain_text("Counted after")
    assert set(gateway.keys) == {KEY}


def test_wrong_key_is_reported_and_can_be_corrected(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.KEY, Access.OPEN))
    use_key(page, "guessed")
    expect(page.locator("#alert")).to_contain_text("This API key is not accepted.")
    use_key(page, KEY)
    expect(page.locator("#bars")).to_contain_text("Ink")
    expect(page.locator("#alert")).to_be_hidden()


def test_key_is_stored_only_in_the_page(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.KEY, Access.KEY))
    use_key(page, KEY)
    expect(page.locator("#bars")).to_contain_text("Ink")
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert KEY not in stored
    page.reload()
    expect(page.locator("#status-text")).to_have_text("Waiting for an API key")


def test_placing_an_order_without_a_required_key_says_so(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.OPEN, Access.KEY))
    place(page)
    expect(page.locator("#form-problem")).to_contain_text("An API key is needed. Enter it above.")
    expect(page.locator("#curl")).to_contain_text("x-api-key", use_inner_text=False)


def test_page_says_that_it_cannot_sign_requests_and_sends_none(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.IAM, Access.IAM))
    expect(page.locator("#alert")).to_contain_text("signed with AWS credentials")
    expect(page.locator("#placing-note")).to_contain_text("signed with AWS credentials")
    expect(page.locator("#form")).to_be_hidden()
    expect(page.locator("#key-entry")).to_be_hidden()
    assert gateway.keys == []


def test_page_of_an_open_api_sends_no_key(page: Page, gateway: FakeGateway):
    gateway.serve(Settings())
    expect(page.locator("#alert")).to_contain_text("Forbidden")  # The page shows the API's message.
    expect(page.locator("#key-entry")).to_be_hidden()
    assert set(gateway.keys) == {None}


def test_key_field_is_accessible(page: Page, gateway: FakeGateway):
    gateway.serve(Settings(Access.KEY, Access.KEY))
    expect(page.get_by_label("API key")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
