"""Fixtures that run the app in this process on moto's tables: fast, but without concurrency and IAM."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalice.local import LambdaContext
from chalice.test import Client
from moto import mock_aws

from chalicelib import stream_lag
from infrastructure import tables

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """Return one boto3 session for all tests, because loading DynamoDB's service model is slow."""
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


@pytest.fixture
def dynamodb(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a client for moto's DynamoDB with the tables of the stage `local`."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = session.client("dynamodb")
        for table in tables.all_tables("local"):
            client.create_table(**tables.create_parameters(table))
        yield client


@pytest.fixture
def shell(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return app.py in the state of a new container. It sends its requests to `dynamodb`."""
    import app

    monkeypatch.setattr(app, "dynamodb", dynamodb)
    monkeypatch.setattr(app, "lag_reporter", stream_lag.Reporter())
    return app


@pytest.fixture
def quick_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make audits skip their pauses and treat the stream as caught up, although the tests' records are old."""
    monkeypatch.setattr("chalicelib.jobs.audit.counter_audit.PAUSE_SECONDS", 0)
    monkeypatch.setattr("chalicelib.jobs.audit.entry_audit.EntryAudit._is_stream_behind", not_behind)


def not_behind(entry_audit: Any, now: int) -> Any:
    yield from ()
    return False


@pytest.fixture
def client(shell: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Yield Chalice's test client for the app. Invocations may take 15 minutes instead of Chalice's 3 seconds."""
    monkeypatch.setattr("chalice.test.LambdaContext", partial(LambdaContext, max_runtime_ms=900_000))
    with Client(shell.app, stage_name="local", project_dir=str(PROJECT)) as client:
        yield client
