"""The browser for the tests: nothing is installed unasked, and what was skipped is said last."""

import os
import subprocess
import sys

import pytest

from infrastructure.package import PROJECT
from tests.browser import chromium


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The calls of apt-get, none of which is made, on a machine without a browser."""
    calls: list[tuple[str, ...]] = []

    def note(*arguments: str) -> str:
        calls.append(arguments)
        return ""

    monkeypatch.setattr(chromium, "_found", lambda: None)
    monkeypatch.setattr(chromium, "_apt_get", note)
    monkeypatch.delenv("BROWSER", raising=False)
    return calls


def test_no_browser_is_installed_unasked(installed: list[tuple[str, ...]]):
    with pytest.raises(chromium.NoBrowser, match="make test BROWSER=yes"):
        chromium.find_or_install()
    assert installed == []


def test_a_browser_is_installed_on_request(installed: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BROWSER", "yes")
    with pytest.raises(chromium.NoBrowser, match="apt-get install chromium"):
        chromium.find_or_install()
    assert [arguments[0] for arguments in installed] == ["update", "install"]


def test_the_last_line_of_a_run_counts_the_skipped_browser_tests_and_says_how_to_run_them():
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "BROWSER")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/browser/test_access.py"]
    ran = subprocess.run(
        command, cwd=PROJECT, env={**environment, "PATH": os.devnull}, capture_output=True, text=True, check=True
    )
    skipped = ran.stdout.count("s", 0, ran.stdout.index("["))
    assert skipped > 2
    assert ran.stdout.splitlines()[-1] == f"{skipped} browser tests skipped. To run them: make test BROWSER=yes"
