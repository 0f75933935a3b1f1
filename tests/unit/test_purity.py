"""Tests that the core does no I/O: it imports no module that could, and reads no clock."""

import ast
from pathlib import Path

import pytest

CORE = sorted(Path(__file__).parents[2].joinpath("chalicelib").glob("**/*.py"))
ALLOWED_IMPORTS = {
    "array", "base64", "binascii", "collections", "collections.abc", "dataclasses", "datetime", "decimal", "enum",
    "functools", "heapq", "hashlib", "html", "json", "operator", "re", "shlex", "threading", "types", "typing",
    "urllib.parse", "zlib",
}  # fmt: skip
# Names from frameworks that the core may use, because they do no I/O.
FRAMEWORK_VALUES = {
    "aws_lambda_powertools.metrics": {"MetricUnit"},
    "botocore.config": {"Config"},
    "botocore.exceptions": {"ClientError", "ConnectionError", "HTTPClientError"},
    "chalice.app": {"BadRequestError", "ChaliceViewError", "IAMAuthorizer", "NotFoundError", "Request", "Response"},
}
CLOCKS = {"now", "utcnow", "today", "time"}


def test_core_modules_are_found():
    assert {"ledger.py", "committer.py"} <= {path.name for path in CORE}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_imports_only_modules_without_io(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= ALLOWED_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            own = module.partition(".")[0] == "chalicelib" or module in ALLOWED_IMPORTS
            assert own or {alias.name for alias in node.names} <= FRAMEWORK_VALUES[module]


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_reads_no_clock_and_opens_no_file(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in CLOCKS | {"open", "print", "input", "__import__", "exec", "eval"}
