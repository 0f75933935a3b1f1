"""Tests for the engine: it agrees with the emulator, and has the behavior of DynamoDB that the emulator lacks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localcloud.emulator import Emulator
from tests.proof.agreement import ORDERS, TREND, Both, comparable, differences
from tests.proof.engine import calm
from tests.proof.engine.database import Database, Table
from tests.proof.engine.expressions import ServiceError
from tests.proof.engine.streams import DAY_SECONDS, EventSourceMapping, Stream

AGREEMENT_OPERATIONS = 1500
SEED = 20261124


class Time:
    """A clock whose time a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Last:
    """Always choose the last option, which is the most harmful one."""

    def __call__(self, number: int) -> int:
        return number - 1


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def database(time: Time) -> Database:
    created = Database(time, calm)
    created.tables["T"] = Table("T", ("k",))
    return created


def put(key: str, **attributes: Any) -> dict[str, Any]:
    return {"TableName": "T", "Item": {"k": {"S": key}, **attributes}}


def get(database: Database, key: str, consistent: bool = True) -> dict[str, Any]:
    return database.call("GetItem", TableName="T", Key={"k": {"S": key}}, ConsistentRead=consistent)


def transaction(*keys: str, **more: Any) -> dict[str, Any]:
    return {"TransactItems": [{"Put": put(key, n={"N": "1"})} for key in keys], **more}


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


def finish(running: Any) -> None:
    list(running)


def advance(running: Any, steps: int) -> None:
    for _ in range(steps):
        next(running)


# --- Transactions --------------------------------------------------------------------------------


def test_the_second_of_two_transactions_on_one_item_is_cancelled(database: Database):
    first = database.start("TransactWriteItems", transaction("a", "b"))
    advance(first, 2)  # The first transaction has locked one item.
    with pytest.raises(ServiceError) as caught:
        database.call("TransactWriteItems", **transaction("c", "a"))
    assert [reason["Code"] for reason in caught.value.more["CancellationReasons"]] == ["None", "TransactionConflict"]
    finish(first)
    assert {item["k"]["S"] for item in database.tables["T"].items()} == {"a", "b"}


def test_two_transactions_can_cancel_each_other(database: Database):
    first = database.start("TransactWriteItems", transaction("a", "b"))
    second = database.start("TransactWriteItems", transaction("b", "a"))
    for steps in (2, 1):  # Each locks one item, then finds the other item locked.
        advance(first, steps)
        advance(second, steps)
    assert code_of(lambda: list(first)) == "TransactionCanceledException"
    assert code_of(lambda: list(second)) == "TransactionCanceledException"
    assert not list(database.tables["T"].items())


def test_a_plain_write_to_an_item_in_a_transaction_is_rejected(database: Database):
    running = database.start("TransactWriteItems", transaction("a", "b"))
    advance(running, 2)
    assert code_of(lambda: database.call("PutItem", **put("a"))) == "TransactionConflictException"
    finish(running)
    database.call("PutItem", **put("a"))


def test_a_reader_may_see_a_part_of_a_transaction(database: Database):
    running = database.start("TransactWriteItems", transaction("a", "b"))
    seen: list[set[str]] = []
    while not seen or len(seen[-1]) < 2:
        next(running, None)
        seen.append({key for key in ("a", "b") if "Item" in get(database, key)})
    assert seen[-3:] == [set(), {"a"}, {"a", "b"}] or seen[-2:] == [{"a"}, {"a", "b"}]


