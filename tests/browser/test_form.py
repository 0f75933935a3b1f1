"""Tests for the order form of another model: it has an input for each field, and sends the right values."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, Route, expect

from chalicelib import dashboard, fields, orders
from tests.payments import MODEL

URL = "http://orders.example/api/"
FOLDER = Path(dashboard.__file__).parent


class Api:
    """Serve the dashboard of the payments model. Record its orders, and respond to each one with `problems`."""

    def __init__(self, page: Page) -> None:
        self.sent: list[dict[str, Any]] = []
        self.problems: dict[str, str] = {}
        served = dashboard.page(*[(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES])
        page.route(f"{URL}**", self._respond)
        page.route(URL, lambda route: route.fulfill(body=served.body, headers=dict(served.headers)))
        page.goto(URL)

    def _respond(self, route: Route) -> None:
        if route.request.method == "POST":
            self.sent.append(json.loads(route.request.post_data or ""))
            body = {"Code": "BadRequestError", "Message": "bad", "problems": self.problems} if self.problems else {}
            route.fulfill(status=400 if self.problems else 201, json=body or {**self.sent[-1], "orderId": "o"})
        elif "/orders/" in route.request.url:
            route.fulfill(json={**self.sent[-1], "counted": True})
        else:
            route.fulfill(json={"totals": [], "freshness": None})


@pytest.fixture
def api(page: Page, monkeypatch: pytest.MonkeyPatch) -> Api:
    namespace: dict[str, Any] = {"__name__": "payments", "Annotated": Annotated}
    exec(MODEL, namespace)
    monkeypatch.setattr(orders, "FIELDS", fields.declared(namespace["Order"]))
    return Api(page)


def test_form_sends_a_value_of_the_right_type_for_each_field(page: Page, api: Api):
    page.get_by_label("Amount", exact=True).fill(" 12345678901234567890.10 ")
    page.get_by_label("Currency", exact=True).select_option("USD")
    page.get_by_label("Merchant", exact=True).fill("Shop")
    page.get_by_label("Status", exact=True).select_option("paid")
    page.get_by_label("Settled at (UTC) (optional)", exact=True).fill("2026-11-23T18:13:05")
    page.get_by_label("Recurring (optional)", exact=True).select_option("No")
    page.get_by_label("Rates (optional)", exact=True).fill("-3")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#placed li").first).to_contain_text("12345678901234567890.10 · USD · Shop · paid")
    assert re.fullmatch("web-.*", api.sent[0].pop("orderId"))
    assert api.sent == [
        {
            "amount": "12345678901234567890.10", "currency": "USD", "merchant": "Shop", "state": "paid",
            "settledAt": "2026-11-23T18:13:05", "recurring": False, "rates": -3,
        }
    ]  # fmt: skip


def test_form_leaves_out_empty_optional_fields_and_shows_every_error(page: Page, api: Api):
    api.problems = {"amount": "must be a decimal number", "state": "must be one of paid, refunded"}
    page.get_by_label("Rates (optional)", exact=True).fill("")
    page.get_by_role("button", name="Place order").click()
    amount, status = page.get_by_label("Amount", exact=True), page.get_by_label("Status", exact=True)
    expect(amount).to_have_accessible_description("Please fill in: amount.")
    expect(status).to_have_accessible_description("Please fill in: status.")
    expect(amount).to_be_focused()
    assert set(api.sent[0]) == {"amount", "currency", "merchant", "state", "orderId"}
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


class Gift(NamedTuple):
    order_id: str
    placed_at: str
    gift: Annotated[bool, fields.Boolean()]


def test_required_boolean_is_a_checkbox(page: Page, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(orders, "FIELDS", fields.declared(Gift))
    api = Api(page)
    for _ in range(2):
        page.get_by_role("button", name="Place order").click()
        expect(page.locator("#placed li")).to_have_count(len(api.sent))
        page.get_by_label("Gift", exact=True).check()
    assert [each["gift"] for each in api.sent] == [False, True]
