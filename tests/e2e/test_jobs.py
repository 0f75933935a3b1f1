"""Tests for the deployed jobs: from the shell, during live traffic, after an outage, and on schedule."""

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
from operations import audit, backfill, replay
from tests.proof.harness import EmulatorClient
from tests.streams import TTL, item

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
    """Do the same as `make backfill STAGE=local` or `make audit STAGE=local`, and return the exit status."""
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
    """Enable or disable the stream handler's event source mapping. When enabled, it continues where it stopped."""
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
    # Make `make` skip the installation and use this Python.
    variables = ["READY=", f"BIN={Path(sys.executable).parent}", "STAGE=local", f"AWS_PORT={stack.emulator.port}"]
    done = subprocess.run(["make", "--no-print-directory", *arguments, *variables], cwd=PROJECT, capture_output=True)
    return done.returncode


@pytest.mark.parametrize(("job", "key"), [("backfill", "orders"), ("audit", "verdict")])
def test_chalice_invoke_runs_a_job(shop: Stack, tmp_path: Path, job: str, key: str):
    """Run `chalice invoke` in a copy of the project that lists deployed functions, as after `chalice deploy`."""
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


# --- During live traffic -------------------------------------------------------------------------


def test_backfill_and_audit_work_beside_live_orders(shop: Stack, unique: str, eventually: Eventually):
    """Backfill orders that the stream lost while a client places, amends and cancels other orders."""
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


def has_unverified_counter(shop: Stack) -> bool:
    counters = shop.invoke("Audit", {"gracePeriodSeconds": 5})["counters"]
    return bool(counters["unverified"])


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
        # Retry, because on a busy machine an audit can finish between two batches, while the counter does not change.
        is_unverified = eventually(lambda: has_unverified_counter(shop), True, 60)
        set_stream_enabled(shop, False)
        paused = shop.invoke("Audit", {"gracePeriodSeconds": 1})
    finally:
        set_stream_enabled(shop, True)
        stop.set()
        trading.join()
    assert is_unverified
    assert (paused["counters"]["unverified"], paused["counters"]["drifted"]) == (0, 0)
    assert eventually(lambda: shop.invoke("Audit", {"gracePeriodSeconds": 5})["verdict"], "clean") == "clean"


# --- After an outage -----------------------------------------------------------------------------


