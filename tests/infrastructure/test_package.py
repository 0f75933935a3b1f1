"""Tests for infrastructure/package.py and template.py: the packaged template, with the project's additions."""

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

from chalicelib import client, tables
from infrastructure import template as template_module
from infrastructure.chalice_config import ConfigError
from infrastructure.package import PROJECT, PackageError, _chalice, main, package, read_template
from tests.sam import of_type, translated

DEMO = PROJECT / "localcloud" / "demo"
STAGES = ["local", "dev", "prod"]


@pytest.fixture(scope="module", params=STAGES)
def packaged(request: pytest.FixtureRequest, packaged_stage: Callable[[str], Path]) -> Path:
    return packaged_stage(request.param)


@pytest.fixture(scope="module")
def template(packaged: Path) -> dict[str, Any]:
    return read_template(packaged)


@pytest.fixture(scope="module")
def deployed(packaged: Path) -> dict[str, Any]:
    """Return the template after SAM's transformation, as CloudFormation deploys it."""
    return translated(packaged)


@pytest.fixture(scope="module")
def event_source(template: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"]["Aggregate"]["Properties"]["Events"][
        "AggregateDynamodbEventSource"
    ]["Properties"]
    return properties


def test_cfn_lint_reports_nothing(packaged: Path):
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed; make test installs it")
    lint = Path(sys.executable).with_name("cfn-lint")
    found = subprocess.run([lint, "--info", packaged], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_template_has_all_tables(template: dict[str, Any]):
    made = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::DynamoDB::Table"}
    assert made == set(tables.KEYS)


def test_handler_of_make_demo_is_never_packaged(packaged: Path):
    demo = json.loads((DEMO / "plain_add.json").read_text(encoding="utf-8"))
    assert read_template(packaged)["Resources"].keys().isdisjoint(demo)
    with zipfile.ZipFile(packaged.with_name("deployment.zip")) as code:
        assert not [name for name in code.namelist() if "plain_add" in name]


def test_every_function_gets_the_deployed_table_names(template: dict[str, Any]):
    variables = dict(template["Globals"]["Function"]["Environment"]["Variables"])
    assert variables.pop("STAGE") in STAGES
    assert variables == {tables.variable(name): {"Ref": name} for name in tables.KEYS}
    names = {tables.variable(name): template["Resources"][name]["Properties"]["TableName"] for name in tables.KEYS}
    for each in template["Resources"].values():
        # A provisioned stage sets variables for each function. They override the global ones.
        own = each["Properties"].get("Environment", {}).get("Variables", {})
        assert names | own == own | names


def test_api_has_one_stage(deployed: dict[str, Any]):
    """For an API without a version, SAM would add a second stage, which has no throttling."""
    (stage,) = of_type(deployed, "AWS::ApiGateway::Stage").values()
    (deployment,) = of_type(deployed, "AWS::ApiGateway::Deployment").values()
    assert stage["StageName"] == "api"
    assert "StageName" not in deployment


def test_stream_handler_reads_the_orders_stream_with_the_apps_settings(event_source: dict[str, Any]):
    assert event_source["Stream"] == {"Fn::GetAtt": ["OrdersTable", "StreamArn"]}
    assert event_source["BatchSize"] == 1000
    assert event_source["StartingPosition"] == "TRIM_HORIZON"
    assert event_source["MaximumBatchingWindowInSeconds"] == {"Ref": "BatchingWindowSeconds"}
    assert event_source["MetricsConfig"] == {"Metrics": ["EventCount"]}


@pytest.mark.parametrize(("stage", "seconds"), [("local", "0"), ("dev", "0"), ("prod", "1"), ("some-customer", "1")])
def test_stages_in_use_gather_orders_for_a_second(stage: str, seconds: str):
    assert template_module.parameters(stage)["BatchingWindowSeconds"]["Default"] == seconds


def test_tables_and_the_stream_handler_have_ceilings(deployed: dict[str, Any]):
    for table in of_type(deployed, "AWS::DynamoDB::Table").values():
        ceilings = {"MaxReadRequestUnits": "TableReadUnits", "MaxWriteRequestUnits": "TableWriteUnits"}
        assert table["OnDemandThroughput"] == {name: {"Ref": parameter} for name, parameter in ceilings.items()}
    reserved = of_type(deployed, "AWS::Lambda::Function")["Aggregate"]["ReservedConcurrentExecutions"]
    assert reserved["Fn::If"] == ["ReserveConcurrency", {"Ref": "StreamConcurrency"}, {"Ref": "AWS::NoValue"}]
    assert deployed["Parameters"]["StreamConcurrency"]["Default"] == "0"


def test_failed_batch_is_kept_in_a_private_bucket_before_its_stream_records_expire(deployed: dict[str, Any]):
    mapping = of_type(deployed, "AWS::Lambda::EventSourceMapping")["AggregateAggregateDynamodbEventSource"]
    assert mapping["MaximumRetryAttempts"] == -1  # Only the age of the records limits the retries.
    assert 60 <= mapping["MaximumRecordAgeInSeconds"] < 24 * 60 * 60
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": {"Fn::GetAtt": ["FailedBatches", "Arn"]}}}
    bucket = of_type(deployed, "AWS::S3::Bucket")["FailedBatches"]
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert all(bucket["PublicAccessBlockConfiguration"].values())


def test_only_the_stream_handlers_role_may_write_to_the_bucket(deployed: dict[str, Any]):
    for name, role in of_type(deployed, "AWS::IAM::Role").items():
        (policy,) = role["Policies"]
        granted = {
            action: each["Resource"]
            for each in policy["PolicyDocument"]["Statement"]
            for action in each["Action"]
            if action.startswith("s3:")
        }
        keeps = {
            "s3:ListBucket": [{"Fn::GetAtt": ["FailedBatches", "Arn"]}],
            "s3:PutObject": [{"Fn::Sub": "${FailedBatches.Arn}/*"}],
        }
        assert granted == (keeps if name == "AggregateRole" else {})


def test_every_functions_log_group_exists_first_and_expires(deployed: dict[str, Any]):
    """If a function ran before its log group exists, it would create the group, and the deployment would fail."""
    groups = of_type(deployed, "AWS::Logs::LogGroup")
    functions = of_type(deployed, "AWS::Lambda::Function")
    assert groups.keys() == {f"{name}LogGroup" for name in functions}
    for name, function in functions.items():
        assert function["LoggingConfig"] == {"LogGroup": {"Ref": f"{name}LogGroup"}}
        group = groups[f"{name}LogGroup"]
        assert group["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{name}"}
        assert group["RetentionInDays"] > 0


def test_functions_run_on_the_chosen_python_and_processor(deployed: dict[str, Any]):
    for function in of_type(deployed, "AWS::Lambda::Function").values():
        assert (function["Runtime"], function["Architectures"]) == (template_module.RUNTIME, ["arm64"])


def test_packaging_fails_if_a_library_is_compiled(project: Path, tmp_path: Path):
    """Compiled code may not run on Lambda, whose Python and processor may differ from this machine's."""
    (project / ".chalice" / "deployments").unlink()  # The other copies keep their zips.
    (project / "vendor").mkdir()
    (project / "vendor" / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    with pytest.raises(PackageError, match=r"compiled code \(fast\.cpython-311-x86_64-linux-gnu\.so\)"):
        package("dev", tmp_path / "build", project=project)


def test_api_times_out_before_api_gateway_if_dynamodb_hangs(deployed: dict[str, Any]):
    """API Gateway times out after 29 seconds. A route makes at most two DynamoDB requests, one after the other."""
    functions = of_type(deployed, "AWS::Lambda::Function")
    longest = {}
    for name, function in functions.items():
        config = vars(client.config(function["Environment"]["Variables"]))
        tries = config["retries"]["total_max_attempts"]
        backoff = sum(2**number for number in range(tries - 1))  # The longest backoff in botocore's standard mode.
        longest[name] = tries * config["read_timeout"] + backoff
    assert 2 * longest["APIHandler"] < 20
    assert longest["Aggregate"] > longest["APIHandler"]


def test_processes_package_one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Two concurrent processes would write their zips to the same file in .chalice/deployments/."""
    (tmp_path / ".chalice").mkdir()
    locked: list[bool] = []

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        with (tmp_path / ".chalice" / "deployments" / "lock").open() as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked.append(False)
            return subprocess.CompletedProcess([], 0, "", "")
        locked.append(True)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr("infrastructure.package.subprocess.run", run)
    _chalice(tmp_path, "package")
    assert locked == [True]


def test_code_has_the_app_and_its_two_libraries_but_not_boto3(packaged: Path):
    names = zipfile.ZipFile(packaged.with_name("deployment.zip")).namelist()
    assert {"app.py", "chalicelib/counting/ledger.py", "aws_lambda_powertools/logging/logger.py"} <= set(names)
    unwanted = {"boto3", "botocore", "infrastructure", "localcloud", "tests", "tools"}
    assert not unwanted & {name.partition("/")[0] for name in names}


def test_new_view_needs_no_other_edit(project: Path, tmp_path: Path):
    model = project / "chalicelib" / "model.py"
    added = """

@view("CustomerTable", key=("customer", "product"), amounts=("quantity",), keep=Keep(90, "product"))
def customers(order: Order) -> Row:
    return Row(("all", order.product), {"quantity": order.quantity})
"""
    model.write_text(model.read_text().replace("import Row", "import Keep, Row") + added)
    # Use a new process, because this one has already imported the views of the real model.
    code = "import sys; from pathlib import Path; from infrastructure.package import package; "
    code += f"package('dev', Path({str(tmp_path / 'build')!r}), project=Path({str(project)!r}))"
    import_path = f"{project}:{Path(__file__).parents[2]}"
    subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, env={"PYTHONPATH": import_path, "PATH": "/usr/bin:/bin"}
    )
    template = read_template(tmp_path / "build" / "sam.json")
    table = template["Resources"]["CustomerTable"]["Properties"]
    assert table["TableName"] == "CustomerTable"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert template["Globals"]["Function"]["Environment"]["Variables"]["CUSTOMER_TABLE"] == {"Ref": "CustomerTable"}


def test_unknown_stage_is_refused_and_known_stages_are_listed(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no stage porduction .*local, dev, prod"):
        package("porduction", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_error_message_contains_the_output_of_chalice(project: Path, tmp_path: Path):
    (project / "app.py").write_text("raise RuntimeError('on purpose')")
    with pytest.raises(PackageError, match="on purpose"):
        package("dev", tmp_path / "build", project=project)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_broken_configuration_file_is_named(project: Path, tmp_path: Path, text: str):
    (project / ".chalice" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        package("dev", tmp_path / "build", project=project)


def test_printed_commands_upload_the_template_and_tag_all_resources(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """CloudFormation rejects a template of more than 51,200 bytes unless it is uploaded to a bucket."""
    main(["--stage", "dev", "--folder", str(tmp_path / "build")])
    package_command, deploy_command = capsys.readouterr().out.split("aws cloudformation ")[1:]
    assert "--s3-bucket" in package_command
    assert "--s3-bucket" in deploy_command
    assert "--tags app=order-totals stage=dev" in deploy_command


def test_files_of_an_earlier_package_are_removed(tmp_path: Path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "old.json").write_text(json.dumps({}))
    package("dev", tmp_path / "build")
    assert {file.name for file in (tmp_path / "build").iterdir()} == {"sam.json", "deployment.zip"}
