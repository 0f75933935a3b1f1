"""`python -m tests.browser.demo_screenshots`: take the README's pictures of `make demo` and write them to docs/."""

import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect

from infrastructure.package import package
from localcloud.demo.cloud import DemoCloud
from localcloud.demo.server import DemoServer
from localcloud.demo.steps import Demo
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, free_port
from tests.browser import chromium

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
STEP_MS = 120_000  # A step waits for functions to start, which takes a long time on a busy machine.
STEPS = ("place", "redeliver", "kill", "cancel")


def press(page: Page, step: str) -> None:
    """Press a button and wait until its step is done."""
    before = page.locator("#log li").count()
    page.locator(f"[data-step={step}]").click()
    expect(page.locator("#log li")).to_have_count(before + 1, timeout=STEP_MS)
    expect(page.locator("[aria-disabled]")).to_have_count(0)


def take(browser: Browser, url: str, scheme: Literal["light", "dark"], steps: tuple[str, ...]) -> None:
    """Press buttons in the page and take a screenshot."""
    context = browser.new_context(viewport={"width": 1000, "height": 760}, color_scheme=scheme, device_scale_factor=1.5)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#log li").first).to_be_visible()
    for step in steps:
        press(page, step)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    path = PROJECT / "docs" / f"demo-{scheme}.png"
    page.screenshot(path=path, full_page=True)
    context.close()
    print(path.relative_to(PROJECT))


def main() -> None:
    """Take both screenshots."""
    with tempfile.TemporaryDirectory() as folder, Emulator() as emulator:
        package("local", Path(folder) / "build")
        demo, port = Demo(DemoCloud(emulator, Path(folder) / "build")), free_port()
        demo.run("place")
        with DemoServer(demo, port), chromium.running(chromium.find_or_install()) as browser:
            for scheme in SCHEMES:
                take(browser, f"http://localhost:{port}/", scheme, STEPS if scheme == SCHEMES[0] else ())


if __name__ == "__main__":
    main()
