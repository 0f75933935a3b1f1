"""Tests in small virtualenvs: Chalice's own commands work, and requirements-local.lock is enough to run the app."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infrastructure.local_stage import HOST, root_environment
from infrastructure.package import LOCK, PROJECT
from localcloud.emulator import Emulator
from localcloud.servers import Server, clean_environment, free_port, responds
from localcloud.stack import Stack
from tests.e2e.http import Api
from tests.environments import environment, pins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # Installing takes 30 s, the tests 2 minutes.

# Environment variables without any AWS settings.
BARE = {"PATH": os.environ["PATH"], "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
BARE |= {"AWS_EC2_METADATA_DISABLED": "true"}
REGION = {"AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of a virtualenv with requirements.txt, chalice, boto3, pytest and moto."""
    constraints = tmp_path_factory.mktemp("plain") / "constraints.txt"
    constraints.write_text("\n".join(pins(PROJECT / "requirements-dev.lock")))
    requirements = str(PROJECT / "requirements.txt")
    return environment("plain", "-r", requirements, "-c", str(constraints), "chalice", "boto3", "pytest", "moto")


@pytest.fixture(scope="module")
def local_lock() -> Path:
    """Return the bin folder of a virtualenv with the packages of requirements-local.lock."""
    return environment("local_lock", "-r", str(LOCK))


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / command[0]), *command[1:]],
        cwd=PROJECT,
        env={**BARE, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# --- Chalice's own commands ----------------------------------------------------------------------


def test_plain_pytest_passes_and_names_the_tests_it_did_not_run(plain: Path):
    ran = run(plain, "pytest", "-q", "-p", "no:cacheprovider")
    assert ran.returncode == 0, ran.stdout[-5000:]
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("Not run, because ")
    assert "tests/e2e" in last
    assert last.endswith("To run all tests: make test")


@contextmanager
def plain_chalice_local(plain: Path, **variables: str) -> Iterator[tuple[Api, Server]]:
    port = free_port()
    command = [str(plain / "chalice"), "local", "--port", str(port), "--no-autoreload"]
    with Server("plain-chalice", port, command, {**BARE, **variables}, PROJECT) as server:
        server.wait_until_up(f"http://{HOST}:{port}/openapi.json")
        yield Api(f"http://{HOST}:{port}"), server


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "No AWS region is set. Run `make local`, or set AWS_DEFAULT_REGION."),
        (REGION, "No AWS credentials are set. Run `make local`, or log in to AWS."),
    ],
    ids=["no region", "no credentials"],
)
def test_plain_chalice_local_names_the_missing_aws_setting(plain: Path, variables: Mapping[str, str], problem: str):
    with plain_chalice_local(plain, **variables) as (api, server):
        responses = [api.get("/totals/Notebook"), api.post("/orders", {"product": "Notebook", "quantity": 1})]
        assert [(response.status, response.json["Message"]) for response in responses] == [(503, problem)] * 2
        assert api.get("/").status == 200
        logged = "\n".join(server.new_output())
    assert logged.count(problem) == 2
    assert "Traceback" not in logged


def test_plain_chalice_local_names_a_missing_table_and_the_command_to_create_it(plain: Path):
    with Emulator() as empty, plain_chalice_local(plain, **root_environment(empty.endpoint_url)) as (api, server):
        response = api.post("/orders", {"product": "Notebook", "quantity": 1})
        problem = "There is no table OrdersTable in us-east-1. Run `make local`, or `make provision STAGE=dev`."
        assert (response.status, response.json["Message"]) == (503, problem)
        logged = "\n".join(server.new_output())
    assert problem in logged
    assert "Traceback" not in logged


def test_plain_chalice_local_works_with_a_running_emulator(
    plain: Path, emulator: Emulator, stack: Stack, unique: str, eventually: Callable[..., Any]
):
    with plain_chalice_local(plain, **root_environment(emulator.endpoint_url)) as (api, _):
        assert api.post("/orders", {"product": unique, "quantity": 5}).status == 201
        assert eventually(lambda: api.get(f"/totals/{unique}").json.get("totalQuantity"), 5) == 5


def test_plain_chalice_gen_policy_needs_no_aws_settings(plain: Path):
    generated = run(plain, "chalice", "gen-policy")
    assert generated.returncode == 0
    assert "dynamodb:PutItem" in generated.stdout


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_plain_chalice_deploy_says_to_provision_first(plain: Path, stage: str):
    ran = run(plain, "chalice", "deploy", "--stage", stage, **REGION)
    assert ran.returncode == 1
    assert ran.stdout == f"Stage {stage} has no tables yet. Run `make provision STAGE={stage}` first.\n"


def test_plain_chalice_package_needs_no_tables(plain: Path, tmp_path: Path):
    packaged = run(plain, "chalice", "package", str(tmp_path / "deploy"), **REGION)
    assert packaged.returncode == 0, packaged.stdout
    assert (tmp_path / "deploy" / "deployment.zip").exists()


# --- requirements-local.lock ---------------------------------------------------------------------


def test_local_lock_is_enough_to_run_the_app_its_jobs_and_packaging(local_lock: Path, tmp_path: Path):
    http_port, aws_port = free_port(), free_port()
    ports = {"HTTP_PORT": str(http_port), "AWS_PORT": str(aws_port)}
    command = [str(local_lock / "python"), "-m", "localcloud"]
    with Server("make-local", http_port, command, {**clean_environment(), **ports}, PROJECT) as server:
        end = time.monotonic() + 120
        while server.running and not responds(f"http://{HOST}:{http_port}/totals") and time.monotonic() < end:
            time.sleep(0.1)
        assert Api(f"http://{HOST}:{http_port}").get("/totals").status == 200, server.last_output()
        for job in ("backfill", "audit"):
            done = run(local_lock, "python", "-m", f"operations.{job}", "--stage", "local", "--aws-port", str(aws_port))
            assert done.returncode == 0, done.stdout
    package = ("python", "-m", "infrastructure.package", "--stage", "dev", "--folder", str(tmp_path / "build"))
    assert run(local_lock, *package).returncode == 0
    assert run(local_lock, "python", "-m", "infrastructure.provision", "--help").returncode == 0


def test_local_lock_installs_at_most_160_megabytes(local_lock: Path):
    size = sum(
        file.lstat().st_size for file in local_lock.parent.rglob("*") if file.is_file() and not file.is_symlink()
    )
    assert size < 160 * 1024**2
