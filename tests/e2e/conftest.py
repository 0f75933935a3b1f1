"""Fixtures for end-to-end tests: an emulator that enforces IAM, the packaged app deployed to it, and `chalice local`.

All tests share them. So each test uses its own products and order ids (`unique`), and undoes changes to the stack. A
test that needs its own emulator or deployment creates it with localcloud's classes, like these fixtures.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import package
from localcloud.chalice_local import ChaliceLocal
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.e2e.http import Api

STAGE = "local"


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the packaged app, with sam.json and deployment.zip."""
    folder = tmp_path_factory.mktemp("build")
    package(STAGE, folder)
    return folder


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Run an emulator. Its `client` method returns the root user's clients."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def stack(emulator: Emulator, build: Path) -> Stack:
    """Deploy the packaged app to the emulator."""
    return deploy(emulator, build)


@pytest.fixture(scope="session")
def chalice_local(emulator: Emulator, stack: Stack) -> Iterator[ChaliceLocal]:
    """Run `chalice local` on the stack's tables."""
    with ChaliceLocal(emulator, stage=STAGE) as running:
        yield running


@pytest.fixture(scope="session")
def api_url(stack: Stack) -> str:
    """Return API Gateway's URL, without a trailing slash."""
    return stack.api_url


@pytest.fixture(scope="session")
def local_api_url(chalice_local: ChaliceLocal) -> str:
    """Return the URL of `chalice local`, without a trailing slash."""
    return chalice_local.url


@pytest.fixture(scope="session", params=["deployed", "chalice local"])
def api(request: pytest.FixtureRequest) -> Api:
    """Return the API. A test with this fixture runs twice: on the deployed app and on `chalice local`."""
    name = "api_url" if request.param == "deployed" else "local_api_url"
    return Api(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def dynamodb(emulator: Emulator, stack: Stack) -> Any:
    """Return the root user's DynamoDB client."""
    return emulator.client("dynamodb")


@pytest.fixture
def unique() -> str:
    """Return a unique text for a test's products and order ids."""
    return uuid.uuid4().hex[:12]


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Return a function that polls: `eventually(read, expected)` calls `read()` until it returns `expected`.

    It returns the last value that it read, so a test must compare that value with `expected`.
    """

    def poll(read: Callable[[], Any], expected: Any, seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while (value := read()) != expected and time.monotonic() < end:
            time.sleep(0.05)
        return value

    return poll
