"""Tests for the lock files: they are complete and agree, and the Lambda package contains the locked versions."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infrastructure.package import CODE, LOCK, PROJECT, PackageError, package
from tests.environments import pins

DEV_LOCK = PROJECT / "requirements-dev.lock"


def locked(lock: Path) -> dict[str, Requirement]:
    return {canonicalize_name(Requirement(pin).name): Requirement(pin) for pin in pins(lock)}


LOCKED = locked(DEV_LOCK)


def requirements_in(file: str) -> list[Requirement]:
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    without_comments = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in without_comments if line and not line.startswith("-")]


REQUIREMENTS = [*requirements_in("requirements.txt"), *requirements_in("requirements-local.txt")]


@pytest.mark.parametrize("requirement", [*REQUIREMENTS, *requirements_in("requirements-dev.txt")], ids=str)
def test_each_requirement_is_locked_at_an_allowed_version(requirement: Requirement):
    found = LOCKED.get(canonicalize_name(requirement.name))
    assert found, "run make lock"
    (specifier,) = found.specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version), "run make lock"


def test_local_lock_has_the_same_versions_and_no_test_tools():
    small = locked(LOCK)
    assert {name: pin.specifier for name, pin in small.items()} == {
        name: pin.specifier for name, pin in LOCKED.items() if name in small
    }
    assert {canonicalize_name(requirement.name) for requirement in REQUIREMENTS} <= small.keys()
    assert not small.keys() & {"mypy", "moto", "playwright", "matplotlib", "boto3-stubs", "pytest", "ruff"}


@pytest.mark.parametrize("lock", [LOCK, DEV_LOCK], ids=lambda lock: lock.name)
def test_each_locked_package_has_a_hash(lock: Path):
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_packaging_fails_without_the_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("infrastructure.package.LOCK", tmp_path / "requirements-local.lock")
    with pytest.raises(PackageError, match=r"requirements-local\.lock is missing"):
        package("dev", tmp_path / "build")


def test_packaging_fails_if_a_library_has_another_hash_than_the_locked_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (project / ".chalice" / "deployments").unlink()  # The other copies keep their zips.
    package("dev", tmp_path / "build", project=project)  # Chalice now has the libraries in its cache.
    lock = tmp_path / "with a space.lock"
    lock.write_text(re.sub("sha256:.{6}", "sha256:000000", LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    monkeypatch.setattr("infrastructure.package.LOCK", lock)
    with pytest.raises(PackageError, match="Expected sha256 000000"):
        package("dev", tmp_path / "build", project=project)


def test_package_contains_the_locked_versions(packaged_stage: Callable[[str], Path]):
    files = zipfile.ZipFile(packaged_stage("prod").with_name(CODE)).namelist()
    folders = {file.partition("/")[0] for file in files if ".dist-info/" in file}
    packaged = dict(folder.removesuffix(".dist-info").split("-") for folder in folders)
    assert "aws_lambda_powertools" in packaged
    for name, version in packaged.items():
        assert LOCKED[canonicalize_name(name)].specifier.contains(version)
