"""Tests for tests/browser/chromium.py: it installs a browser only on request, and reports skipped browser tests."""

import os
import subprocess
import sys

import pytest

from infrastructure.package import PROJECT
from tests.browser import chromium


@pytest.fixture
def apt_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Simulate a machine without a browser. Record the arguments of apt-get calls instead of running them."""
    calls: list[tuple[str, ...]] = []

    def record(*arguments: str) -> str:
        calls.append(arguments)
        return ""

    monkeypatch.setattr(chromium, "_find", lambda: None)
    monkeypatch.setattr(chromium, "_apt_get", record)
    monkeypatch.delenv("BROWSER", raising=False)
    return calls


def test_browser_is_not_installed_without_request(apt_calls: list[tuple[str, ...]]):
    with pytest.raises(chromium.NoBrowserError, match="make test BROWSER=yes"):
        chromium.find_or_install()
    assert apt_calls == []


def test_browser_is_installed_on_request(apt_calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BROWSER", "yes")
    with pytest.raises(chromium.NoBrowserError, match="apt-get install chromium"):
        chromium.find_or_install()
    assert [arguments[0] for arguments in apt_calls] == ["update", "install"]


def test_last_line_of_a_run_counts_skipped_browser_tests_and_names_the_command():
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "BROWSER")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/browser/test_access.py"]
    ran = subprocess.run(
        command, cwd=PROJECT, env={**environment, "PATH": os.devnull}, capture_output=True, text=True, check=True
    )
    skipped = ran.stdout.count("s", 0, ran.stdout.index("["))
    assert skipped > 2
    assert ran.stdout.splitlines()[-1] == f"{skipped} browser tests skipped. To run them: make test BROWSER=yes"
