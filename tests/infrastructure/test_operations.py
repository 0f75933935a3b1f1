"""Tests for operations/: commands name a missing AWS setting, and `make audit` says what to do next."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from infrastructure.local_stage import HOST
from infrastructure.package import PROJECT
from localcloud.servers import free_port
from operations import audit, backfill, stages

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
    ("variables", "message"),
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
def test_missing_aws_setting_is_named(job: str, variables: dict[str, str], message: str):
    assert run(job, "--stage", "dev", **variables) == message


@pytest.mark.parametrize("job", ["audit", "backfill"])
def test_message_says_to_start_make_local_if_it_is_not_running(job: str):
    port = free_port()
    output = run(job, "--stage", "local", "--aws-port", str(port))
    advice = "Start `make local` first, or pass the port of a running one: AWS_PORT=..."
    assert output == f"Cannot connect to http://{HOST}:{port}. {advice}\n"


def test_noun_is_singular_or_plural():
    assert [audit.with_noun(count, "product") for count in (1, 2, 5000)] == [
        "1 product",
        "2 products",
        "5,000 products",
    ]


@pytest.mark.parametrize(
    ("verdict", "repair", "stream_was_behind", "in_flight", "held", "advice"),
    [
        ("clean", True, False, 0, 0, "clean"),
        ("unproven", False, False, 1, 0, "in flight"),
        ("unproven", False, False, 0, 0, "moving"),
        ("drifted", False, True, 1, 1, "drifted"),
        ("drifted", True, True, 1, 1, "stream behind"),
        ("drifted", True, False, 1, 1, "held"),
        ("drifted", True, False, 0, 0, "not repaired"),
    ],
)
def test_audit_says_what_to_do_next(
    verdict: str, repair: bool, stream_was_behind: bool, in_flight: int, held: int, advice: str
):
    result = {
        "verdict": verdict,
        "driftedProducts": int(verdict == "drifted"),
        "incompleteViews": [],
        "streamWasBehind": stream_was_behind,
        "orders": {"inFlight": in_flight},
        "counters": {"held": held, "unverified": 1},
    }
    assert audit.verdict(result, repair).endswith(audit.ADVICE[advice])


def test_audit_names_incomplete_views_with_the_advice_to_run_a_backfill():
    counts = dict.fromkeys(("checked", "missing", "differing", "orphaned", "unreadable", "inFlight", "repaired"), 0)
    more = {"uncountable": 0, "drifted": 0, "held": 0, "unverified": 0, "findings": []}
    result = {
        "verdict": "drifted", "driftedProducts": 1, "incompleteViews": ["trend"], "streamWasBehind": False,
        "orders": counts | more, "counters": counts | more,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=120)
    audit.show(console, result, repair=False)
    assert "Incomplete views: trend. Run make backfill" in console.file.getvalue()  # type: ignore[attr-defined]


# --- Backfill ------------------------------------------------------------------------------------


class Job:
    """A deployed backfill that returns this result."""

    def __init__(self, **result: Any) -> None:
        none = dict.fromkeys(("orders", "changed", "rejected", "uncountable", "viewProblems", "requests"), 0)
        self.result = {"done": True, **none, "uncountableOrders": {}, "viewProblemOrders": {}, **result}

    def invoke(self, _request: dict[str, Any]) -> dict[str, Any]:
        return self.result


@pytest.mark.parametrize(
    ("result", "lines", "status"),
    [
        ({}, [], 0),
        (
            {"uncountable": 1, "uncountableOrders": {"o1": "Its counter is a text."}},
            ["o1 cannot be counted: Its counter is a text."],
            2,
        ),
        (
            {"viewProblems": 1_200, "viewProblemOrders": {"o1": {"trend": "raises KeyError"}}},
            [
                "o1 is not in the view trend, which raises KeyError",
                "Views failed for 1,200 orders. Fix the views, deploy, and run the backfill again.",
            ],
            2,
        ),
    ],
    ids=["all counted", "uncountable", "view failed"],
)
def test_backfill_prints_orders_that_are_not_counted_and_fails(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result: dict[str, Any],
    lines: list[str],
    status: int,
):
    monkeypatch.setenv("COLUMNS", "200")
    stage = SimpleNamespace(function=lambda _name: Job(**result), item_count=lambda *_: 0)
    monkeypatch.setattr(stages, "from_options", lambda _options: stage)
    assert backfill.main(["--stage", "dev"]) == status
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith(("o1", "Views"))] == lines
