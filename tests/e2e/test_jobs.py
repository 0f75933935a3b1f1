"""The deployed jobs with the generated policy: from the shell, beside live traffic, after an outage, on schedule."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.local_stage import root_environment
from localcloud.emulator import Emulator
from localcloud.servers import PROJECT, clean_environment
from localcloud.stack import Stack, deploy
from operations import audit, backfill
from tests.streams import item

Eventually = Callable[..., Any]


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """Run an emulator for this file only, because its tests audit all totals."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def shop(own_emulator: Emulator, build: Path) -> Stack:
    return deploy(own_emulator, build)


def run_job(command: Callable[[list[str]], int], stack: Stack, *arguments: str) -> int:
    """Do what `make backfill STAGE=local` or `make audit STAGE=local` does, and return the exit status."""
    return command(["--stage", "local", "--aws-port", str(stack.emulator.port), *arguments])


def put(stack: Stack, *orders: dict[str, Any]) -> None:
    for order in orders:
        stack.emulator.client("dynamodb").put_item(TableName=stack.tables["OrdersTable"], Item=order)


def remove(stack: Stack, order_id: str) -> None:
    key = {"OrderID": {"S": order_id}}
    stack.emulator.client("dynamodb").delete_item(TableName=stack.tables["OrdersTable"], Key=key)


def total(stack: Stack, product: str) -> tuple[int, int]:
    """Return a product's total quantity and number of orders."""
    result = stack.emulator.client("dynamodb").get_item(
        TableName=stack.tables["AggregateTable"], Key={"product": {"S": product}}, ConsistentRead=True
    )
    counter = result.get("Item", {"totalQuantity": {"N": "0"}, "orderCount": {"N": "0"}})
    return int(counter["totalQuantity"]["N"]), int(counter["orderCount"]["N"])


def set_total(stack: Stack, product: str, quantity: int) -> None:
    stack.emulator.client("dynamodb").update_item(
        TableName=stack.tables["AggregateTable"],
        Key={"product": {"S": product}},
        UpdateExpression="SET totalQuantity = :n",
        ExpressionAttributeValues={":n": {"N": str(quantity)}},
    )


def set_stream_enabled(stack: Stack, enabled: bool) -> None:
    """Enable or disable the stream handler's event source mapping. Once enabled, it continues where it stopped."""
    functions = stack.emulator.client("lambda")
    functions.update_event_source_mapping(UUID=stack.stream_mapping["UUID"], Enabled=enabled)


# --- From the shell ------------------------------------------------------------------------------