def test_a_cancelled_transaction_writes_nothing_and_costs_the_same(database: Database):
    database.call("TransactWriteItems", **transaction("a", "b"))
    assert database.units == {"write": 4}
    conditional = transaction("c", "a")
    conditional["TransactItems"][1]["Put"]["ConditionExpression"] = "attribute_not_exists(k)"
    conditional["TransactItems"][1]["Put"]["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    with pytest.raises(ServiceError) as caught:
        database.call("TransactWriteItems", **conditional)
    assert caught.value.more["CancellationReasons"][1]["Item"] == {"k": {"S": "a"}, "n": {"N": "1"}}
    assert database.units == {"write": 8, "wasted": 4}
    assert "Item" not in get(database, "c")


def test_a_token_makes_a_retry_a_success_without_effect_for_ten_minutes(database: Database, time: Time):
    request = {**transaction("a"), "ClientRequestToken": "token"}
    database.call("TransactWriteItems", **request)
    database.call("PutItem", **put("a", n={"N": "2"}))
    time.now += 599
    database.call("TransactWriteItems", **request)
    assert get(database, "a")["Item"]["n"] == {"N": "2"}
    other = {**transaction("b"), "ClientRequestToken": "token"}
    assert code_of(lambda: database.call("TransactWriteItems", **other)) == "IdempotentParameterMismatchException"
    time.now += 1
    database.call("TransactWriteItems", **request)
    assert get(database, "a")["Item"]["n"] == {"N": "1"}


def test_a_retry_during_a_transaction_is_told_that_it_is_in_progress(database: Database):
    request = {**transaction("a", "b"), "ClientRequestToken": "token"}
    running = database.start("TransactWriteItems", request)
    advance(running, 2)
    assert code_of(lambda: database.call("TransactWriteItems", **request)) == "TransactionInProgressException"
    finish(running)
    assert database.call("TransactWriteItems", **request) == {}


def test_the_token_of_a_cancelled_transaction_is_forgotten(database: Database):
    database.call("PutItem", **put("a"))
    request = {**transaction("a"), "ClientRequestToken": "token"}
    request["TransactItems"][0]["Put"]["ConditionExpression"] = "attribute_not_exists(k)"
    for _ in range(2):
        assert code_of(lambda: database.call("TransactWriteItems", **request)) == "TransactionCanceledException"
    database.call("DeleteItem", TableName="T", Key={"k": {"S": "a"}})
    assert database.call("TransactWriteItems", **request) == {}


def test_an_item_of_a_transaction_can_be_throttled(time: Time):
    database = Database(time, Last(), mishaps=1)
    database.tables["T"] = Table("T", ("k",))
    with pytest.raises(ServiceError) as caught:
        database.call("TransactWriteItems", **transaction("a", "b"))
    codes = [reason["Code"] for reason in caught.value.more["CancellationReasons"]]
    assert codes == ["None", "ProvisionedThroughputExceeded"]


# --- Reads ---------------------------------------------------------------------------------------


def test_a_read_that_is_not_consistent_may_be_stale_for_a_second(time: Time):
    database = Database(time, Last())
    database.tables["T"] = Table("T", ("k",))
    database.call("PutItem", **put("a", n={"N": "1"}))
    assert get(database, "a", consistent=False) == {}
    assert get(database, "a")["Item"]["n"] == {"N": "1"}
    time.now += 1
    assert get(database, "a", consistent=False)["Item"]["n"] == {"N": "1"}


def test_some_keys_may_stay_unprocessed_but_never_all(time: Time):
    database = Database(time, Last(), mishaps=1)
    database.tables["T"] = Table("T", ("k",))
    for key in "abc":
        database.call("PutItem", **put(key))
    keys = [{"k": {"S": key}} for key in "abc"]
    result = database.call("BatchGetItem", RequestItems={"T": {"Keys": keys, "ConsistentRead": True}})
    left = result["UnprocessedKeys"]["T"]["Keys"]
    assert len(left) == 1
    assert len(result["Responses"]["T"]) == 2


def test_a_page_ends_at_its_size_and_the_last_one_may_be_followed_by_an_empty_one(time: Time):
    database = Database(time, calm, page_bytes=10)
    database.tables["T"] = Table("T", ("k",))
    for key in "abcd":
        database.call("PutItem", **put(key, text={"S": "x"}))
    pages = []
    request: dict[str, Any] = {"TableName": "T"}
    while True:
        page = database.call("Scan", **request)
        pages.append(len(page["Items"]))
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    assert pages == [2, 2, 0]


def test_segments_of_a_scan_are_disjoint_and_complete(database: Database):
    for number in range(20):
        database.call("PutItem", **put(str(number)))
    found = [database.call("Scan", TableName="T", Segment=at, TotalSegments=3)["Items"] for at in range(3)]
    assert sorted(int(item["k"]["S"]) for items in found for item in items) == list(range(20))
    assert code_of(lambda: database.call("Scan", TableName="T", Segment=3, TotalSegments=3)) == "ValidationException"


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("PutItem", put("a", text={"S": "x" * 409_600})),
        ("PutItem", put("x" * 2049)),
        ("PutItem", put("")),
        ("PutItem", {"TableName": "T", "Item": {"k": {"N": "1"}}}),
        ("PutItem", put("a", n={"N": "1" * 39})),
        ("PutItem", put("a", n={"N": "1E126"})),
        ("UpdateItem", {"TableName": "T", "Key": {"k": {"S": "a"}}, "UpdateExpression": "SET total = :x",
                        "ExpressionAttributeValues": {":x": {"N": "1"}}}),
        ("TransactWriteItems", transaction(*map(str, range(101)))),
        ("TransactWriteItems", transaction("a", "a")),
        ("TransactWriteItems", {"TransactItems": [{"Put": put(str(n), x={"S": "x" * 380_000})} for n in range(11)]}),
        ("BatchGetItem", {"RequestItems": {"T": {"Keys": [{"k": {"S": str(n)}} for n in range(101)]}}}),
        ("BatchGetItem", {"RequestItems": {"T": {"Keys": [{"k": {"S": "a"}}, {"k": {"S": "a"}}]}}}),
        ("Scan", {"TableName": "T", "Limit": 0}),
    ],
    ids=["item of 400 KB", "long key", "empty key", "key of another type", "39 digits", "large number",
         "reserved word", "101 actions", "two actions on one item", "4 MB", "101 keys", "same key twice", "no limit"],
)  # fmt: skip
def test_requests_beyond_a_limit_are_refused(database: Database, operation: str, request_: dict[str, Any]):
    assert code_of(lambda: database.call(operation, **request_)) == "ValidationException"


