"""Tests for the dashboard as a user sees it: placing orders, watching totals change, and handling errors."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, Route, expect

from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.browser.conftest import DESKTOP, PHONE, MonitoredPage, Site, TopQuantities, can_be_hidden, hide, wait_until
from tests.e2e.http import Api

HOSTILE = "<img src=x onerror=window.hacked=1>"
TEST_SECONDS = 60


def place(page: Page, product: str, quantity: object) -> None:
    page.get_by_label("Product", exact=True).fill(product)
    page.get_by_label("Quantity", exact=True).fill(str(quantity))
    # Do not use the mouse, because a redraw can move the button away from the pointer.
    page.get_by_label("Quantity", exact=True).press("Enter")


def row(page: Page, product: str) -> Locator:
    as_css = product.replace("\\", r"\\").replace('"', r"\"")
    return page.locator(f'#bars li[data-product="{as_css}"]')


def width(bar: Locator) -> float:
    """Return a bar's width as a share of its track, after the animation has ended."""
    bar.evaluate("bar => Promise.all(bar.getAnimations().map(each => each.finished)).then(() => null)")
    return float(bar.evaluate("bar => bar.getBoundingClientRect().width / bar.parentElement.clientWidth"))


def order(site: Site, product: str, quantity: int, **more: Any) -> str:
    """Place an order through the API, wait until it is counted, and return its id."""
    order_id: str = site.api.post("/orders", {"product": product, "quantity": quantity, **more}).json["orderId"]
    while not site.api.get(f"/orders/{order_id}").json["counted"]:
        time.sleep(0.02)
    return order_id


# --- Placing orders and seeing them --------------------------------------------------------------


def test_order_placed_in_the_page_changes_its_bar(page: Page, site: Site, unique: str, top_quantity: TopQuantities):
    quantity = top_quantity(times=4)
    order(site, f"{unique} larger", 4 * quantity)
    page.goto(site.url)
    page.evaluate("window.notReloaded = true")
    smaller = row(page, f"{unique} smaller")
    place(page, f"{unique} smaller", 2 * quantity)
    expect(page.locator("#placed li").first).to_contain_text(re.compile(r"Counted after \d+\.\d s"))
    expect(smaller).to_contain_text(f"{2 * quantity:,}")
    expect(smaller).to_contain_text("1 order")
    before = width(smaller.locator(".bar"))
    place(page, f"{unique} smaller", quantity)
    expect(smaller).to_contain_text(f"{3 * quantity:,}")
    expect(smaller).to_contain_text("2 orders")
    assert width(smaller.locator(".bar")) == pytest.approx(before * 1.5, rel=0.02)
    assert page.evaluate("window.notReloaded") is True
    assert site.api.get(f"/totals/{unique}%20smaller").json["totalQuantity"] == 3 * quantity


def test_products_are_sorted_and_change_places(page: Page, local: Site, unique: str, top_quantity: TopQuantities):
    first, second = f"{unique} first", f"{unique} second"
    order(local, second, top_quantity())
    order(local, first, top_quantity())
    page.goto(local.url)
    names = page.locator("#bars .name")
    expect(names.nth(0)).to_have_text(first)
    expect(names.nth(1)).to_have_text(second)
    row(page, second).get_by_role("button").focus()
    order(local, second, top_quantity(times=2))
    expect(names.nth(0)).to_have_text(second)
    expect(row(page, second).get_by_role("button")).to_be_focused()


def test_page_refreshes_within_two_seconds(page: Page, local: Site, unique: str, top_quantity: TopQuantities):
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # From now on, only `run_for` advances the page's clock.
    page.goto(local.url)
    expect(page.locator("#status")).not_to_have_text("Connecting …")
    quantity = top_quantity()
    order(local, unique, quantity)
    while local.api.get("/totals?top=1").json["totals"][0]["product"] != unique:  # The list may be a second old.
        time.sleep(0.02)
    page.clock.run_for(2000)
    expect(row(page, unique)).to_contain_text(f"{quantity:,}")


