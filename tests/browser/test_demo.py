"""The page of `make demo`, with the real handlers and faults behind it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

from localcloud.demo.cloud import DemoCloud
from localcloud.demo.server import DemoServer
from localcloud.demo.steps import STEPS, Demo
from localcloud.emulator import Emulator
from localcloud.servers import free_port
from tests.browser.conftest import DESKTOP, PHONE, MonitoredPage
from tests.browser.demo_screenshots import press
from tests.e2e.http import Api

LOG = [{"step": "place", "text": "Ordered 2", "columns": {"truth": 2, "plain": 2, "ours": 2}}]
BAD, GOOD = re.compile("bad"), re.compile("good")


@pytest.fixture(scope="module")
def demo(browser: Browser, build: Path) -> Iterator[Demo]:
    with Emulator() as emulator:
        yield Demo(DemoCloud(emulator, build))


@pytest.fixture(scope="module")
def server(demo: Demo) -> Iterator[DemoServer]:
    demo.run("place")
    with DemoServer(demo, free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: DemoServer) -> str:
    return f"http://localhost:{server.server_port}"


@pytest.fixture
def opened(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.locator("#log li").first).to_be_visible()
    return page


def columns(page: Page) -> list[int]:
    return [int(page.locator(f"#{name}").inner_text()) for name in ("truth", "plain", "ours")]


def test_every_button_does_what_it_says_and_only_plain_add_goes_wrong(opened: Page, demo: Demo):
    assert sorted(button.get_attribute("data-step") or "" for button in opened.locator("button").all()) == sorted(STEPS)
    assert columns(opened) == [5, 5, 5]
    expect(opened.locator("#plain-verdict")).to_have_text("✓ exact")
    for step, text, truth, off in (
        ("place", "Ordered 3", 8, 0),
        ("redeliver", "Delivered the last batch again", 8, 3),
        ("kill", "Ordered 8, killed both after their write", 16, 11),
        ("lose", "Ordered 4, lost both responses", 20, 15),
        ("amend", "Amended an order from 4 to 2", 18, 17),
        ("cancel", "Cancelled an order of 5", 13, 22),
    ):
        press(opened, step)
        assert columns(opened) == [truth, truth + off, truth] == list(demo.cloud.columns())
        newest = opened.locator("#log li").first
        expect(newest).to_contain_text(text)
        expect(newest).to_contain_text(opened.locator(f"[data-step={step}]").get_attribute("data-why") or "?")
        expect(newest).to_contain_text(f"Truth {truth} · Plain ADD {truth + off} {f'(+{off}) ' if off else ''}· Order")
        expect(opened.locator("#ours-verdict")).to_have_class(GOOD)
        expect(opened.locator("#news")).to_contain_text(text)
    expect(opened.locator("#plain-verdict")).to_have_text("+22 too many")
    expect(opened.locator("#plain-verdict")).to_have_class(BAD)
    press(opened, "poison")
    truth, plain, ours = columns(opened)
    assert (truth, ours) == (15, 15)
    assert plain - truth > 22
    press(opened, "audit")
    expect(opened.locator("#log li").first).to_contain_text("Audited 6 orders: clean")
    # The app too has got the redelivered batch, and once more the batch after whose write it was killed.
    batches = [each for each in demo.cloud.stack.log_entries("Aggregate") if each["message"] == "Batch"]
    assert sum(each["alreadyCounted"] for each in batches) >= 2


def test_too_few_is_red_with_a_minus(opened: Page, demo: Demo):
    row = {"TableName": "PlainAddTable", "Key": {"product": {"S": "Stolen"}}}
    truth, plain, _ = columns(opened)
    change = {
        "UpdateExpression": "ADD totalQuantity :less",
        "ExpressionAttributeValues": {":less": {"N": f"-{plain - truth + 4}"}},
    }
    demo.cloud.dynamodb.update_item(**row, **change)
    expect(opened.locator("#plain-verdict")).to_have_text("−4 too few")
    expect(opened.locator("#plain-verdict")).to_have_css("color", "rgb(179, 38, 30)")
    demo.cloud.dynamodb.delete_item(**row)


def test_difference_is_not_called_wrong_while_a_step_runs(page: Page, url: str):
    state = {"columns": {"truth": 5, "plain": 3, "ours": 5}, "log": [], "running": True}
    page.route("**/state", lambda route: route.fulfill(json=state))
    page.goto(url)
    expect(page.locator("#plain-verdict")).to_have_text("counting …")
    expect(page.locator("#plain-verdict")).not_to_have_class(BAD)
    expect(page.locator("#ours-verdict")).to_have_text("✓ exact")


def test_late_response_with_old_numbers_is_ignored(page: Page, url: str):
    def state(number: int) -> dict[str, Any]:
        return {"columns": dict.fromkeys(("truth", "plain", "ours"), number), "log": LOG, "running": False}

    held: list[Route] = []
    page.route("**/state", lambda route: held.append(route))
    page.route("**/steps/place", lambda route: route.fulfill(json=state(2)))
    page.goto(url)
    while not held:
        page.wait_for_timeout(20)
    page.route("**/state", lambda route: route.fulfill(json=state(2)))
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#truth")).to_have_text("2")
    with page.expect_event("requestfinished", lambda request: request == held[0].request):
        held[0].fulfill(json=state(1))
    assert page.evaluate("new Promise((done) => setTimeout(() => done(truth.textContent)))") == "2"


def test_buttons_work_by_keyboard_and_one_step_runs_at_a_time(opened: Page, monitored: MonitoredPage):
    before = opened.locator("#log li").count()
    opened.keyboard.press("Tab")
    expect(opened.get_by_role("button", name="Place an order")).to_be_focused()
    opened.keyboard.press("Enter")
    opened.evaluate("document.querySelectorAll('[data-step=place]').forEach((each) => { each.click(); each.click(); })")
    expect(opened.locator("[aria-disabled]")).to_have_count(0)
    expect(opened.locator("#log li")).to_have_count(before + 1)
    assert len([each for each in monitored.requests if each.endswith("/steps/place")]) == 1
    expect(opened.get_by_role("button", name="Place an order")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_fits_a_phone(opened: Page, scheme: str):
    opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for viewport in (DESKTOP, PHONE, {"width": 320, "height": 640}):
        opened.set_viewport_size(viewport)  # type: ignore[arg-type]
        assert opened.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()


def test_stopped_demo_is_reported(monitored: MonitoredPage, demo: Demo):
    with DemoServer(demo, free_port()) as running:
        monitored.page.goto(f"http://localhost:{running.server_port}")
        expect(monitored.page.locator("#log li").first).to_be_visible()
        expect(monitored.page.get_by_role("alert")).to_be_hidden()
    expect(monitored.page.get_by_role("alert")).to_have_text("The demo does not respond. Is make demo still running?")


def test_page_allows_no_foreign_scripts_and_other_sites_cannot_press_its_buttons(url: str, demo: Demo):
    api, before = Api(url), len(demo.log)
    policy = api.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert api.post("/steps/place", {}, content_type="text/plain").status == 400
    assert api.post("/steps/run", {}).status == 400
    assert api.get("/other").status == 400
    assert len(demo.log) == before


def test_step_that_cannot_be_done_says_why(opened: Page, demo: Demo):
    for order in demo.cloud.orders():
        demo.cloud.dynamodb.delete_item(TableName="OrdersTable", Key={"OrderID": order["OrderID"]})
    opened.locator("[data-step=cancel]").click()
    expect(opened.locator("[aria-disabled]")).to_have_count(0)
    expect(opened.get_by_role("alert")).to_have_text("There is no order. Place one first.")
    press(opened, "place")
    expect(opened.get_by_role("alert")).to_be_hidden()