# --- The stream ----------------------------------------------------------------------------------


@pytest.fixture
def stream() -> Stream:
    return Stream("arn/stream/1", "NEW_AND_OLD_IMAGES")


def write(stream: Stream, *numbers: int, now: float = 0) -> None:
    for number in numbers:
        stream.append(("k",), (f"key-{number}",), None, {"k": {"S": f"key-{number}"}}, now)


def test_a_child_shard_is_read_after_its_parent_and_goes_on_from_its_numbers(stream: Stream):
    mapping = EventSourceMapping(stream)
    write(stream, *range(8))
    (parent,) = stream.shards
    stream.split(parent)
    write(stream, *range(8))
    children = stream.shards[1:]
    assert mapping.readable() == [parent]
    mapping.advance(parent, 8)
    assert mapping.readable() == children
    numbers = {
        shard: [int(record["dynamodb"]["SequenceNumber"]) for record in shard.records] for shard in stream.shards
    }
    assert all(max(numbers[parent]) < min(numbers[child]) for child in children)
    keys = [{record["dynamodb"]["Keys"]["k"]["S"] for record in child.records} for child in children]
    assert all(keys)
    assert not keys[0] & keys[1]


def test_two_mappings_read_a_stream_each_by_itself(stream: Stream):
    write(stream, 1, 2)
    first, second = EventSourceMapping(stream), EventSourceMapping(stream)
    first.advance(stream.shards[0], 2)
    assert (first.remaining(stream.shards[0]), second.remaining(stream.shards[0])) == (0, 2)


def test_a_stream_forgets_records_after_a_day(stream: Stream):
    mapping = EventSourceMapping(stream)
    write(stream, 1)
    write(stream, 2, now=100)
    stream.trim(now=DAY_SECONDS + 100)
    assert mapping.checkpoint(stream.shards[0]) == 1


