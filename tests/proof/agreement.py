"""Compare the engine with the emulator: they must return the same results for the same random operations.

.venv/bin/python -m tests.proof.agreement --operations 100000 --seed 7
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

from infrastructure.local_stage import HOST
from localcloud.emulator import Emulator
from tests.proof.engine import calm, expressions
from tests.proof.engine.database import Database, Table
from tests.proof.engine.expressions import ServiceError, normalize_number
from tests.proof.engine.streams import Stream
from tests.proof.harness import EmulatorClient

ORDERS, TREND = "AgreementOrders", "AgreementTrend"
KEYS = {ORDERS: ("OrderID",), TREND: ("product", "day")}
NUMBERS = ["0", "1", "7", "-3", "2.50", "1e3", "007", "12345678901234567890", "-0.001"]
TEXTS = ["", "a", "b", "Pen", "é", "zz"]
# The engine's messages for requests that it rejects but the emulator accepts.
KNOWN_DIFFERENCES = (expressions.SET_OPERAND, expressions.TOO_MANY_DIGITS)
PATHS = ["#a", "#b", "revision", "#c"]


class RandomOperations:
    """Make random operations on two small tables, some of them invalid."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._values: dict[str, Any] = {}
        self._placeholders = 0

    def make(self) -> tuple[str, dict[str, Any]]:
        """Return a random operation and its request."""
        operation: str = self._pick(
            ["PutItem", "UpdateItem", "UpdateItem", "DeleteItem", "GetItem", "BatchGetItem"]
            + ["TransactWriteItems"] * 3
            + ["Scan", "Query"]
        )
        table = self._pick([ORDERS, TREND])
        match operation:
            case "TransactWriteItems":
                number = self._pick([1, 2, 3, 4])
                return operation, {"TransactItems": [self._action() for _ in range(number)]}
            case "BatchGetItem":
                keys = [self._key(table) for _ in range(self._pick([1, 2, 4]))]
                return operation, {"RequestItems": {table: {"Keys": keys, "ConsistentRead": True}}}
            case "Scan":
                return operation, {"TableName": table, "ConsistentRead": True}
            case "Query":
                self._values = {":p": {"S": self._pick(["a", "b", "c"])}}
                more = self._pick(["", " AND #d BETWEEN :p AND :high", " AND #d >= :high"]) if table == TREND else ""
                names = {"#p": KEYS[table][0]}
                if more:
                    names["#d"] = "day"
                    self._values[":high"] = {"S": self._pick(["b", "c"])}
                pages = {"Limit": self._pick([1, 2])} if self._random.random() < 0.3 else {}
                if table == TREND and self._random.random() < 0.2:
                    pages["ExclusiveStartKey"] = {"product": self._values[":p"], "day": {"S": self._pick(["a", "b"])}}
                return operation, {
                    "TableName": table,
                    **pages,
                    "KeyConditionExpression": f"#p = :p{more}",
                    "ExpressionAttributeNames": names,
                    "ExpressionAttributeValues": self._values,
                }
            case "GetItem":
                return operation, {"TableName": table, "Key": self._any_key(table), "ConsistentRead": True}
        kind = operation.removesuffix("Item")
        request = self._write(kind, table)
        if kind != "Put":
            request["Key"] = self._any_key(table)
        if kind == "Update":
            request["ReturnValues"] = self._pick(["NONE", "ALL_OLD", "ALL_NEW"])
        else:
            request["ReturnValues"] = self._pick(["NONE", "ALL_OLD"])
        return operation, request

    def _pick(self, options: list[Any]) -> Any:
        return self._random.choice(options)

    def _key(self, table: str) -> dict[str, Any]:
        return {name: {"S": self._pick(["a", "b", "c"])} for name in KEYS[table]}

    def _any_key(self, table: str) -> dict[str, Any]:
        """Return a key, perhaps an invalid one. In transactions, the emulator does not check keys (test_engine.py)."""
        key = self._key(table)
        if self._random.random() < 0.02:
            key["OrderID" if table == ORDERS else "day"] = {"S": self._pick(["", "a" * 2049])}
        if self._random.random() < 0.01:
            key["more"] = {"N": "1"}
        return key

    def _value(self) -> dict[str, Any]:
        kind = self._pick(["N", "N", "N", "S", "BOOL", "NULL", "L", "M"])
        contents: dict[str, Any] = {
            "N": self._pick(NUMBERS),
            "S": self._pick(TEXTS),
            "BOOL": self._pick([True, False]),
            "NULL": True,
            "L": [{"N": self._pick(NUMBERS)}, {"S": "x"}],
            "M": {"inner": {"N": self._pick(NUMBERS)}},
        }
        return {kind: contents[kind]}

    def _action(self) -> dict[str, Any]:
        kind = self._pick(["Put", "Put", "Update", "Update", "Delete", "ConditionCheck"])
        return {kind: self._write(kind, self._pick([ORDERS, TREND]))}

    def _write(self, kind: str, table: str) -> dict[str, Any]:
        request: dict[str, Any] = {"TableName": table}
        self._values = {}
        if kind == "Put":
            content = {name: self._value() for name in ("total", "b", "revision") if self._random.random() < 0.5}
            request["Item"] = {**self._key(table), **content}
        else:
            request["Key"] = self._key(table)
        if kind == "Update":
            request["UpdateExpression"] = self._update()
        if kind == "ConditionCheck" or self._random.random() < 0.5:
            request["ConditionExpression"] = self._condition(depth=0)
            request["ReturnValuesOnConditionCheckFailure"] = self._pick(["ALL_OLD", "NONE"])
        text = f"{request.get('UpdateExpression', '')} {request.get('ConditionExpression', '')}"
        names = {name: real for name, real in (("#a", "total"), ("#b", "b"), ("#c", "é c")) if name in text}
        if self._random.random() < 0.02:
            names["#unused"] = "x"
        if names:
            request["ExpressionAttributeNames"] = names
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request

    def _placeholder(self, value: dict[str, Any] | None = None) -> str:
        self._placeholders += 1
        name = f":v{self._placeholders}"
        self._values[name] = value or self._value()
        return name

    def _number(self) -> dict[str, Any]:
        return {"N": self._pick(NUMBERS)} if self._random.random() < 0.95 else {"S": "a"}

    def _update(self) -> str:
        paths = self._random.sample(PATHS, 3)
        sets = self._pick(
            [
                f"SET {paths[0]} = {self._placeholder()}",
                f"SET {paths[0]} = if_not_exists({paths[0]}, {self._placeholder()})",
                f"SET {paths[0]} = {paths[1]} + {self._placeholder(self._number())}",
                f"SET {paths[0]} = {paths[1]} - {self._placeholder(self._number())}",
                "",
            ]
        )
        used = {name for name in self._values if re_word(name, sets)}
        self._values = {name: value for name, value in self._values.items() if name in used}
        adds = f" ADD {paths[1]} {self._placeholder(self._number())}" if self._random.random() < 0.6 else ""
        removes = f" REMOVE {paths[2]}" if self._random.random() < 0.3 or not (sets or adds) else ""
        return f"{sets}{adds}{removes}".strip()

    def _condition(self, depth: int) -> str:
        path = self._pick(PATHS)
        form = self._pick(["exists", "absent", "type", "compare", "compare", "between", "not", "and", "or"])
        match form:
            case "exists":
                return f"attribute_exists({path})"
            case "absent":
                return f"attribute_not_exists({path})"
            case "type":
                return f"attribute_type({path}, {self._placeholder({'S': self._pick(['N', 'S', 'BOOL', 'M'])})})"
            case "between":
                low, high = sorted(self._random.sample([-3, 0, 7, 100], 2))
                return f"{path} BETWEEN {self._placeholder({'N': str(low)})} AND {self._placeholder({'N': str(high)})}"
            case "not" if depth < 2:
                return f"NOT {self._condition(depth + 1)}"
            case "and" | "or" if depth < 2:
                return f"({self._condition(depth + 1)} {form.upper()} {self._condition(depth + 1)})"
        sign = self._pick(["=", "<>", "<", "<=", ">", ">="])
        value = self._number() if sign not in ("=", "<>") else self._value()
        return f"{path} {sign} {self._placeholder(value)}"


