"""Run the app with another model: copy the project, and send requests to the copy on moto in a separate process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infrastructure.package import PROJECT
from tests.projects import copy_source

# A program that reads lines of [method, path, body] and prints [status, body] for each. Besides the HTTP methods there
# are four more: ITEM writes to OrdersTable, COUNT delivers a record of an order's item or its deletion, JOB invokes a
# function, and TABLE returns a table's items. The time is always 2026-11-23T18:13:05Z; only the milliseconds change.
PLAYER = """
import itertools, json, sys, time
from functools import partial
ticks = itertools.count()
time.time, time.time_ns = lambda: 1795457585, lambda: 1795457585 * 10**9 + next(ticks) * 10**6
import boto3
import chalice.test
from moto import mock_aws
from chalicelib.jobs.audit import counter_audit, entry_audit
from tests.integration.conftest import not_behind
from tests.streams import Stream
from infrastructure import tables

chalice.test.LambdaContext = partial(chalice.test.LambdaContext, max_runtime_ms=900_000)
counter_audit.PAUSE_SECONDS, entry_audit.EntryAudit._is_stream_behind = 0, not_behind
stream = Stream()


def play(method, path, body):
    if method == "ITEM":
        dynamodb.put_item(TableName="OrdersTable", Item=body)
        return 200, ""
    if method == "COUNT":
        item = dynamodb.get_item(TableName="OrdersTable", Key={"OrderID": {"S": path}}).get("Item")
        client.lambda_.invoke("aggregate", {"Records": [stream.put(item) if item else stream.remove(path)]})
        return 200, json.dumps(item)
    if method == "JOB":
        return 200, json.dumps(client.lambda_.invoke(path, body).payload)
    if method == "TABLE":
        return 200, json.dumps(dynamodb.scan(TableName=path)["Items"])
    headers = {"Content-Type": "application/json"}
    response = client.http.request(method, path, headers=headers, body=(body or "").encode())
    return response.status_code, response.body.decode()


with mock_aws():
    dynamodb = boto3.client("dynamodb")
    for table in tables.all_tables("local"):
        dynamodb.create_table(**tables.create_parameters(table))
    import app
    app.dynamodb = dynamodb
    with chalice.test.Client(app.app, stage_name="local", project_dir=".") as client:
        for line in sys.stdin:
            print("RESULT " + json.dumps(play(*json.loads(line))))
"""

Step = tuple[str, str, Any]


class Result(NamedTuple):
    """The result of one step: the status and the body."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text, parse_float=not_exact)


def not_exact(digits: str) -> None:
    raise AssertionError(f"{digits} is a JSON number with a decimal point, which most parsers read as a float")


def copy_with_model(folder: Path, model: str) -> Path:
    """Copy the project into a folder with another model, and return the folder."""
    project = copy_source(folder)
    (project / "chalicelib" / "model.py").write_text(model, encoding="utf-8")
    return project


def play(project: Path, steps: Mapping[str, Step]) -> dict[str, Result]:
    """Run all steps in a copied project's app, and return the results by step."""
    played = subprocess.run(
        [sys.executable, "-c", PLAYER],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(project), str(PROJECT)))},
        input="\n".join(map(json.dumps, steps.values())),
        capture_output=True,
        text=True,
    )
    assert played.returncode == 0, played.stderr
    lines = [line.removeprefix("RESULT ") for line in played.stdout.splitlines() if line.startswith("RESULT ")]
    return {step: Result(*json.loads(line)) for step, line in zip(steps, lines, strict=True)}