def test_operator_finds_drift_and_repairs_it(
    shop: Stack, unique: str, eventually: Eventually, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    put(shop, item(unique, unique, 5))
    assert eventually(lambda: total(shop, unique), (5, 1)) == (5, 1)
    assert run_job(audit.main, shop) == 0
    assert "Clean." in capsys.readouterr().out

    set_total(shop, unique, 6)
    assert run_job(audit.main, shop, "--json", str(tmp_path / "audit.json")) == 1
    output = " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "audit.json").read_text())
    assert unique in output
    assert f"Drift in 1 product. {audit.ADVICE['drifted']}" in output
    (finding,) = result["counters"]["findings"]
    assert (finding["stored"], finding["expected"]) == ({"totalQuantity": 6}, {"totalQuantity": 5})
    assert total(shop, unique) == (6, 1), "read-only"

    assert run_job(audit.main, shop, "--repair") == 0
    assert "Clean. Drift in 1 product was repaired." in capsys.readouterr().out
    assert total(shop, unique) == (5, 1)
    assert run_job(audit.main, shop) == 0


def test_backfill_in_segments_counts_orders_the_stream_did_not_deliver(
    shop: Stack, unique: str, capsys: pytest.CaptureFixture[str]
):
    set_stream_enabled(shop, False)
    try:
        put(shop, *(item(f"{unique}-{n}", unique, 2) for n in range(40)))
        assert run_job(backfill.main, shop, "--segments", "4") == 0
        assert "Backfill" in capsys.readouterr().out
        assert total(shop, unique) == (80, 40)
    finally:
        set_stream_enabled(shop, True)


@pytest.mark.parametrize("command", [audit.main, backfill.main], ids=["audit", "backfill"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "local", "--stack", "nowhere"], "STACK=name"),
        (["--stage", "nowhere"], "no stage nowhere"),
    ],
)
def test_missing_deployment_is_named_and_exits_with_2(
    shop: Stack, capsys: pytest.CaptureFixture[str], command: Any, arguments: list[str], message: str
):
    assert command([*arguments, "--aws-port", str(shop.emulator.port)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_failed_job_prints_its_error_and_exits_with_2(shop: Stack, capsys: pytest.CaptureFixture[str]):
    assert run_job(audit.main, shop, "--grace-period", "0") == 2
    assert "gracePeriodSeconds must be a whole number from 1 to 300" in " ".join(capsys.readouterr().err.split())


def test_make_fails_on_drift_and_succeeds_after_repair(shop: Stack, unique: str, eventually: Eventually):
    put(shop, item(unique, unique, 5))
    assert eventually(lambda: total(shop, unique), (5, 1)) == (5, 1)
    set_total(shop, unique, 1)
    try:
        assert make(shop, "audit") != 0
    finally:
        assert make(shop, "audit", "REPAIR=yes") == 0
    assert make(shop, "backfill", "SEGMENTS=2") == 0
    assert make(shop, "audit", "REPAIR=maybe") != 0


def make(stack: Stack, *arguments: str) -> int:
    # Skip the installation and use this Python.
    variables = ["READY=", f"BIN={Path(sys.executable).parent}", "STAGE=local", f"AWS_PORT={stack.emulator.port}"]
    done = subprocess.run(["make", "--no-print-directory", *arguments, *variables], cwd=PROJECT, capture_output=True)
    return done.returncode


@pytest.mark.parametrize(("job", "key"), [("backfill", "orders"), ("audit", "verdict")])
def test_chalice_invoke_runs_a_job(shop: Stack, tmp_path: Path, job: str, key: str):
    """Run it in a copy of the project that has a record of deployed functions, as `chalice deploy` writes it."""
    function = shop.emulator.client("lambda").get_function(FunctionName=shop.functions[job.capitalize()])
    record = {"name": job, "resource_type": "lambda_function", "lambda_arn": function["Configuration"]["FunctionArn"]}
    deployed = tmp_path / ".chalice" / "deployed"
    deployed.mkdir(parents=True)
    (deployed / "local.json").write_text(json.dumps({"schema_version": "2.0", "resources": [record]}))
    (tmp_path / ".chalice" / "config.json").write_bytes((PROJECT / ".chalice" / "config.json").read_bytes())
    (tmp_path / "app.py").write_bytes((PROJECT / "app.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", "from chalice.cli import main; main()", "invoke", "--stage", "local", "-n", job],
        cwd=tmp_path,
        env={**clean_environment(), **root_environment(shop.emulator.endpoint_url), "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["done"] is True
    assert key in result


# --- Beside live traffic -------------------------------------------------------------------------


def test_backfill_and_audit_work_beside_live_orders(shop: Stack, unique: str, eventually: Eventually):
    """Count orders that the stream has not delivered while others are placed, amended and cancelled."""
    set_stream_enabled(shop, False)
    put(shop, *(item(f"{unique}-old-{n}", f"{unique}-{n % 3}", 2) for n in range(60)))
    set_stream_enabled(shop, True)
    stop = threading.Event()
    placed = 0

    def trade() -> None:
        nonlocal placed
        while not stop.is_set():
            put(shop, item(f"{unique}-{placed}", f"{unique}-{placed % 3}", 1))
            put(shop, item(f"{unique}-{placed}", f"{unique}-{(placed + 1) % 3}", 3))
            put(shop, item(f"{unique}-old-{placed % 60}", f"{unique}-{placed % 2}", 4))
            if placed % 2:
                remove(shop, f"{unique}-{placed}")
            placed += 1

    trading = threading.Thread(target=trade)
    trading.start()
    try:
        for _ in range(3):
            assert run_job(backfill.main, shop, "--segments", "2") == 0
        result = shop.invoke("Audit", {"repair": True, "gracePeriodSeconds": 5})
    finally:
        stop.set()
        trading.join()
    assert result["verdict"] != "drifted"
    assert [result["orders"][finding] for finding in ("missing", "differing", "orphaned")] == [0, 0, 0]
    assert result["counters"]["drifted"] == 0
    assert placed > 10
    kept = sum(not n % 2 for n in range(placed))
    expected = 60 + kept
    assert eventually(lambda: sum(total(shop, f"{unique}-{n}")[1] for n in range(3)), expected) == expected
    assert run_job(audit.main, shop) == 0


def test_constantly_changing_counter_is_proven_while_the_stream_is_paused(
    shop: Stack, unique: str, eventually: Eventually
):
    stop = threading.Event()

    def trade() -> None:
        number = 0
        while not stop.is_set():
            put(shop, item(f"{unique}-{number}", unique, 1))
            number += 1

    trading = threading.Thread(target=trade)
    trading.start()
    try:
        unverified = shop.invoke("Audit", {"gracePeriodSeconds": 5})["counters"]["unverified"]
        set_stream_enabled(shop, False)
        paused = shop.invoke("Audit", {"gracePeriodSeconds": 1})
    finally:
        set_stream_enabled(shop, True)
        stop.set()
        trading.join()
    assert unverified
    assert (paused["counters"]["unverified"], paused["counters"]["drifted"]) == (0, 0)
    assert eventually(lambda: shop.invoke("Audit", {"gracePeriodSeconds": 5})["verdict"], "clean") == "clean"


# --- After an outage -----------------------------------------------------------------------------


def test_backfill_counts_a_failed_batch_and_audit_repairs_lost_cancellations(
    own_emulator: Emulator, shop: Stack, unique: str, eventually: Eventually
):
    """Recover from a batch in the failure queue whose records are no longer in the stream."""
    functions, queue = own_emulator.client("lambda"), own_emulator.client("sqs")
    put(shop, item(f"{unique}-gone", unique, 5), item(f"{unique}-amended", unique, 5))
    assert eventually(lambda: total(shop, unique), (10, 2)) == (10, 2)

    working = functions.get_function_configuration(FunctionName=shop.functions["Aggregate"])["Environment"]
    broken = {"Variables": {**working["Variables"], "AGGREGATE_TABLE": "no-such-table"}}
    functions.update_function_configuration(FunctionName=shop.functions["Aggregate"], Environment=broken)
    # The package sets six hours. The emulator accepts one second; Lambda's minimum is a minute.
    functions.update_event_source_mapping(UUID=shop.stream_mapping["UUID"], MaximumRecordAgeInSeconds=1)
    set_stream_enabled(shop, False)  # So that the following changes are one batch.
    put(shop, item(f"{unique}-lost", unique, 7), item(f"{unique}-amended", unique, 6))
    remove(shop, f"{unique}-gone")
    set_stream_enabled(shop, True)

    def given_up() -> bool:
        messages = queue.receive_message(QueueUrl=shop.outputs["FailureQueueURL"], MaxNumberOfMessages=10)
        return bool(messages.get("Messages"))

    assert eventually(given_up, True, seconds=40) is True
    functions.update_function_configuration(FunctionName=shop.functions["Aggregate"], Environment=working)
    functions.update_event_source_mapping(UUID=shop.stream_mapping["UUID"], MaximumRecordAgeInSeconds=6 * 60 * 60)
    put(shop, item(f"{unique}-next", f"{unique}-other", 1))  # The shard continues with the next order.
    assert eventually(lambda: total(shop, f"{unique}-other"), (1, 1), seconds=40) == (1, 1)
    assert total(shop, unique) == (10, 2)

    assert run_job(backfill.main, shop) == 0
    assert total(shop, unique) == (18, 3), "everything except the cancellation, because its order no longer exists"
    assert run_job(audit.main, shop, "--grace-period", "5") == 1
    assert run_job(audit.main, shop, "--grace-period", "5", "--repair") == 0
    assert total(shop, unique) == (13, 2)
    assert run_job(audit.main, shop) == 0


# --- On schedule ---------------------------------------------------------------------------------


def test_scheduled_functions_run_at_their_times(shop: Stack, own_emulator: Emulator):
    events, found = own_emulator.client("events"), {}
    for rule in events.list_rules()["Rules"]:
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        found[target["Arn"].rpartition(":")[2]] = rule["ScheduleExpression"]
    assert found == {
        shop.functions["DailyAudit"]: "cron(17 3 * * ? *)",
        shop.functions["RefreshTopLists"]: "rate(5 minutes)",
    }


def test_daily_audit_has_the_permissions_it_needs(shop: Stack):
    shop.invoke("DailyAudit", {"version": "0", "source": "aws.events", "detail": {}, "detail-type": "", "account": "",
                               "region": "", "resources": [], "time": "", "id": ""})  # fmt: skip
    (line,) = [entry for entry in shop.log_entries("DailyAudit") if entry["message"].startswith("Audit")]
    assert line["verdict"] == "clean"
    assert [metric["DriftedProducts"] for metric in shop.metrics("DailyAudit")] == [[0.0]]
