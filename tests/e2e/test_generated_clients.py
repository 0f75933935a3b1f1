"""Tests that clients which common tools generate from the app's OpenAPI document compile and work."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib.api import openapi
from chalicelib.api.access import OPEN_TO_ALL, Access, Settings
from infrastructure.package import PROJECT
from tests.e2e.http import Api

# --- Python --------------------------------------------------------------------------------------


class PythonClient:
    """A client from openapi-python-client. It records which operations were called."""

    def __init__(self, name: str, folder: Path, url: str) -> None:
        self._name = name
        self._client = self._module("client").Client(base_url=url, timeout=60)
        self.operations = {file.stem for file in folder.glob("api/*/*.py")} - {"__init__"}
        self.called: set[str] = set()

    def model(self, name: str, **fields: Any) -> Any:
        return getattr(self._module("models"), name)(**fields)

    def __call__(self, operation: str, *arguments: Any, **more: Any) -> Any:
        """Call an operation and return its response. `parsed` has the body as a model."""
        self.called.add(operation.partition(".")[2])
        return self._module(f"api.{operation}").sync_detailed(*arguments, client=self._client, **more)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._name}.{name}")


@pytest.fixture
def python_client(api: Api, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PythonClient:
    """Generate a client from the document that the running app serves."""
    name = f"client_{unique}"
    document = tmp_path / "openapi.json"
    document.write_bytes(api.get("/openapi.json").body)
    binaries = Path(sys.executable).parent
    generated = subprocess.run(
        [
            *(binaries / "openapi-python-client", "generate", "--fail-on-warning", "--meta", "none"),
            *("--path", document, "--output-path", tmp_path / name),
        ],
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"},  # The generator runs ruff.
        capture_output=True,
        text=True,
        check=False,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    monkeypatch.syspath_prepend(tmp_path)
    return PythonClient(name, tmp_path / name, api.url)


def test_generated_python_client_can_call_every_operation(
    python_client: PythonClient, unique: str, eventually: Callable[..., Any]
):
    call, model = python_client, python_client.model
    order = model("NewOrder", product=unique, quantity=5, order_id=unique)
    placed = call("orders.place_order", body=order)
    assert (placed.status_code, placed.parsed.order_id, placed.parsed.quantity) == (201, unique, 5)
    assert call("orders.place_order", body=order).status_code == 200
    amended = call("orders.amend_order", unique, body=model("Amendment", product=unique, quantity=7))
    assert (amended.status_code, amended.parsed.quantity) == (200, 7)
    assert eventually(lambda: call("orders.show_order", unique).parsed.counted, True) is True

    for query in ({}, {"recent": 1}):
        listed = call("orders.list_orders", **query)
        assert (listed.status_code, bool(listed.parsed.orders)) == (200, True)
    total = call("totals.show_total", unique).parsed
    assert (total.product, total.total_quantity, total.order_count) == (unique, 7, 1)
    trend = call("totals.show_trend", unique).parsed
    assert (trend.total, len(trend.days)) == (7, 7)
    assert len(call("totals.show_trend", unique, days=2).parsed.days) == 2
    for query in ({}, {"limit": 1}, {"top": 2}):
        listed = call("totals.list_totals", **query)
        assert (listed.status_code, bool(listed.parsed.totals)) == (200, True)

    assert {view.view for view in call("views.list_views").parsed.views} == {"totals", "trend"}
    for query in ({}, {"limit": 1}, {"top": 2}):
        listed = call("views.list_rows", "totals", **query)
        assert (listed.status_code, bool(listed.parsed.rows)) == (200, True)
    (row,) = call("views.list_partition", "trend", unique).parsed.rows
    assert (row.total, call("views.show_row", "trend", unique, row.day).parsed.day) == (7, row.day)

    assert call("audit.show_audit").status_code == 200
    assert call("audit.request_audit").status_code == 202

    assert call("about.show_dashboard").parsed.startswith("<!doctype html>")
    assert call("about.show_docs").parsed.startswith("<!doctype html>")
    assert call("about.show_description").parsed["openapi"] == "3.1.0"
    assert call("orders.cancel_order", unique).status_code == 204
    gone = call("orders.show_order", unique)
    assert (gone.status_code, gone.parsed.code) == (404, "NotFoundError")
    assert python_client.called == python_client.operations


# --- Node ----------------------------------------------------------------------------------------

NODE_PACKAGES = ("@redocly/cli@2.77.0", "openapi-typescript@7.13.0", "typescript@5.9.3")
NODE_FOLDER = PROJECT / "build" / "node"
NPM_OPTIONS = ("--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
INSTALL_SECONDS = 200  # The tool must end before pytest's time limit for a test.
STAGES = {"open": OPEN_TO_ALL, "protected": Settings(Access.IAM, Access.KEY)}


@pytest.fixture(scope="module")
def node() -> Callable[..., None]:
    """Return a function that runs a Node tool and raises if the tool fails. Skip the test if npm cannot install it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = NODE_FOLDER / "-".join(package.rpartition("@")[2] for package in NODE_PACKAGES)
    ready = folder / "ready"
    if not ready.exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(folder), *NPM_OPTIONS, *NODE_PACKAGES]
        try:
            subprocess.run(install, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not install {', '.join(NODE_PACKAGES)} within {INSTALL_SECONDS} s")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"npm could not install {', '.join(NODE_PACKAGES)}: {error.stderr.strip()[:300]}")
        ready.touch()

    def run(tool: str, *arguments: str | Path) -> None:
        command = [folder / "node_modules" / ".bin" / tool, *arguments]
        environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture(params=STAGES)
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write the OpenAPI document of an open stage or of a protected stage to a file."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(openapi.document("/api", STAGES[request.param])), encoding="utf-8")
    return file


def test_redocly_reports_no_error(node: Callable[..., None], document: Path):
    node("redocly", "lint", "--extends", "recommended", document)


def test_generated_typescript_compiles(node: Callable[..., None], document: Path):
    node("openapi-typescript", document, "--output", document.with_suffix(".ts"))
    node("tsc", "--noEmit", "--strict", document.with_suffix(".ts"))
