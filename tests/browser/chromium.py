"""Find the browser for the tests: this machine's Chromium, or with BROWSER=yes one that apt-get installs."""

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
INSTALL_SECONDS = 280  # The installation must end before pytest's time limit for a test.

# Switch off all features that contact the browser vendor's servers.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(Exception):
    """No browser was found. The message says what to do."""


def find_or_install() -> str:
    """Return the path of Chromium. With BROWSER=yes and as root, install Debian's if needed. Raise NoBrowserError."""
    with _one_process_at_a_time():
        return _find_or_install()


def _find_or_install() -> str:
    path = _find()
    if path:
        return path
    if os.environ.get("BROWSER") != "yes":
        raise NoBrowserError("No Chromium found on this machine. To install one: make test BROWSER=yes")
    errors = _apt_get("update", "-q") + _apt_get("install", "-qy", "--no-install-recommends", "chromium")
    path = _find()
    if path:
        return path
    raise NoBrowserError(f"No Chromium found on this machine. Install one: apt-get install chromium. {errors}".strip())


@contextmanager
def running(path: str) -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            headless=True,
            chromium_sandbox=os.geteuid() != 0,  # Chromium's sandbox does not work for root.
            args=ARGUMENTS,
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    """Lock the search and the installation: `_find` must not find a browser that another process is installing."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _apt_get(*arguments: str) -> str:
    """Run apt-get if it exists and the user is root. If it fails, return the end of its error output, otherwise ''."""
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
