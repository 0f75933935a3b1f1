"""Run the tests that schemathesis generates from the API's description: examples, limits, random requests, sequences.

The seed is fixed, so every run is the same. To search further:
`make test TESTS=tests/e2e/test_schemathesis.py SCHEMATHESIS='--max-examples 500 --seed 2'`.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator
from localcloud.servers import clean_environment
from localcloud.stack import deploy

HERE = Path(__file__).parent
BOUNDS = ["--max-examples", "20", "--seed", "1"]


@pytest.fixture(scope="module")
def separate_api_url(build: Path) -> Iterator[str]:
    """Serve the routes with tables that no other test uses. Return the URL."""
    with Emulator() as emulator:
        deploy(emulator, build)
        with ChaliceLocal(emulator) as running:
            yield running.url


def test_every_response_conforms_to_the_description(separate_api_url: str, tmp_path: Path):
    ran = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{separate_api_url}/openapi.json", "--url", separate_api_url),
            *("--no-color", *BOUNDS, *shlex.split(os.environ.get("SCHEMATHESIS", ""))),
        ],
        cwd=tmp_path,
        env={**clean_environment(), "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks", "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅  {phase}" in ran.stdout, ran.stdout
