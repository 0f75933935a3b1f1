"""requirements-dev.lock: what is tested is what is written down, and what Lambda gets is what is tested."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infrastructure.package import CODE, LOCK, PROJECT, PackageError, package, pins

LOCKED = {canonicalize_name(Requirement(pin).name): Requirement(pin) for pin in pins()}


def asked(file: str) -> list[Requirement]:
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    stated = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in stated if line and not line.startswith("-")]


@pytest.mark.parametrize("requirement", [*asked("requirements.txt"), *asked("requirements-dev.txt")], ids=str)
def test_what_is_asked_for_is_locked_in_a_version_that_will_do(requirement: Requirement):
    locked = LOCKED.get(canonicalize_name(requirement.name))
    assert locked, "run make lock"
    (specifier,) = locked.specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version), "run make lock"


def test_everything_that_is_locked_is_locked_by_its_content():
    entries = re.split(r"^(?=[a-z0-9])", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_without_the_lock_nothing_is_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infrastructure.package.LOCK", tmp_path / "requirements-dev.lock")
    with pytest.raises(PackageError, match=r"requirements-dev\.lock is missing"):
        package("dev", tmp_path / "build")


def test_lambda_gets_the_locked_versions(packaged_stage: Callable[[str], Path]):
    files = zipfile.ZipFile(packaged_stage("prod").with_name(CODE)).namelist()
    folders = {file.partition("/")[0] for file in files if ".dist-info/" in file}
    got = dict(folder.removesuffix(".dist-info").split("-") for folder in folders)
    assert "aws_lambda_powertools" in got
    for name, version in got.items():
        assert LOCKED[canonicalize_name(name)].specifier.contains(version)
