"""The browser that the tests drive: the machine's chromium, or with BROWSER=yes the one that apt-get installs."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCK = Path(tempfile.gettempdir()) / f"order-totals-browser-{os.getuid()}.lock"
INSTALL_SECONDS = 280  # Below pytest's own limit for a test.

# Nothing that would ask hosts of the browser's maker, which a test has no business with.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowser(Exception):
    """There is none and none can be had; the message says what to do."""


def find_or_install() -> str:
    """Return the path of a chromium; with BROWSER=yes install Debian's, if this is root. Raise NoBrowser."""
    with _alone():
        return _find_or_install()


def _find_or_install() -> str:
    there = _found()
    if there:
        return there
    if os.environ.get("BROWSER") != "yes":
        raise NoBrowser("There is no chromium on this machine. To have one installed: make test BROWSER=yes")
    said = _apt_get("update", "-q") + _apt_get("install", "-qy", "--no-install-recommends", "chromium")
    there = _found()
    if there:
        return there
    raise NoBrowser(f"There is no chromium on this machine. Install one: apt-get install chromium. {said}".strip())


@contextmanager
def running(path: str) -> Iterator[Browser]:
    """A chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            headless=True,
            chromium_sandbox=os.geteuid() != 0,  # As root it does not start in its sandbox.
            args=ARGUMENTS,
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _alone() -> Iterator[None]:
    """One process after another: apt-get refuses a second one, and a browser is found before it is whole."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _found() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _apt_get(*arguments: str) -> str:
    """Runs it, where there is one and it may; returns what it said last if that went wrong."""
    command = shutil.which("apt-get")
    if command is None or os.geteuid() != 0:
        return ""
    try:
        ran = subprocess.run(
            [command, *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS / 2,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"apt-get {arguments[0]} took too long. "
    return f"{ran.stderr.strip()[-500:]} " if ran.returncode else ""