def re_word(name: str, text: str) -> bool:
    """Return whether an expression contains a placeholder."""
    return name in text.replace(",", " ").replace(")", " ").replace("(", " ").split()


class Both:
    """The engine and the emulator, with the same two empty tables."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = EmulatorClient(emulator.port)
        self._messages = ""  # The messages in the engine's last result.
        self.engine = Database(lambda: 0.0, calm)
        for name, keys in KEYS.items():
            stream = Stream("arn/stream/1", "NEW_AND_OLD_IMAGES") if name == ORDERS else None
            self.engine.tables[name] = Table(name, keys, stream)
            self.emulator(
                "CreateTable",
                TableName=name,
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                BillingMode="PAY_PER_REQUEST",
                **(
                    {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}
                    if stream
                    else {}
                ),
            )

    def is_known_difference(self) -> bool:
        """Return whether the engine just rejected a request that the emulator accepts (see test_engine.py)."""
        return any(message in self._messages for message in KNOWN_DIFFERENCES)

    def engine_result(self, operation: str, request: dict[str, Any]) -> Any:
        """Carry out an operation on the engine and return its comparable result."""
        self._messages = ""
        try:
            return comparable(self.engine.call(operation, **request))
        except ServiceError as error:
            self._messages = f"{error.message} {error.more}"
            return comparable({"__type": error.code, **error.more})

    def engine_records(self) -> list[dict[str, Any]]:
        """Return all records of the engine's stream."""
        stream = self.engine.tables[ORDERS].stream
        return [record for shard in stream.shards for record in shard.records] if stream else []

    def emulator_records(self) -> list[dict[str, Any]]:
        """Return all records of the emulator's stream."""
        arn = self.emulator("DescribeTable", TableName=ORDERS)["Table"]["LatestStreamArn"]
        (shard,) = self.emulator.stream("DescribeStream", StreamArn=arn)["StreamDescription"]["Shards"]
        where = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = self.emulator.stream("GetShardIterator", **where)["ShardIterator"]
        records: list[dict[str, Any]] = []
        while page := self.emulator.stream("GetRecords", ShardIterator=iterator):
            records += page["Records"]
            iterator = page.get("NextShardIterator")
            if not (page["Records"] and iterator):
                break
        return records

    def emulator_result(self, operation: str, request: dict[str, Any]) -> Any:
        """Carry out an operation on the emulator and return its comparable result."""
        return comparable(self.emulator.attempt(operation, **request))


