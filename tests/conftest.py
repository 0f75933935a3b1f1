"""What all tests have in common: no real AWS account, a time limit, and a report of what was left out."""

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

# The packages that tests need besides requirements.txt, chalice, boto3, pytest and moto. With those alone, pytest
# leaves out what is listed here, and says so.
NEEDS = {
    "bench": ("ministack", "matplotlib"),
    "browser": ("ministack", "samtranslator", "playwright", "axe_playwright_python"),
    "e2e": ("ministack", "samtranslator", "rich", "schemathesis"),
    "infrastructure/test_chromium.py": ("playwright", "ministack"),
    "infrastructure/test_stage.py": ("rich",),
    "infrastructure/test_view_example.py": ("ruff",),
    "integration/test_description.py": ("jsonschema",),
    "proof": ("ministack", "hypothesis"),
    "unit/test_audit_counters.py": ("hypothesis",),
    "unit/test_ledger.py": ("hypothesis",),
    "unit/test_openapi.py": ("hypothesis", "jsonschema", "openapi_spec_validator"),
    "unit/test_orders.py": ("hypothesis",),
}

HERE = Path(__file__).parent
MISSING = {
    HERE / path: [package for package in packages if find_spec(package) is None] for path, packages in NEEDS.items()
}
BROWSER_TESTS = "tests/browser/"

# pytest-timeout's limit for a test, in seconds. The setting in pyproject.toml would be an error without the plugin.
os.environ.setdefault("PYTEST_TIMEOUT", "300")


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(FAKE_ACCESS)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if MISSING.get(collection_path) else None


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
    files = [path for path, packages in MISSING.items() if packages]
    if files:
        names = ", ".join(str(path.relative_to(HERE.parent)) for path in files)
        packages = ", ".join(sorted({package for path in files for package in MISSING[path]}))
        lines.append(f"Left out, because {packages} are not installed: {names}. To run all tests: make test")
    skipped = [report for report in reports.get("skipped", []) if report.nodeid.startswith(BROWSER_TESTS)]
    if skipped:
        lines.append(f"{len(skipped)} browser tests skipped. To run them: make test BROWSER=yes")
    return lines