def test_page_asks_every_second_after_an_action_and_every_three_seconds_otherwise(
    monitored: MonitoredPage, local: Site, unique: str
):
    page, product = monitored.page, f"{unique} & more"
    order(local, product, 1)
    # `pending` counts requests whose responses the page has not rendered yet. A posted message arrives only after
    # the page has handled the response, so it lowers the count at the right time.
    page.add_init_script(
        "window.pending = 0; const send = window.fetch, parse = Response.prototype.json;"
        "window.fetch = (...request) => { window.pending += 1; return send(...request); };"
        "Response.prototype.json = function () { return parse.call(this).finally(() => {"
        " const {port1, port2} = new MessageChannel();"
        " port1.onmessage = () => { window.pending -= 1; }; port2.postMessage(0); }); }"
    )
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.goto(f"{local.url}#/totals/{quote(product)}")

    def requests_in(seconds: int) -> int:
        """Advance the page's clock and return how many requests it sends. Each must be for the whole page."""
        before = len(monitored.requests)
        for _ in range(2 * seconds):
            page.clock.run_for(500)
            wait_until(page, "window.pending === 0")
        sent = monitored.requests[before:]
        assert {urlsplit(url).query for url in sent} <= {f"top=10&recent=5&trend={quote(product)}&days=8"}
        assert {urlsplit(url).path for url in sent} == {"/totals"}
        return len(sent)

    expect(page.locator("#status-text")).not_to_have_text("Connecting …")
    assert 28 <= requests_in(30) <= 31
    assert 9 <= requests_in(30) <= 11
    page.locator("h1").click()
    assert 28 <= requests_in(30) <= 31
    assert 9 <= requests_in(30) <= 11


def test_old_or_incomplete_list_is_shown_as_such(page: Page, local: Site):
    age = page.locator("#list-age")
    answer = {**local.api.get("/totals?top=10").json, "asOf": "2026-11-23T18:13:05Z"}
    page.goto(local.url)
    expect(page.locator("#status-text")).not_to_have_text("Connecting …")
    expect(age).to_be_hidden()
    page.route("**/totals?**", lambda route: route.fulfill(json=answer))
    expect(age).to_have_text(re.compile(r"^As of .*\d\d:\d\d:05$"))
    answer["complete"] = False
    expect(age).to_contain_text("The largest of a part of the products.")
    page.unroute_all(behavior="wait")


def test_hidden_page_sends_no_requests(monitored: MonitoredPage, local: Site):
    page = monitored.page
    can_be_hidden(page)
    page.clock.install()
    page.goto(local.url)
    expect(page.locator("#status")).not_to_have_text("Connecting …")
    hide(page)  # No more requests follow.
    request_count = len(monitored.requests)
    page.clock.run_for(30_000)
    assert len(monitored.requests) == request_count
    with page.expect_request("**/totals?**"):
        page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_more_products_can_be_shown(page: Page, local: Site, unique: str):
    for number in range(11):
        order(local, f"{unique} {number}", 1)
    page.goto(local.url)
    expect(page.locator("#bars li")).to_have_count(10)
    page.get_by_role("button", name="Show 100").click()
    expect(row(page, f"{unique} 10")).to_be_attached()
    page.get_by_role("button", name="Show 10").click()
    expect(page.locator("#bars li")).to_have_count(10)


# --- The trend -----------------------------------------------------------------------------------


@pytest.fixture
def one_hour() -> None:
    """Wait for the next hour if it is less than a minute away, so that the test runs within one hour."""
    seconds_left = 3600 - time.time() % 3600
    if seconds_left < TEST_SECONDS:
        time.sleep(seconds_left)


@pytest.mark.usefixtures("one_hour")
def test_days_and_hours_of_a_product_are_shown(page: Page, site: Site, unique: str):
    order(site, unique, 900_000)
    page.goto(f"{site.url}#/totals/{unique}")
    trend = page.get_by_role("region", name=unique)
    expect(trend.locator("#trend-sum")).to_have_text("900,000ordered in the last 7 days")
    expect(trend.locator("#readout")).to_contain_text("Today: 900,000. Busiest hour:")
    trend.get_by_text("Show as a table").click()
    rows = trend.locator("tbody tr")
    expect(rows).to_have_count(7)
    expect(rows.first.locator("td").first).to_have_text("900,000")
    expect(rows.last.locator("td")).to_have_text(["0"] * 25)
    for days in (90, 30):
        trend.get_by_label(f"{days} days").check()
        expect(rows).to_have_count(days)
    order(site, unique, 100_000)
    expect(trend.locator("#trend-sum")).to_contain_text("1,000,000")


