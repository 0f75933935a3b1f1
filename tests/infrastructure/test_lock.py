"""The two lock files: each has what it should, in the same versions, and Lambda gets the versions that are tested."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infrastructure.package import CODE, LOCK, PROJECT, PackageError, package, pins

DEV_LOCK = PROJECT / "requirements-dev.lock"


def locked(lock: Path) -> dict[str, Requirement]:
    return {canonicalize_name(Requirement(pin).name): Requirement(pin) for pin in pins(lock)}


LOCKED = locked(DEV_LOCK)


def asked(file: str) -> list[Requirement]:
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    stated = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in stated if line and not line.startswith("-")]


ASKED = [*asked("requirements.txt"), *asked("requirements-local.txt")]


@pytest.mark.parametrize("requirement", [*ASKED, *asked("requirements-dev.txt")], ids=str)
def test_what_is_asked_for_is_locked_in_a_version_that_will_do(requirement: Requirement):
    found = LOCKED.get(canonicalize_name(requirement.name))
    assert found, "run make lock"
    (specifier,) = found.specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version), "run make lock"


def test_the_small_lock_has_the_same_versions_and_nothing_for_tests():
    small = locked(LOCK)
    assert {name: pin.specifier for name, pin in small.items()} == {
        name: pin.specifier for name, pin in LOCKED.items() if name in small
    }
    assert {canonicalize_name(requirement.name) for requirement in ASKED} <= small.keys()
    assert not small.keys() & {"mypy", "moto", "playwright", "matplotlib", "boto3-stubs", "pytest", "ruff"}


@pytest.mark.parametrize("lock", [LOCK, DEV_LOCK], ids=lambda lock: lock.name)
def test_everything_that_is_locked_is_locked_by_its_content(lock: Path):
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_without_the_lock_nothing_is_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infrastructure.package.LOCK", tmp_path / "requirements-local.lock")
    with pytest.raises(PackageError, match=r"requirements-local\.lock is missing"):
        package("dev", tmp_path / "build")


def test_lambda_gets_the_locked_versions(packaged_stage: Callable[[str], Path]):
    files = zipfile.ZipFile(packaged_stage("prod").with_name(CODE)).namelist()
    folders = {file.partition("/")[0] for file in files if ".dist-info/" in file}
    got = dict(folder.removesuffix(".dist-info").split("-") for folder in folders)
    assert "aws_lambda_powertools" in got
    for name, version in got.items():
        assert LOCKED[canonicalize_name(name)].specifier.contains(version)