class Outage:
    """A bug in the stream handler, after which Lambda discards a batch."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._functions, self._queues = stack.emulator.client("lambda"), stack.emulator.client("sqs")
        self._mapping = stack.stream_mapping
        self._working = self._functions.get_function_configuration(FunctionName=stack.functions["Aggregate"])

    def begin(self) -> None:
        """Break the handler, and pause the stream so that the next changes form one batch."""
        variables = {**self._working["Environment"]["Variables"], "AGGREGATE_TABLE": "no-such-table"}
        self._set_variables(variables)
        # The emulator cannot write failed batches to a bucket, but it can report them to a queue. It discards a batch
        # only by age. It accepts a limit of one second, while Lambda's minimum is a minute.
        self._queue = self._queues.create_queue(QueueName="given-up")["QueueUrl"]
        queue = self._queues.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        destination = {"OnFailure": {"Destination": queue["QueueArn"]}}
        self._update_mapping(MaximumRecordAgeInSeconds=1, DestinationConfig=destination)
        set_stream_enabled(self._stack, False)

    def deliver(self) -> None:
        """Resume the stream, which delivers the changes to the broken handler."""
        set_stream_enabled(self._stack, True)

    def has_given_up(self) -> bool:
        return bool(self._queues.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"))

    def end(self) -> None:
        """Fix the handler and restore the mapping."""
        self._set_variables(self._working["Environment"]["Variables"])
        self._update_mapping(
            MaximumRecordAgeInSeconds=self._mapping["MaximumRecordAgeInSeconds"],
            DestinationConfig=self._mapping["DestinationConfig"],
        )
        self._queues.delete_queue(QueueUrl=self._queue)

    def _set_variables(self, variables: dict[str, str]) -> None:
        function = self._stack.functions["Aggregate"]
        self._functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    def _update_mapping(self, **settings: Any) -> None:
        self._functions.update_event_source_mapping(UUID=self._mapping["UUID"], **settings)


def lose_a_batch(shop: Stack, unique: str, eventually: Eventually) -> None:
    """Make Lambda discard a batch that places, amends and removes one order each. Then fix the bug."""
    put(shop, item(f"{unique}-gone", unique, 5), item(f"{unique}-amended", unique, 5))
    assert eventually(lambda: total(shop, unique), (10, 2)) == (10, 2)
    outage = Outage(shop)
    outage.begin()
    put(shop, item(f"{unique}-lost", unique, 7), item(f"{unique}-amended", unique, 6))
    remove(shop, f"{unique}-gone")
    outage.deliver()
    assert eventually(outage.has_given_up, True, seconds=40) is True
    outage.end()
    put(shop, item(f"{unique}-next", f"{unique}-other", 1))  # The stream continues with this order.
    assert eventually(lambda: total(shop, f"{unique}-other"), (1, 1), seconds=40) == (1, 1)
    assert total(shop, unique) == (10, 2)


def test_backfill_counts_a_failed_batch_and_audit_repairs_lost_cancellations(
    shop: Stack, unique: str, eventually: Eventually
):
    """Recover from a batch that Lambda discarded without storing it."""
    lose_a_batch(shop, unique, eventually)
    assert run_job(backfill.main, shop) == 0
    assert total(shop, unique) == (18, 3), "everything except the cancellation, because its order no longer exists"
    assert run_job(audit.main, shop, "--grace-period", "5") == 1
    assert run_job(audit.main, shop, "--grace-period", "5", "--repair") == 0
    assert total(shop, unique) == (13, 2)
    assert run_job(audit.main, shop) == 0


def test_replay_counts_a_failed_batch_and_archives_the_order_that_expired_in_it(
    shop: Stack, unique: str, eventually: Eventually, capsys: pytest.CaptureFixture[str]
):
    """Only the records show that TTL removed the order. Without them, an audit would treat it as cancelled.

    The emulator does not store failed batches, so this test stores one as Lambda does (Lambda Developer Guide,
    "Retaining discarded records for a DynamoDB event source").
    """
    lose_a_batch(shop, unique, eventually)
    records = stream_records(shop, f"{unique}-lost", f"{unique}-amended", f"{unique}-gone")
    records[-1]["userIdentity"] = TTL  # The emulator has no TTL, so mark the removal as TTL's.
    assert [each["eventName"] for each in records] == ["INSERT", "INSERT", "INSERT", "MODIFY", "REMOVE"]
    keep(shop, records[2:])

    assert run_job(replay.main, shop) == 0
    assert "Counted 1 batches with 3 records; 0 left." in capsys.readouterr().out
    assert total(shop, unique) == (18, 3), "an archived order still counts"
    assert status(shop, f"{unique}-gone") == "archived"
    assert run_job(audit.main, shop, "--grace-period", "5") == 0

    keep(shop, records)
    assert run_job(replay.main, shop) == 0
    assert "Counted 1 batches with 5 records; 0 left." in capsys.readouterr().out
    assert total(shop, unique) == (18, 3), "a second replay changes nothing"
    assert run_job(replay.main, shop) == 0
    assert "Counted 0 batches" in capsys.readouterr().out


def stream_records(stack: Stack, *order_ids: str) -> list[dict[str, Any]]:
    """Return the stream records of these orders, as Lambda delivers them."""
    client = EmulatorClient(stack.emulator.port)
    arn = stack.outputs["OrdersStreamArn"]
    (shard,) = client.stream("DescribeStream", StreamArn=arn)["StreamDescription"]["Shards"]
    position = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = client.stream("GetShardIterator", **position)["ShardIterator"]
    found: list[dict[str, Any]] = []
    while page := client.stream("GetRecords", ShardIterator=iterator):
        found += page["Records"]
        if not page["Records"]:  # The stream has no more records yet.
            break
        iterator = page["NextShardIterator"]
    return [{**each, "eventSourceARN": arn} for each in found if each["dynamodb"]["Keys"]["OrderID"]["S"] in order_ids]


def keep(stack: Stack, records: list[dict[str, Any]]) -> None:
    """Store a failed batch in the bucket, as Lambda does."""
    stack.emulator.client("s3").put_object(
        Bucket=stack.outputs["FailedBatchesBucket"],
        Key=f"aws/lambda/{stack.stream_mapping['UUID']}/shard/2026/11/24/{len(records)}",
        Body=json.dumps({"version": "1.0", "payload": json.dumps({"Records": records})}).encode(),
    )


def status(stack: Stack, order_id: str) -> str:
    """Return the status of an order's ledger entry."""
    table, key = stack.tables["LedgerTable"], {"OrderID": {"S": order_id}}
    text: str = stack.emulator.client("dynamodb").get_item(TableName=table, Key=key)["Item"]["status"]["S"]
    return text


# --- On schedule ---------------------------------------------------------------------------------


def test_scheduled_functions_run_at_their_times(shop: Stack, own_emulator: Emulator):
    events, found = own_emulator.client("events"), {}
    for rule in events.list_rules()["Rules"]:
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        found[target["Arn"].rpartition(":")[2]] = rule["ScheduleExpression"]
    assert found == {
        shop.functions["DailyAudit"]: "rate(15 minutes)",
        shop.functions["RefreshTopLists"]: "rate(5 minutes)",
    }


def test_daily_audit_has_the_permissions_it_needs(shop: Stack):
    shop.invoke("DailyAudit", {"version": "0", "source": "aws.events", "detail": {}, "detail-type": "", "account": "",
                               "region": "", "resources": [], "time": "", "id": ""})  # fmt: skip
    (line,) = [entry for entry in shop.log_entries("DailyAudit") if entry["message"].startswith("Audit")]
    assert line["verdict"] == "clean"
    assert [metric["DriftedProducts"] for metric in shop.metrics("DailyAudit")] == [[0.0]]
