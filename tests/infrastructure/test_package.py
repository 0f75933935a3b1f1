"""infrastructure/package.py and template.py: what Chalice makes of the app, with what it lacks merged in."""

import contextlib
import fcntl
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib import tables
from infrastructure.chalice_config import ConfigError
from infrastructure.package import PackageError, _chalice, package, read

STAGES = ["local", "dev", "prod"]


@pytest.fixture(scope="module", params=STAGES)
def packaged(request: pytest.FixtureRequest, packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage(request.param)


@pytest.fixture(scope="module")
def template(packaged: Path) -> dict[str, Any]:
    return read(packaged)


@pytest.fixture(scope="module")
def event_source(template: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["Aggregate"]["Properties"]["Events"][
        "AggregateDynamodbEventSource"
    ]["Properties"]
    return properties


def test_cfn_lint_finds_nothing_in_it(packaged: Path):
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed; make test installs it")
    lint = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([lint, "--info", packaged], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_all_tables_are_in_it(template: dict[str, Any]):
    made = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::DynamoDB::Table"}
    assert made == set(tables.KEYS)


def test_every_function_is_told_the_tables_it_was_deployed_with(template: dict[str, Any]):
    told = dict(template["Globals"]["Function"]["Environment"]["Variables"])
    assert told.pop("STAGE") in STAGES
    assert told == {tables.variable(name): {"Ref": name} for name in tables.KEYS}
    names = {tables.variable(name): template["Resources"][name]["Properties"]["TableName"] for name in tables.KEYS}
    for each in template["Resources"].values():
        # A function's own variables come before those of all; a provisioned stage has them.
        own = each["Properties"].get("Environment", {}).get("Variables", {})
        assert names | own == own | names


def test_the_stream_handler_listens_to_the_tables_own_stream_as_the_app_asks(event_source: dict[str, Any]):
    assert event_source["Stream"] == {"Fn::GetAtt": ["OrdersTable", "StreamArn"]}
    assert event_source["BatchSize"] == 1000
    assert event_source["StartingPosition"] == "TRIM_HORIZON"
    assert event_source["MaximumBatchingWindowInSeconds"] == 0


def test_what_is_given_up_goes_to_a_queue_before_the_stream_forgets_it(
    template: dict[str, Any], event_source: dict[str, Any]
):
    assert 0 < event_source["MaximumRetryAttempts"] <= 10_000
    assert 60 <= event_source["MaximumRecordAgeInSeconds"] < 24 * 60 * 60
    destination = {"Type": "SQS", "Destination": {"Fn::GetAtt": ["FailureQueue", "Arn"]}}
    assert event_source["DestinationConfig"] == {"OnFailure": destination}
    queue = template["Resources"]["FailureQueue"]["Properties"]
    assert queue == {"MessageRetentionPeriod": 14 * 24 * 60 * 60, "SqsManagedSseEnabled": True}


def test_the_role_may_send_to_that_queue_and_nowhere_else_before_the_mapping_is_made(template: dict[str, Any]):
    policy = template["Resources"]["FailureQueuePolicy"]["Properties"]
    assert policy["Roles"] == [{"Ref": "DefaultRole"}]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["sqs:SendMessage"]
    assert statement["Resource"] == [{"Fn::GetAtt": ["FailureQueue", "Arn"]}]
    assert "FailureQueuePolicy" in template["Resources"]["Aggregate"]["DependsOn"]


def test_every_functions_log_expires(template: dict[str, Any]):
    functions = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    groups = [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::Logs::LogGroup"]
    assert {group["LogGroupName"]["Fn::Sub"] for group in groups} == {f"/aws/lambda/${{{name}}}" for name in functions}
    assert all(group["RetentionInDays"] > 0 for group in groups)


def test_two_processes_package_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Both would write the zip to the same file in .chalice/deployments/."""
    (tmp_path / ".chalice").mkdir()
    busy: list[bool] = []

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        with (tmp_path / ".chalice" / "deployments" / "lock").open() as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            busy.append(False)
            return subprocess.CompletedProcess([], 0, "", "")
        busy.append(True)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr("infrastructure.package.subprocess.run", run)
    _chalice(tmp_path, tmp_path / "constraints.txt", "package")
    assert busy == [True]


def test_the_code_is_the_app_and_its_two_libraries_without_boto3(packaged: Path):
    names = zipfile.ZipFile(packaged.with_name("deployment.zip")).namelist()
    assert {"app.py", "chalicelib/counting/ledger.py", "aws_lambda_powertools/logging/logger.py"} <= set(names)
    strangers = {"boto3", "botocore", "infrastructure", "localcloud", "tests", "tools"}
    assert not strangers & {name.partition("/")[0] for name in names}


def test_a_view_that_is_added_needs_no_other_edit(project: Path, tmp_path: Path):
    views = project / "chalicelib" / "views.py"
    added = """

@view("CustomerTable", key=("customer", "product"))
def customers(order: Order) -> tuple[tuple[str, ...], Increments] | None:
    return ("all", order.product), {"quantity": order.quantity}
"""
    views.write_text(views.read_text() + added)
    # In a process of its own: this one has the views of this checkout.
    code = "import sys; from pathlib import Path; from infrastructure.package import package; "
    code += f"package('dev', Path({str(tmp_path / 'build')!r}), project=Path({str(project)!r}))"
    import_path = f"{project}:{Path(__file__).parents[2]}"
    subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, env={"PYTHONPATH": import_path, "PATH": "/usr/bin:/bin"}
    )
    template = read(tmp_path / "build" / "sam.json")
    assert template["Resources"]["CustomerTable"]["Properties"]["TableName"] == "CustomerTable"
    assert template["Globals"]["Function"]["Environment"]["Variables"]["CUSTOMER_TABLE"] == {"Ref": "CustomerTable"}


def test_an_unknown_stage_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no stage porduction .*local, dev, prod"):
        package("porduction", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_what_chalice_says_of_a_broken_app_is_passed_on(project: Path, tmp_path: Path):
    (project / "app.py").write_text("raise RuntimeError('on purpose')")
    with pytest.raises(PackageError, match="on purpose"):
        package("dev", tmp_path / "build", project=project)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_configuration_is_said_to_be_one(project: Path, tmp_path: Path, text: str):
    (project / ".chalice" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        package("dev", tmp_path / "build", project=project)


def test_nothing_of_an_earlier_package_stays(tmp_path: Path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "old.json").write_text(json.dumps({}))
    package("dev", tmp_path / "build")
    assert {file.name for file in (tmp_path / "build").iterdir()} == {"sam.json", "deployment.zip"}
