"""Set-up for all tests: fake AWS credentials, a time limit for each test, and a report of tests that did not run."""

import ast
import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Environment variables that must be set before a test module or the app creates a client. The region is the emulator's.
FAKE_ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

# Packages that tests need indirectly, besides requirements.txt, chalice, boto3, pytest and moto. Files whose packages
# are missing are not collected, and the last line of the output names them.
REQUIRED_PACKAGES = {
    "benchmarks": ("ministack", "matplotlib"),
    "browser": ("ministack", "samtranslator", "playwright", "axe_playwright_python"),
    "e2e": ("ministack", "samtranslator", "rich", "schemathesis"),
    "infrastructure/test_chromium.py": ("playwright", "ministack"),
    "infrastructure/test_operations.py": ("rich",),
    "infrastructure/test_view_example.py": ("ruff",),
    "proof": ("ministack", "hypothesis", "greenlet"),
    "unit/test_openapi.py": ("openapi_spec_validator",),
}

HERE = Path(__file__).parent
NOT_COLLECTED: dict[str, list[str]] = {}
"""The missing packages by the file or folder that needs them."""
BROWSER_TESTS = "tests/browser/"

# The time limit per test in seconds. In pyproject.toml, it would be an error without the plugin pytest-timeout.
os.environ.setdefault("PYTEST_TIMEOUT", "300")


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(FAKE_ACCESS)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    path = collection_path.relative_to(HERE).as_posix() if collection_path.is_relative_to(HERE) else ""
    needed = {*REQUIRED_PACKAGES.get(path, ()), *(imported(collection_path) if path.endswith(".py") else ())}
    missing = sorted(package for package in needed if find_spec(package) is None)
    if missing:
        NOT_COLLECTED[f"tests/{path}"] = missing
    return True if missing else None


def imported(file: Path) -> set[str]:
    """Return the packages that a test file imports at module level, directly or through other test files."""
    found: set[str] = set()
    for statement in ast.parse(file.read_bytes()).body:
        if isinstance(statement, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            package, *path = statement.module.split(".")
            helper = HERE.joinpath(*path).with_suffix(".py")
            found |= imported(helper) if package == HERE.name and helper.is_file() else {package}
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, Any, Any]:
    """Print at the end which tests did not run, and how to run them."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:  # Worker processes of pytest-xdist have no reporter.
        for line in not_run(reporter.stats):
            reporter.write_line(line, yellow=True)
    return result


def not_run(reports: dict[str, list[Any]]) -> list[str]:
    """Return a line about test files that were not collected, and a line about skipped browser tests."""
    lines = []
    if NOT_COLLECTED:
        packages = ", ".join(sorted({package for missing in NOT_COLLECTED.values() for package in missing}))
        lines.append(
            f"Not run, because {packages} are not installed: {', '.join(NOT_COLLECTED)}. To run all tests: make test"
        )
    skipped = [report for report in reports.get("skipped", []) if report.nodeid.startswith(BROWSER_TESTS)]
    if skipped:
        lines.append(f"{len(skipped)} browser tests skipped. To run them: make test BROWSER=yes")
    return lines
