"""The API tried by its own description: examples, limits, random requests valid and invalid, and sequences of them.

The seed is fixed, so that a run tomorrow is the run of today. To look further:
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
def api_for_anything(build: Path) -> Iterator[str]:
    """The routes on tables that no other test looks at."""
    with Emulator() as emulator:
        deploy(emulator, build)
        with ChaliceLocal(emulator) as running:
            yield running.url


def test_no_request_gets_an_answer_that_is_not_described(api_for_anything: str, tmp_path: Path):
    ran = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{api_for_anything}/openapi.json", "--url", api_for_anything),
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