def comparable(response: Mapping[str, Any]) -> Any:
    """Return a response without messages, with normalized numbers and sorted items, so that it can be compared."""
    content = {name: _plain(value) for name, value in response.items() if name not in ("message", "Message")}
    if "__type" in content:
        content["__type"] = content["__type"].rpartition("#")[2]
    if "Items" in content:
        items = sorted(json.dumps(item, sort_keys=True) for item in content["Items"])
        return items, content.get("LastEvaluatedKey")
    if "Responses" in content:
        return {
            table: sorted(json.dumps(item, sort_keys=True) for item in items)
            for table, items in content["Responses"].items()
        }
    if "CancellationReasons" in content:
        content["CancellationReasons"] = [
            {name: value for name, value in reason.items() if name != "Message"}
            for reason in content["CancellationReasons"]
        ]
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return (
            {"N": normalize_number(value["N"])} if value.keys() == {"N"} else {k: _plain(v) for k, v in value.items()}
        )
    return [_plain(each) for each in value] if isinstance(value, list) else value


def differences(both: Both, operations: int, seed: int, most: int = 1) -> list[str]:
    """Carry out random operations on both. Describe the first `most` that have different results."""
    make = RandomOperations(seed)
    found: list[str] = []
    for number in range(operations):
        operation, request = make.make()
        ours = both.engine_result(operation, request)
        if both.is_known_difference():
            continue  # The engine changed nothing, so the tables stay equal.
        theirs = both.emulator_result(operation, request)
        if ours != theirs:
            found.append(f"{number}: {operation} {json.dumps(request)}\n  engine:   {ours}\n  emulator: {theirs}")
            if len(found) == most:
                break
    return found


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    with Emulator() as emulator:
        found = differences(Both(emulator), options.operations, options.seed, options.most)
    print(*found, sep="\n")
    seconds = time.monotonic() - started
    print(f"{options.operations:,} operations on {HOST} in {seconds:.0f} s: {len(found)} have different results.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
