"""make audit and make backfill on a machine that lacks something: one sentence that says what to do."""

import os
import subprocess
import sys

import pytest

from infrastructure.package import PROJECT
from localcloud.servers import HOST, free_port
from operations import audit

NO_SETTINGS = {
    "PATH": os.environ["PATH"],
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "COLUMNS": "200",
}
REGION = {"AWS_REGION": "us-east-1"}


def run(job: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, "-m", f"operations.{job}", *arguments]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**NO_SETTINGS, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 2
    return done.stdout


@pytest.mark.parametrize("job", ["audit", "backfill"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "No AWS region is set. Set AWS_REGION, or run `aws configure`.\n"),
        (REGION, "No AWS credentials are set. Log in to AWS, or set AWS_PROFILE.\n"),
        (
            {**REGION, "AWS_PROFILE": "none"},
            "The config profile (none) could not be found. Set AWS_PROFILE to one that exists.\n",
        ),
    ],
    ids=["no region", "no credentials", "no such profile"],
)
def test_a_missing_aws_setting_is_named(job: str, variables: dict[str, str], said: str):
    assert run(job, "--stage", "dev", **variables) == said


@pytest.mark.parametrize("job", ["audit", "backfill"])
def test_without_make_local_it_says_to_start_it(job: str):
    port = free_port()
    said = run(job, "--stage", "local", "--aws-port", str(port))
    todo = "Start `make local` first, or pass the port of a running one: AWS_PORT=..."
    assert said == f"Nothing answers at http://{HOST}:{port}. {todo}\n"


def test_products_are_counted_in_the_singular_and_the_plural():
    assert [audit.counted(count, "product") for count in (1, 2, 5000)] == ["1 product", "2 products", "5,000 products"]