@pytest.mark.usefixtures("one_hour")
def test_chart_can_be_read_with_the_keyboard(page: Page, local: Site, unique: str):
    order(local, unique, 7)
    total = local.api.get(f"/totals/{unique}/trend?days=7").json["days"][-1]
    hour = total["hours"].index(7)
    page.goto(f"{local.url}#/totals/{unique}")
    chart, readout = page.locator("#chart"), page.locator("#readout")
    expect(readout).to_contain_text("Today: 7.")
    chart.focus()
    page.keyboard.press("End")
    expect(readout).to_have_text(re.compile(r"^\w+, \w+ \d+: 7$"))
    for _ in range(hour + 1):
        page.keyboard.press("ArrowDown")
    expect(readout).to_contain_text(f"{hour:02}:00–{hour + 1:02}:00: 7 of the day’s 7")
    page.keyboard.press("ArrowLeft")
    expect(readout).to_contain_text(f"{hour:02}:00–{hour + 1:02}:00: 0 of the day’s 0")
    page.keyboard.press("Escape")
    expect(readout).to_contain_text("Today: 7.")


def test_product_can_be_chosen_with_the_keyboard(page: Page, local: Site, unique: str, top_quantity: TopQuantities):
    order(local, f"{unique} next", top_quantity())
    order(local, f"{unique} top", top_quantity())
    page.goto(local.url)
    row(page, f"{unique} top").get_by_role("button").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#trend-title")).to_have_text(f"{unique} next")
    expect(row(page, f"{unique} next").get_by_role("button")).to_have_attribute("aria-pressed", "true")
    assert urlsplit(page.url).fragment == f"/totals/{quote(f'{unique} next')}"


def test_product_without_a_total_is_reported(page: Page, local: Site, unique: str):
    page.goto(f"{local.url}#/totals/{unique}")
    expect(page.locator("#trend-problem")).to_contain_text(f"Nothing has been counted for {unique} yet.")
    expect(page.locator("#chart")).to_be_hidden()


# --- The first order -----------------------------------------------------------------------------


@pytest.fixture
def empty(browser: Browser, build: Path) -> Iterator[Site]:
    """Return the dashboard of a new deployment without orders."""
    with Emulator() as emulator:
        stack = deploy(emulator, build)
        yield Site(f"{stack.api_host_url}/", Api(stack.api_url))


def test_page_without_orders_shows_a_curl_command_that_works(page: Page, empty: Site):
    page.goto(empty.url)
    expect(page.get_by_text("No order has been counted yet.")).to_be_visible()
    command = page.locator("#curl").inner_text()
    assert f"'{empty.url}orders'" in command
    ran = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl ", "curl --silent --show-error --fail ", 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["product"] == "Notebook"
    expect(row(page, "Notebook")).to_contain_text("5")
    expect(page.get_by_text("No order has been counted yet.")).to_be_hidden()


# --- Errors --------------------------------------------------------------------------------------


def test_field_errors_are_shown_at_their_fields(page: Page, site: Site):
    page.goto(site.url)
    place(page, " ", "1.5")
    product, quantity = page.get_by_label("Product", exact=True), page.get_by_label("Quantity", exact=True)
    expect(product).to_have_accessible_description("Please fill in: product.")
    expect(quantity).to_have_accessible_description("Quantity must be a whole number from 1 to 1,000,000,000.")
    expect(product).to_have_attribute("aria-invalid", "true")
    expect(product).to_be_focused()
    place(page, "Pen", "2")
    expect(page.locator("#placed li").first).to_contain_text("2 × Pen")
    expect(product).to_have_attribute("aria-invalid", "false")


def test_unreachable_api_is_reported_and_retried(page: Page, local: Site):
    status, light = page.locator("#status"), page.locator("#status-text")
    page.goto(local.url)
    expect(light).not_to_have_text("Connecting …")
    page.route("**/totals?**", lambda route: route.abort())
    expect(page.get_by_role("alert").first).to_contain_text("The server cannot be reached.")
    expect(light).to_have_text(re.compile(r"^No connection to the server since \d\d:\d\d$"))
    expect(status).to_have_attribute("data-light", "red")
    page.unroute("**/totals?**")
    expect(page.locator("#alert")).to_be_hidden()
    expect(light).not_to_contain_text("No connection")
    expect(status).not_to_have_attribute("data-light", "red")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, '{"Code": "InternalServerError", "Message": "An internal server error occurred."}', "An internal server"),
        (429, '{"message": "Too Many Requests"}', "Too Many Requests"),
        (502, "<html>Bad gateway</html>", "The server returned an error (502)."),
    ],
)
def test_api_error_is_shown_as_readable_text(page: Page, local: Site, status: int, body: str, message: str):
    page.route("**/totals?**", lambda route: route.fulfill(status=status, body=body))
    page.goto(local.url)
    expect(page.locator("#alert")).to_contain_text(message)


