"""The jobs as deployed, with the generated policy: from the shell, beside live traffic, after an outage, by day."""

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
    """One whose totals no other test touches: here they are audited as a whole."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def shop(own_emulator: Emulator, build: Path) -> Stack:
    return deploy(own_emulator, build)


def run(command: Callable[[list[str]], int], stack: Stack, *arguments: str) -> int:
    """What `make backfill STAGE=local` and `make audit STAGE=local` run."""
    return command(["--stage", "local", "--aws-port", str(stack.emulator.port), *arguments])


def put(stack: Stack, *orders: dict[str, Any]) -> None:
    for order in orders:
        stack.emulator.client("dynamodb").put_item(TableName=stack.tables["OrdersTable"], Item=order)


def remove(stack: Stack, order_id: str) -> None:
    key = {"OrderID": {"S": order_id}}
    stack.emulator.client("dynamodb").delete_item(TableName=stack.tables["OrdersTable"], Key=key)


def total(stack: Stack, product: str) -> tuple[int, int]:
    """Quantity and number of orders."""
    found = stack.emulator.client("dynamodb").get_item(
        TableName=stack.tables["AggregateTable"], Key={"product": {"S": product}}, ConsistentRead=True
    )
    there = found.get("Item", {"totalQuantity": {"N": "0"}, "orderCount": {"N": "0"}})
    return int(there["totalQuantity"]["N"]), int(there["orderCount"]["N"])


def set_total(stack: Stack, product: str, quantity: int) -> None:
    stack.emulator.client("dynamodb").update_item(
        TableName=stack.tables["AggregateTable"],
        Key={"product": {"S": product}},
        UpdateExpression="SET totalQuantity = :n",
        ExpressionAttributeValues={":n": {"N": str(quantity)}},
    )


def listen(stack: Stack, enabled: bool) -> None:
    """Has the stream handler listen to the stream, or not. It goes on where it stopped."""
    functions = stack.emulator.client("lambda")
    functions.update_event_source_mapping(UUID=stack.stream_mapping["UUID"], Enabled=enabled)


# --- From the shell ------------------------------------------------------------------------------


def test_an_operator_finds_drift_mends_it_and_finds_none(
    shop: Stack, unique: str, eventually: Eventually, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    put(shop, item(unique, unique, 5))
    assert eventually(lambda: total(shop, unique), (5, 1)) == (5, 1)
    assert run(audit.main, shop) == 0
    assert "Clean." in capsys.readouterr().out

    set_total(shop, unique, 6)
    assert run(audit.main, shop, "--json", str(tmp_path / "audit.json")) == 1
    told = capsys.readouterr().out
    assert unique in told
    assert "Drift in 1 product. Run the audit again with repair" in told
    (finding,) = json.loads((tmp_path / "audit.json").read_text())["counters"]["findings"]
    assert (finding["stored"], finding["expected"]) == ({"totalQuantity": 6}, {"totalQuantity": 5})
    assert total(shop, unique) == (6, 1), "read-only"

    assert run(audit.main, shop, "--repair") == 0
    assert "Clean. Drift in 1 product was repaired." in capsys.readouterr().out
    assert total(shop, unique) == (5, 1)
    assert run(audit.main, shop) == 0


def test_a_backfill_from_the_shell_in_segments_counts_what_no_stream_told_of(
    shop: Stack, unique: str, capsys: pytest.CaptureFixture[str]
):
    listen(shop, False)
    try:
        put(shop, *(item(f"{unique}-{n}", unique, 2) for n in range(40)))
        assert run(backfill.main, shop, "--segments", "4") == 0
        assert "Backfill" in capsys.readouterr().out
        assert total(shop, unique) == (80, 40)
    finally:
        listen(shop, True)


@pytest.mark.parametrize("command", [audit.main, backfill.main], ids=["audit", "backfill"])
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--stage", "local", "--stack", "nowhere"], "STACK=name"),
        (["--stage", "nowhere"], "no stage nowhere"),
    ],
)
def test_what_is_not_deployed_is_said_and_ends_with_2(
    shop: Stack, capsys: pytest.CaptureFixture[str], command: Any, arguments: list[str], why: str
):
    assert command([*arguments, "--aws-port", str(shop.emulator.port)]) == 2
    assert why in " ".join(capsys.readouterr().err.split())


def test_a_job_that_fails_is_said_and_ends_with_2(shop: Stack, capsys: pytest.CaptureFixture[str]):
    assert run(audit.main, shop, "--patience", "0") == 2
    assert "gracePeriodSeconds must be a whole number from 1 to 300" in " ".join(capsys.readouterr().err.split())


def test_make_tells_a_pipeline_by_its_exit_status(shop: Stack, unique: str, eventually: Eventually):
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
    # As if the set-up were done: which Python runs here is no matter of this test.
    variables = ["READY=", f"BIN={Path(sys.executable).parent}", "STAGE=local", f"AWS_PORT={stack.emulator.port}"]
    done = subprocess.run(["make", "--no-print-directory", *arguments, *variables], cwd=PROJECT, capture_output=True)
    return done.returncode


@pytest.mark.parametrize(("job", "answered"), [("backfill", "orders"), ("audit", "verdict")])
def test_chalice_invoke_runs_a_job(shop: Stack, tmp_path: Path, job: str, answered: str):
    """In a copy of the project, with the record that `chalice deploy` keeps of what it has deployed."""
    function = shop.emulator.client("lambda").get_function(FunctionName=shop.functions[job.capitalize()])
    there = {"name": job, "resource_type": "lambda_function", "lambda_arn": function["Configuration"]["FunctionArn"]}
    deployed = tmp_path / ".chalice" / "deployed"
    deployed.mkdir(parents=True)
    (deployed / "local.json").write_text(json.dumps({"schema_version": "2.0", "resources": [there]}))
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
    answer = json.loads(done.stdout)
    assert answer["done"] is True
    assert answered in answer


# --- Beside live traffic -------------------------------------------------------------------------


def test_backfill_and_audit_beside_orders_that_come_change_and_go(shop: Stack, unique: str, eventually: Eventually):
    """Orders of which the stream has told nothing yet are counted while others are placed, amended, cancelled."""
    listen(shop, False)
    put(shop, *(item(f"{unique}-old-{n}", f"{unique}-{n % 3}", 2) for n in range(60)))
    listen(shop, True)
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
            assert run(backfill.main, shop, "--segments", "2") == 0
        answer = shop.invoke("Audit", {"repair": True, "gracePeriodSeconds": 5})
    finally:
        stop.set()
        trading.join()
    assert answer["verdict"] != "drifted"
    assert (answer["orders"]["missing"], answer["orders"]["differing"], answer["orders"]["orphaned"]) == (0, 0, 0)
    assert answer["counters"]["drifted"] == 0
    assert placed > 10
    kept = sum(not n % 2 for n in range(placed))
    expected = 60 + kept
    assert eventually(lambda: sum(total(shop, f"{unique}-{n}")[1] for n in range(3)), expected) == expected
    assert run(audit.main, shop) == 0


def test_a_counter_that_never_stands_still_is_proven_while_the_stream_is_paused(
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
        moving = shop.invoke("Audit", {"gracePeriodSeconds": 5})["counters"]["moving"]
        listen(shop, False)
        still = shop.invoke("Audit", {"gracePeriodSeconds": 1})
    finally:
        listen(shop, True)
        stop.set()
        trading.join()
    assert unique in {each["product"] for each in moving}
    assert (still["counters"]["unverified"], still["counters"]["drifted"]) == (0, 0)
    assert eventually(lambda: shop.invoke("Audit", {"gracePeriodSeconds": 5})["verdict"], "clean") == "clean"


# --- After an outage -----------------------------------------------------------------------------


def test_a_batch_that_has_been_given_up_is_counted_by_a_backfill_and_lost_cancellations_by_an_audit(
    own_emulator: Emulator, shop: Stack, unique: str, eventually: Eventually
):
    """From the failure queue to a clean audit, after the records have left the stream for good."""
    functions, queue = own_emulator.client("lambda"), own_emulator.client("sqs")
    put(shop, item(f"{unique}-gone", unique, 5), item(f"{unique}-amended", unique, 5))
    assert eventually(lambda: total(shop, unique), (10, 2)) == (10, 2)

    working = functions.get_function_configuration(FunctionName=shop.functions["Aggregate"])["Environment"]
    broken = {"Variables": {**working["Variables"], "AGGREGATE_TABLE": "no-such-table"}}
    functions.update_function_configuration(FunctionName=shop.functions["Aggregate"], Environment=broken)
    # Of the packaged six hours the test has no time; the emulator also takes less than Lambda's least, a minute.
    functions.update_event_source_mapping(UUID=shop.stream_mapping["UUID"], MaximumRecordAgeInSeconds=1)
    listen(shop, False)  # So that all of it is one batch.
    put(shop, item(f"{unique}-lost", unique, 7), item(f"{unique}-amended", unique, 6))
    remove(shop, f"{unique}-gone")
    listen(shop, True)

    def given_up() -> bool:
        messages = queue.receive_message(QueueUrl=shop.outputs["FailureQueueURL"], MaxNumberOfMessages=10)
        return bool(messages.get("Messages"))

    assert eventually(given_up, True, seconds=40) is True
    functions.update_function_configuration(FunctionName=shop.functions["Aggregate"], Environment=working)
    functions.update_event_source_mapping(UUID=shop.stream_mapping["UUID"], MaximumRecordAgeInSeconds=6 * 60 * 60)
    put(shop, item(f"{unique}-next", f"{unique}-other", 1))  # What comes next is counted: the shard goes on.
    assert eventually(lambda: total(shop, f"{unique}-other"), (1, 1), seconds=40) == (1, 1)
    assert total(shop, unique) == (10, 2)

    assert run(backfill.main, shop) == 0
    assert total(shop, unique) == (18, 3), "all but the cancellation, of which no order tells any more"
    assert run(audit.main, shop, "--patience", "5") == 1
    assert run(audit.main, shop, "--patience", "5", "--repair") == 0
    assert total(shop, unique) == (13, 2)
    assert run(audit.main, shop) == 0


# --- By day --------------------------------------------------------------------------------------


def test_the_daily_audit_is_scheduled_and_may_do_what_it_does(shop: Stack, own_emulator: Emulator, unique: str):
    rules = own_emulator.client("events").list_rules()["Rules"]
    assert [rule["ScheduleExpression"] for rule in rules] == ["cron(17 3 * * ? *)"]
    targets = own_emulator.client("events").list_targets_by_rule(Rule=rules[0]["Name"])["Targets"]
    assert [target["Arn"].rpartition(":")[2] for target in targets] == [shop.functions["DailyAudit"]]

    shop.invoke("DailyAudit", {"version": "0", "source": "aws.events", "detail": {}, "detail-type": "", "account": "",
                               "region": "", "resources": [], "time": "", "id": ""})  # fmt: skip
    (line,) = [entry for entry in shop.log_entries("DailyAudit") if entry["message"].startswith("Audit")]
    assert line["verdict"] == "clean"
    assert [metric["DriftedProducts"] for metric in shop.metrics("DailyAudit")] == [[0.0]]
