"""Tests for tools/venv.py: it creates a virtualenv on a bare machine, shows progress, and explains failures."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.package import PROJECT
from tools import venv


def test_progress_counts_collected_packages_and_skips_warnings(capsys: pytest.CaptureFixture[str]):
    lines = [
        "WARNING: Location 'file:///nowhere' is ignored: it is neither a file nor a directory.\n",
        "Collecting pytest==9.2.0 (from -r requirements-dev.txt (line 3))\n",
        "  Downloading pytest-9.2.0-py3-none-any.whl (1.1 MB)\n",
        "Installing collected packages: a, b, c\n",
    ]
    assert venv.show_progress(lines) == [line.rstrip() for line in lines]
    assert capsys.readouterr().out.splitlines() == [
        "Installing: 1 packages collected (pytest==9.2.0)",
        "Installing: 3 packages",
    ]


def test_failed_installation_prints_pips_output_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert venv.install(Path(sys.executable), str(tmp_path / "none.txt")) != 0
    output = capsys.readouterr().out
    assert "No such file" in output
    assert "pip could not install" in output


def test_old_python_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "version_info", (3, 10, 0, "final", 0))
    assert venv.main(tmp_path / "venv", "requirements-dev.txt") == 1
    assert "make PYTHON=python3.11" in capsys.readouterr().out
    assert not (tmp_path / "venv").exists()


def test_broken_virtualenv_is_not_usable(tmp_path: Path):
    assert not venv.is_usable(tmp_path / "bin" / "python")
    assert venv.is_usable(Path(sys.executable))


def old_python(minor: int) -> str | None:
    """Return a working Python 3.MINOR on this machine, or None. pyenv's commands may exist but not run."""
    found = [shutil.which(f"python3.{minor}"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")]
    commands = [str(each) for each in found if each]
    return next((each for each in commands if not subprocess.run([each, "-V"], capture_output=True).returncode), None)


@pytest.mark.parametrize("minor", range(6, 11))
def test_old_python_prints_one_line(minor: int, tmp_path: Path):
    python = old_python(minor)
    if python is None:
        pytest.skip(f"There is no Python 3.{minor} on this machine.")
    command = [python, str(PROJECT / "tools" / "venv.py"), str(tmp_path / "venv"), "none.txt"]
    refused = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert refused.returncode == 1
    assert refused.stdout.startswith("Order Totals needs Python 3.11 or newer, but ")
    assert len(refused.stdout.splitlines()) == 1


def test_python_3_6_can_parse_it():
    source = (PROJECT / "tools" / "venv.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    annotations = [each for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for each in annotated(node)]
    assert annotations
    assert not any(isinstance(part, ast.Subscript | ast.BinOp) for each in annotations for part in ast.walk(each))


def annotated(function: ast.FunctionDef) -> list[ast.expr]:
    found = [function.returns, *(argument.annotation for argument in function.args.args)]
    return [each for each in found if each is not None]
