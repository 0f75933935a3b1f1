"""Fixtures for the dashboard in a real browser, served by the deployed API and by `chalice local`.

Without a browser these tests are skipped, and the last lines of the output say so. In CI, they fail instead.
"""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from infrastructure.package import package
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.browser import chromium
from tests.e2e.http import Api

DESKTOP: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
HERE = "tests/browser/"
WAIT_SECONDS = 30.0  # This time is enough for a slow machine. A wait ends as soon as its condition is met.

expect.set_options(timeout=WAIT_SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run Chromium."""
    try:
        path = chromium.find_or_install()
    except chromium.NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with chromium.running(path) as started:
        yield started


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a prominent warning if the dashboard was not tested."""
    # Use the reports, because the fixtures may have run in worker processes.
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if each.nodeid.startswith(HERE)]
    if skipped:
        _file, _line, reason = skipped[0].longrepr
        terminalreporter.section("THE DASHBOARD HAS NOT BEEN TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(reason, red=True)


# --- The API -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the packaged app."""
    folder = tmp_path_factory.mktemp("build")
    package("local", folder)
    return folder


@pytest.fixture(scope="session")
def emulator(browser: Browser) -> Iterator[Emulator]:
    """Run an emulator for these tests only. Depend on `browser`, so that it does not start without a browser."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def stack(emulator: Emulator, build: Path) -> Stack:
    """Deploy the packaged app to the emulator."""
    return deploy(emulator, build)


class Site(NamedTuple):
    """The dashboard's URL, with a trailing slash, and the API that it uses."""

    url: str
    api: Api


@pytest.fixture(scope="session")
def deployed(stack: Stack) -> Site:
    """Return the deployed dashboard behind API Gateway, at /api/."""
    return Site(f"{stack.api_host_url}/", Api(stack.api_url))


@pytest.fixture(scope="session")
def local(emulator: Emulator, stack: Stack) -> Iterator[Site]:
    """Run `chalice local` on the stack's tables, and return its dashboard, at /."""
    with ChaliceLocal(emulator) as running:
        yield Site(f"{running.url}/", Api(running.url))


@pytest.fixture(params=["deployed", "local"])
def site(request: pytest.FixtureRequest) -> Site:
    """Return a site. A test with this fixture runs twice, on the deployed app and on `chalice local`."""
    found: Site = request.getfixturevalue(request.param)
    return found


# --- Pages ---------------------------------------------------------------------------------------


class MonitoredPage:
    """A page with a record of its requests and of its JavaScript and console errors."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if self._is_bad(message) else None)

    @staticmethod
    def _is_bad(message: Any) -> bool:
        # Chromium also reports every 4xx and 5xx response, including those that the page handles.
        return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def monitored(browser: Browser) -> Iterator[MonitoredPage]:
    """Open a new page in desktop size. Fail the test at its end if the page had errors."""
    context = browser.new_context(viewport=DESKTOP)
    monitored = MonitoredPage(context)
    yield monitored
    context.close()
    assert monitored.errors == []


@pytest.fixture
def page(monitored: MonitoredPage) -> Page:
    """Return the page of the fixture `monitored`."""
    return monitored.page


def wait_until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression is true in the page. Raise AssertionError after WAIT_SECONDS.

    Playwright's own `wait_for_function` uses `eval`, which the page's content security policy forbids.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"Still not true after {WAIT_SECONDS:.0f} s: {condition}"
        page.wait_for_timeout(50)


def can_be_hidden(page: Page) -> None:
    """Prepare the page so that `hide` can hide its next document."""
    page.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => window.isHidden === true});"
        "const listen = document.addEventListener.bind(document);"
        "document.addEventListener = (type, ...rest) => {"
        " window.isWaiting ||= type === 'visibilitychange'; listen(type, ...rest); }"
    )


def hide(page: Page) -> None:
    """Hide the page, and wait until its script has stopped sending requests."""
    page.evaluate("window.isHidden = true")
    wait_until(page, "window.isWaiting === true")


@pytest.fixture
def unique() -> str:
    """Return a unique text for a test's products."""
    return uuid.uuid4().hex[:12]


class TopQuantities:
    """Rising quantities. An order with the next quantity puts its product at the top of the list."""

    def __init__(self) -> None:
        self._largest_total = 0

    def __call__(self, times: int = 1) -> int:
        """Return the next quantity. `times` is how often the test will order this quantity."""
        quantity = self._largest_total + 1000
        self._largest_total = quantity * times
        return quantity


@pytest.fixture(scope="session")
def top_quantity() -> TopQuantities:
    """Return a callable that returns rising quantities."""
    return TopQuantities()