def test_order_whose_response_was_lost_is_placed_once(page: Page, local: Site, stack: Stack, unique: str):
    def lose_the_response(route: Route) -> None:
        route.fetch()
        route.abort()

    page.goto(local.url)
    page.route("**/orders", lose_the_response)
    place(page, unique, 3)
    expect(page.locator("#form-problem")).to_contain_text("again to make sure")
    page.unroute("**/orders")
    page.get_by_role("button", name="Place order").click()
    expect(page.locator("#placed li").first).to_contain_text("Counted after")
    placed = stack.emulator.client("dynamodb").scan(TableName=stack.tables["OrdersTable"])["Items"]
    assert sum(item["Product"]["S"] == unique for item in placed) == 1
    place(page, unique, 3)  # The user places a second order on purpose.
    expect(page.locator("#placed li")).to_have_count(2)
    assert local.api.get(f"/totals/{unique}").json["totalQuantity"] in (3, 6)


# --- Security ------------------------------------------------------------------------------------


def test_hostile_names_are_shown_as_text(page: Page, site: Site, top_quantity: TopQuantities):
    names = [HOSTILE, "</script><script>window.hacked=1</script>", "\"'><svg onload=window.hacked=1>", "\u202egnp.exe"]
    for name in names:
        order(site, name, top_quantity(times=2))  # Each of the two sites runs the test and places the order.
    page.goto(site.url)
    for name in names:
        expect(row(page, name).locator(".name")).to_have_text(name)
        row(page, name).get_by_role("button").click()
        expect(page.locator("#trend-title")).to_have_text(name)
    place(page, HOSTILE, 1)
    expect(page.locator("#placed li").first).to_contain_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_page_sends_requests_only_to_its_own_host(monitored: MonitoredPage, site: Site, unique: str):
    monitored.page.goto(site.url)
    place(monitored.page, unique, 1)
    expect(monitored.page.locator("#placed li").first).to_contain_text("Counted after")
    foreign = [url for url in monitored.requests if not url.startswith((site.url, "data:"))]
    assert foreign == []


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))",
        "document.body.innerHTML = '<img src=x onerror=window.hacked=1>'",
        "document.body.setAttribute('onclick', 'window.hacked = 1')",
        "new Function('window.hacked = 1')()",
        "fetch('http://127.0.0.1:9/').then(() => { window.hacked = 1 })",
        "new Promise((done, failed) => document.body.append(Object.assign(document.createElement('iframe'),"
        " {src: 'data:text/html,x', onload: done, onerror: failed})))",
    ],
    ids=["script", "markup", "handler", "eval", "host", "frame"],
)
def test_content_security_policy_blocks_injected_code(browser: Browser, local: Site, attempt: str):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(local.url)
        page.evaluate(
            "window.violations = []; addEventListener('securitypolicyviolation', each => violations.push(each))"
        )
        # Use a timer in the page, because the policy does not apply to code that a test evaluates directly.
        page.evaluate(f"setTimeout(() => {{ {attempt} }})")
        wait_until(page, "violations.length > 0")
        page.mouse.click(5, 5)
        assert page.evaluate("window.hacked") is None


def test_wait_until_works_under_the_content_security_policy(page: Page, local: Site):
    page.goto(local.url)
    page.evaluate("setTimeout(() => { window.isLater = true }, 300)")
    wait_until(page, "window.isLater === true")


# --- Accessibility and layout --------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_is_accessible_and_fits_every_viewport_and_colour_scheme(
    browser: Browser, local: Site, unique: str, top_quantity: TopQuantities, scheme: Any, viewport: Any
):
    order(local, f"{unique} {'very long name ' * 40}".strip(), top_quantity())
    context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(local.url)
    place(page, " ", 0)
    expect(page.locator("#field-product-problem")).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.locator("tbody tr")).to_have_count(7)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_page_works_without_a_trailing_slash(page: Page, deployed: Site, unique: str):
    page.goto(deployed.url.rstrip("/"))
    place(page, unique, 1)
    expect(page.locator("#placed li").first).to_contain_text("Counted after")
    assert page.get_by_role("link", name="The API").evaluate("a => a.href") == f"{deployed.url}docs"
