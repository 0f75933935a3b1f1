"""The core does no I/O: it imports nothing that could, and reads no clock."""

import ast
from pathlib import Path

import pytest

CORE = sorted(Path(__file__).parents[2].joinpath("chalicelib").glob("**/*.py"))
ALLOWED_IMPORTS = {
    "array", "base64", "binascii", "collections", "dataclasses", "datetime", "decimal", "enum", "functools", "heapq",
    "hashlib", "json", "re", "types", "typing", "zlib", "chalicelib",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time"}


def test_core_modules_are_found():
    assert {"ledger.py", "committer.py"} <= {path.name for path in CORE}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_imports_only_modules_without_io(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        imported = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        assert {name.partition(".")[0] for name in imported} <= ALLOWED_IMPORTS


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_reads_no_clock_and_opens_no_file(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in CLOCKS | {"open", "print", "input", "__import__", "exec", "eval"}
