"""The dashboard in a real browser, from the real API: as deployed, under its stage's path, and under `chalice local`.

Where there is no browser these tests are skipped, and the run's last lines say so; in CI that is a failure.
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
WAIT_SECONDS = 30.0  # For a slow machine; a wait ends as soon as it can.

expect.set_options(timeout=WAIT_SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A chromium."""
    try:
        path = chromium.find_or_install()
    except chromium.NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with chromium.running(path) as started:
        yield started


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says loudly that the dashboard has not been tested."""
    # By the reports, for those also come from workers, in whose processes the fixtures are.
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if each.nodeid.startswith(HERE)]
    if skipped:
        _file, _line, reason = skipped[0].longrepr
        terminalreporter.section("THE DASHBOARD HAS NOT BEEN TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(reason, red=True)


# --- The API -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged app."""
    folder = tmp_path_factory.mktemp("build")
    package("local", folder)
    return folder


@pytest.fixture(scope="session")
def emulator(browser: Browser) -> Iterator[Emulator]:
    """An emulator of AWS for these tests alone; none is started without a browser."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def stack(emulator: Emulator, build: Path) -> Stack:
    """The deployed app."""
    return deploy(emulator, build)


class Site(NamedTuple):
    """Where the dashboard is, with a slash at its end as people get it, and the API that it asks."""

    url: str
    api: Api


@pytest.fixture(scope="session")
def deployed(stack: Stack) -> Site:
    """The dashboard behind API Gateway, at /api/."""
    return Site(f"{stack.api_host_url}/", Api(stack.api_url))


@pytest.fixture(scope="session")
def local(emulator: Emulator, stack: Stack) -> Iterator[Site]:
    """The dashboard under `chalice local`, at /, on the tables of the stack."""
    with ChaliceLocal(emulator) as running:
        yield Site(f"{running.url}/", Api(running.url))


@pytest.fixture(params=["deployed", "local"])
def site(request: pytest.FixtureRequest) -> Site:
    """Both, one after the other."""
    found: Site = request.getfixturevalue(request.param)
    return found


# --- Pages ---------------------------------------------------------------------------------------


class Watched:
    """A page, and all that went wrong in it without being seen."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if self._is_bad(message) else None)

    @staticmethod
    def _is_bad(message: Any) -> bool:
        # Chromium reports every answer of 4xx and 5xx, also those that the page deals with.
        return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A fresh page on a desktop, in which nothing may go wrong unseen."""
    context = browser.new_context(viewport=DESKTOP)
    watched = Watched(context)
    yield watched
    context.close()
    assert watched.errors == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """That page."""
    return watched.page


def wait_until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression is true in the page. Raise AssertionError after WAIT_SECONDS.

    Playwright's own `wait_for_function` polls with `eval`, which the page's policy forbids.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"Still not true after {WAIT_SECONDS:.0f} s: {condition}"
        page.wait_for_timeout(50)


@pytest.fixture
def unique() -> str:
    """A text that no other test uses, for products."""
    return uuid.uuid4().hex[:12]


class Quantities:
    """Quantities each of which is larger than all totals so far: with it a product comes first."""

    def __init__(self) -> None:
        self._most = 0

    def __call__(self, times: int = 1) -> int:
        """The next one; `times` says to how many times as much a test will bring a total with it."""
        quantity = self._most + 1000
        self._most = quantity * times
        return quantity


@pytest.fixture(scope="session")
def quantity_for_the_top() -> Quantities:
    """Gives the next such quantity at each call."""
    return Quantities()
