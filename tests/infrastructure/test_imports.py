"""Tests for imports between packages: commands for real stages must not depend on the local emulator."""

import ast
from pathlib import Path

import pytest

from infrastructure.package import PROJECT


def imported_modules(file: Path) -> set[str]:
    """Return the names of all modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("package", ["operations", "infrastructure"])
def test_package_does_not_import_localcloud(package: str):
    files = sorted((PROJECT / package).rglob("*.py"))
    assert files
    offenders = [file.name for file in files for name in imported_modules(file) if name.split(".")[0] == "localcloud"]
    assert offenders == []
