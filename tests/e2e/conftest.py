"""The real parts for end-to-end tests: one emulator with IAM enforced, the packaged app in it, `chalice local`.

They live for the whole run and are shared: a test takes products and order ids of its own (`unique`), and
undoes what it changes in the stack. One that needs an emulator, a package or a deployment of its own makes it
with localcloud's classes, as these fixtures do.
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
    """The packaged app: a folder with sam.json and deployment.zip."""
    folder = tmp_path_factory.mktemp("build")
    package(STAGE, folder)
    return folder


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """A running emulator; `.client("dynamodb")` is root's client."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def stack(emulator: Emulator, build: Path) -> Stack:
    """The app, deployed with the generated policy: .functions, .tables, .invoke(), .log_entries()."""
    return deploy(emulator, build)


@pytest.fixture(scope="session")
def chalice_local(emulator: Emulator, stack: Stack) -> Iterator[ChaliceLocal]:
    """A running `chalice local` on the stack's tables."""
    with ChaliceLocal(emulator, stage=STAGE) as running:
        yield running


@pytest.fixture(scope="session")
def api_url(stack: Stack) -> str:
    """The API Gateway URL, without a slash at its end."""
    return stack.api_url


@pytest.fixture(scope="session")
def local_api_url(chalice_local: ChaliceLocal) -> str:
    """The URL of `chalice local`, without a slash at its end."""
    return chalice_local.url


@pytest.fixture(scope="session", params=["deployed", "chalice local"])
def api(request: pytest.FixtureRequest) -> Api:
    """The routes, once as deployed and once under `chalice local`: a test that takes this runs twice."""
    name = "api_url" if request.param == "deployed" else "local_api_url"
    return Api(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def dynamodb(emulator: Emulator, stack: Stack) -> Any:
    """Root's DynamoDB client, on the stack's tables."""
    return emulator.client("dynamodb")


@pytest.fixture
def unique() -> str:
    """A text that no other test uses, for products and order ids."""
    return uuid.uuid4().hex[:12]


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`eventually(ask, wanted)` asks until the answer is the wanted one, or until that is in vain, and returns it."""

    def ask_until(ask: Callable[[], Any], wanted: Any, seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while (answer := ask()) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        return answer

    return ask_until
