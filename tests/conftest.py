"""What all tests have in common: no real AWS account, a time limit, and a report of what was left out."""

import ast
import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Before any test module, or the app, makes a client. The region is the emulator's.
FAKE_ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

# What tests need besides requirements.txt, chalice, boto3, pytest and moto, where their own imports do not show it.
# pytest leaves out what needs a package that is not installed, and says so.
NEEDS = {
    "benchmarks": ("ministack", "matplotlib"),
    "browser": ("ministack", "samtranslator", "playwright", "axe_playwright_python"),
    "e2e": ("ministack", "samtranslator", "rich", "schemathesis"),
    "infrastructure/test_chromium.py": ("playwright", "ministack"),
    "infrastructure/test_stage.py": ("rich",),
    "infrastructure/test_view_example.py": ("ruff",),
    "proof": ("ministack", "hypothesis"),
    "unit/test_openapi.py": ("openapi_spec_validator",),
}

HERE = Path(__file__).parent
LEFT_OUT: dict[str, list[str]] = {}
"""The packages that are missing, by the file or folder that was left out for it."""
BROWSER_TESTS = "tests/browser/"

# pytest-timeout's limit for a test, in seconds. The setting in pyproject.toml would be an error without the plugin.
os.environ.setdefault("PYTEST_TIMEOUT", "300")


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(FAKE_ACCESS)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    path = collection_path.relative_to(HERE).as_posix() if collection_path.is_relative_to(HERE) else ""
    needed = {*NEEDS.get(path, ()), *(imported(collection_path) if path.endswith(".py") else ())}
    missing = sorted(package for package in needed if find_spec(package) is None)
    if missing:
        LEFT_OUT[f"tests/{path}"] = missing
    return True if missing else None


def imported(file: Path) -> set[str]:
    """Return the top-level packages that a file imports at its top."""
    found: set[str] = set()
    for statement in ast.parse(file.read_bytes()).body:
        if isinstance(statement, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            found.add(statement.module.partition(".")[0])
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, Any, Any]:
    """Say in the last lines what was left out, and how to run it."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:  # The workers of pytest-xdist have none.
        for line in left_out(reporter.stats):
            reporter.write_line(line, yellow=True)
    return result


def left_out(reports: dict[str, list[Any]]) -> list[str]:
    """Return a line for the files that were not collected, and one for the browser tests that were skipped."""
    lines = []
    if LEFT_OUT:
        packages = ", ".join(sorted({package for missing in LEFT_OUT.values() for package in missing}))
        lines.append(
            f"Left out, because {packages} are not installed: {', '.join(LEFT_OUT)}. To run all tests: make test"
        )
    skipped = [report for report in reports.get("skipped", []) if report.nodeid.startswith(BROWSER_TESTS)]
    if skipped:
        lines.append(f"{len(skipped)} browser tests skipped. To run them: make test BROWSER=yes")
    return lines