def test_a_write_that_changes_nothing_makes_no_record(database: Database, stream: Stream):
    database.tables["T"].stream = stream
    for _ in range(2):
        database.call("PutItem", **put("a", n={"N": "1"}))
    database.expire("T", "n")
    records = stream.shards[0].records
    assert [record["eventName"] for record in records] == ["INSERT", "REMOVE"]
    assert records[1]["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
    assert records[1]["dynamodb"]["OldImage"] == {"k": {"S": "a"}, "n": {"N": "1"}}


# --- The emulator --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with Emulator() as emulator:
        yield Both(emulator)


def test_engine_and_emulator_agree_one_operation_at_a_time(both: Both):
    assert not differences(both, AGREEMENT_OPERATIONS, SEED)
    ours, theirs = comparable_records(both.engine_records()), comparable_records(both.emulator_records())
    assert len(ours) > AGREEMENT_OPERATIONS / 20
    assert ours == theirs


def comparable_records(records: list[dict[str, Any]]) -> list[Any]:
    """Return each record's kind, key and images. Skip records in which only the notation of a number changes."""
    changes = [(record["eventName"], comparable(record["dynamodb"])) for record in records]
    return [
        (kind, change["Keys"], change.get("OldImage"), change.get("NewImage"))
        for kind, change in changes
        if change.get("OldImage") != change.get("NewImage")
    ]


KEY = {"OrderID": {"S": "difference"}}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        # DynamoDB says: "An operand in the update expression has an incorrect data type".
        ("UpdateItem", {"TableName": ORDERS, "Key": KEY, "UpdateExpression": "SET b = c + :one",
                        "ExpressionAttributeValues": {":one": {"N": "1"}}}),
        # DynamoDB: a number has at most 38 digits, even as the result of an addition.
        ("UpdateItem", {"TableName": ORDERS, "Key": KEY, "UpdateExpression": "ADD n :tiny",
                        "ExpressionAttributeValues": {":tiny": {"N": "0.1"}}}),
        # DynamoDB: a key has exactly the attributes of the key schema.
        ("TransactWriteItems", {"TransactItems": [{"ConditionCheck": {
            "TableName": ORDERS, "Key": {**KEY, "more": {"N": "1"}}, "ConditionExpression": "attribute_exists(b)"}}]}),
        # DynamoDB: a sort key has at most 1,024 bytes.
        ("TransactWriteItems", {"TransactItems": [{"Delete": {
            "TableName": TREND, "Key": {"product": {"S": "a"}, "day": {"S": "x" * 1025}}}}]}),
    ],
    ids=["SET adds to a text", "39 digits", "key with more attributes", "long key in a transaction"],
)  # fmt: skip
def test_the_emulator_accepts_what_dynamodb_refuses(both: Both, operation: str, request_: dict[str, Any]):
    item = {**KEY, "b": {"N": "1"}, "c": {"S": "text"}, "n": {"N": "9" * 38}}
    both.engine.call("PutItem", TableName=ORDERS, Item=item)
    both.emulator("PutItem", TableName=ORDERS, Item=item)
    assert both.engine_result(operation, request_) == {"__type": "ValidationException"}
    assert "__type" not in both.emulator_result(operation, request_)


def test_the_emulator_does_not_normalize_numbers_in_a_transaction_but_dynamodb_does(both: Both):
    update = {"UpdateExpression": "SET n = :n", "ExpressionAttributeValues": {":n": {"N": "02.50"}}}
    for call in (both.engine.call, both.emulator):
        call("TransactWriteItems", TransactItems=[{"Update": {"TableName": ORDERS, "Key": KEY, **update}}])
    assert both.engine.call("GetItem", TableName=ORDERS, Key=KEY)["Item"]["n"] == {"N": "2.5"}
    assert both.emulator("GetItem", TableName=ORDERS, Key=KEY)["Item"]["n"] == {"N": "02.50"}
