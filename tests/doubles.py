"""An in-memory fake of DynamoDB for tests of the core, with only the operations that the core uses.

tests/proof and tests/e2e use an emulator instead.
"""

import copy
import math
import pickle
import re
import zlib
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from chalicelib import effects, tables, timestamps
from chalicelib.counting import committer, entry_item, ledger, stream
from chalicelib.counting.committer import Committer

NAMES = {table: table for table in tables.KEYS}
NOW = 1_795_000_000  # The current time in epoch seconds.
NO_AMOUNTS = ("revision", tables.TTL)
_DYNAMODB = Context(prec=38, traps=[Inexact, InvalidOperation])  # As in DynamoDB, a 39th digit is an error.


Tables = dict[str, dict[tuple[str, ...], dict[str, Any]]]


class Crash(Exception):
    """Simulates the crash of an invocation."""


class FakeDynamoDB:
    """In-memory tables with conditional transactions, and counts of the requests.

    A consistent read sees the current tables. Any other read sees a replica, which has only the writes before the last
    `catch_up`. The replica catches up when a job starts and whenever it sleeps.
    """

    def __init__(self) -> None:
        self.tables: Tables = {table: {} for table in tables.KEYS}
        self.lags = True  # Whether eventually consistent reads can miss a write.
        self._replica: Tables = {table: {} for table in tables.KEYS}
        self.transactions = 0
        self.reads = 0
        self.rounds = 0  # Of requests that are in flight at the same time.
        self.write_units = 0
        self.now = NOW  # The current time. A Sleep advances it.
        self.corrections = 0
        # A hook that runs before each transaction. It may change the tables or return cancellation reasons.
        self.before_transaction: Callable[[], Sequence[dict[str, Any]] | None] = lambda: None
        self.after_transaction: Callable[[], None] = lambda: None
        # A hook that gets a transaction's actions and may return cancellation reasons.
        self.refuse: Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]] | None] = lambda actions: None

    def catch_up(self, *names: str) -> None:
        """Update the replica of these tables, or of all tables by default."""
        for name in names or self.tables:
            self._replica[name] = pickle.loads(pickle.dumps(self.tables[name]))  # pickle is faster than copy.deepcopy.

    def get(self, effect: effects.Get) -> Any:
        """Carry out a Get."""
        self.reads += 1
        return copy.deepcopy(self.tables[effect.table].get(effect.key))

    def query(self, effect: effects.Query) -> effects.Page:
        """Carry out a Query."""
        self.reads += 1
        table = self.tables[effect.table]
        after = effect.start or (effect.partition, "")
        keys = sorted(key for key in table if key[0] == effect.partition and key > after)
        first, last = effect.first or "", "\U0010ffff" if effect.last is None else effect.last
        found = [copy.deepcopy(table[key]) for key in keys if first <= key[1] <= last][: effect.limit]
        more = {"LastEvaluatedKey": found[-1]} if len(found) == effect.limit else {}
        return effects.page(effect.table, {"Items": found, **more})

    def _seen_by(self, effect: effects.Scan | effects.BatchGet) -> dict[tuple[str, ...], dict[str, Any]]:
        return (self.tables if effect.consistent or not self.lags else self._replica)[effect.table]

    def batch_get(self, effect: effects.BatchGet) -> dict[effects.Key, Any]:
        """Carry out a BatchGet."""
        assert len(set(effect.keys)) == len(effect.keys)
        self.reads += math.ceil(len(effect.keys) / 100)
        table = self._seen_by(effect)
        found = {key: table.get(key) for key in effect.keys}
        return {key: copy.deepcopy(item) for key, item in found.items() if item is not None}

    def scan(self, effect: effects.Scan) -> effects.Page:
        """Carry out a Scan. It returns items in the order of their keys' hashes, as DynamoDB does."""
        parameters = effect.parameters(effect.table)
        segment, segments = parameters.get("Segment", 0), parameters.get("TotalSegments", 1)
        table = self._seen_by(effect)
        keys = sorted((key for key in table if _hash(key) % segments == segment), key=_hash)
        if "ExclusiveStartKey" in parameters:
            start = effects.key_of(effect.table, parameters["ExclusiveStartKey"])
            keys = [key for key in keys if _hash(key) > _hash(start)]
        found = [copy.deepcopy(table[key]) for key in keys[: parameters["Limit"]]]
        # As in DynamoDB, a full page has a LastEvaluatedKey even if it is the last page.
        more = {"LastEvaluatedKey": found[-1]} if len(found) == parameters["Limit"] else {}
        return effects.page(effect.table, {"Items": found, **more})

    def update(self, effect: effects.ConditionalUpdate) -> bool:
        """Carry out a ConditionalUpdate. Return whether its condition held."""
        names, values = effect.parameters["ExpressionAttributeNames"], effect.parameters["ExpressionAttributeValues"]
        place = tuple(value["S"] for value in effect.parameters["Key"].values())
        stored = self.tables[effect.table].get(place, {})
        revision = stored.get(names["#revision"])
        holds: bool = {
            "#revision = :seen": revision == values[":seen"],
            "NOT attribute_type(#revision, :seen)": "N" not in (revision or {}),
        }[effect.parameters["ConditionExpression"]]
        self.corrections += effect.table != tables.STATE
        if holds:
            item = self.tables[effect.table].setdefault(place, dict(effect.parameters["Key"]))
            self._add(item, dict(effect.parameters))
        return holds

    def transact(self, actions: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Carry out a transaction's actions. Return the cancellation reasons, or an empty sequence if it committed."""
        self.transactions += 1
        instead = self.before_transaction() or self.refuse(actions)
        if instead is not None:
            return instead
        assert 1 <= len(actions) <= 100
        places = [self._place(action) for action in actions]
        assert len(set(places)) == len(places), "two actions on one item"
        self.write_units += 2 * len(actions)  # All items in these tests are below 1 KB.
        reasons = [self._reason(action, place) for action, place in zip(actions, places, strict=True)]
        if any(reason["Code"] != "None" for reason in reasons):
            return reasons
        for action, (table, key) in zip(actions, places, strict=True):
            if "Put" in action:
                self.tables[table][key] = copy.deepcopy(action["Put"]["Item"])
            else:
                self._add(self.tables[table].setdefault(key, dict(action["Update"]["Key"])), action["Update"])
        self.after_transaction()
        return []

    def _place(self, action: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
        (request,) = action.values()
        holder = request["Item"] if "Put" in action else request["Key"]
        return request["TableName"], tuple(holder[name]["S"] for name in tables.KEYS[request["TableName"]])

    def _reason(self, action: dict[str, Any], place: tuple[str, tuple[str, ...]]) -> dict[str, Any]:
        table, key = place
        stored = self.tables[table].get(key)
        if "Update" in action and not _can_add(stored or {}, action["Update"]):
            return {
                "Code": "ValidationError",
                "Message": "An operand in the update expression has an incorrect data type",
            }
        condition = action.get("Put", {}).get("ConditionExpression")
        holds = {
            None: lambda: True,
            "attribute_not_exists(OrderID)": lambda: stored is None,
            "revision = :seen": lambda: (
                stored is not None and stored.get("revision") == action["Put"]["ExpressionAttributeValues"][":seen"]
            ),
            "attribute_exists(OrderID) AND attribute_not_exists(revision)": lambda: (
                stored is not None and "revision" not in stored
            ),
        }[condition]()
        if holds:
            return {"Code": "None"}
        assert action["Put"]["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
        return {"Code": "ConditionalCheckFailed"} | ({"Item": copy.deepcopy(stored)} if stored else {})

    @staticmethod
    def _add(item: dict[str, Any], update: dict[str, Any]) -> None:
        names, values = update["ExpressionAttributeNames"], update["ExpressionAttributeValues"]
        rest, _, removes = update["UpdateExpression"].partition(" REMOVE ")
        sets, _, adds = rest.partition("ADD ")
        for name in filter(None, removes.split(", ")):
            item.pop(names[name], None)
        for name, value in re.findall(r"(#\w+) = (:\w+)", sets):
            item[names[name]] = values[value]
        for name, value in re.findall(r"(#\w+) (:\w+)", adds):
            item[names[name]] = {"N": _sum(item.get(names[name], {"N": "0"})["N"], values[value]["N"])}

    # --- State for assertions --------------------------------------------------------------------

    def counters(self) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
        """Return the nonzero amounts of all counters. Numbers with a decimal point are Decimals."""
        counters = {}
        for table in tables.KEYS:
            if table in (tables.ORDERS, tables.LEDGER, tables.STATE):
                continue
            for key, item in self.tables[table].items():
                added = {name: value["N"] for name, value in item.items() if name not in NO_AMOUNTS and "N" in value}
                amounts = {name: Decimal(number) if "." in number else int(number) for name, number in added.items()}
                if any(amounts.values()):
                    counters[table, key] = {name: amount for name, amount in amounts.items() if amount}
        return counters

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return each product's quantity and number of orders, from AggregateTable."""
        return {
            product: (int(item["totalQuantity"]["N"]), int(item["orderCount"]["N"]))
            for (product,), item in self.tables[tables.TOTALS].items()
        }

    def entry(self, order_id: str) -> ledger.Entry:
        """Return an order's ledger entry."""
        return entry_item.from_item(order_id, self.tables[tables.LEDGER].get((order_id,)))


def commit(work: Committer, dynamo: FakeDynamoDB) -> Committer:
    """Run a committer on `dynamo` to its end, and return it."""
    run(work, dynamo)
    return work


def deliver(records: Sequence[dict[str, Any]], dynamo: FakeDynamoDB) -> Committer:
    """Count a batch of stream records, as the stream handler does."""
    return commit(committer.for_stream(stream.read(records).records_by_order, dynamo.now), dynamo)


def run(
    work: Any,
    dynamo: FakeDynamoDB,
    checkpoints: int = 1_000_000,
    before_each: Callable[[effects.Effect], None] | None = None,
) -> None:
    """Perform the effects of a committer or a job on `dynamo`, as app.py does on DynamoDB.

    Stop a job after `checkpoints` checkpoints. Call `before_each` before each effect.
    """
    steps = work.steps()
    result: Any = None
    dynamo.catch_up()
    for _ in range(1_000_000):
        try:
            effect = steps.send(result)
        except StopIteration:
            return
        if before_each:
            before_each(effect)
        if isinstance(effect, effects.Checkpoint):
            checkpoints -= 1
            if checkpoints == 0:
                return
        dynamo.rounds += not isinstance(effect, effects.Sleep | effects.Checkpoint)
        result = perform(effect, dynamo)
    raise AssertionError("the steps do not come to an end")


def perform(effect: effects.Effect, dynamo: FakeDynamoDB) -> Any:
    """Carry out one effect on `dynamo` and return its result."""
    match effect:
        case effects.Get():
            return dynamo.get(effect)
        case effects.Query():
            return dynamo.query(effect)
        case effects.Scan():
            return dynamo.scan(effect)
        case effects.BatchGet():
            return dynamo.batch_get(effect)
        case effects.ConditionalUpdate():
            return dynamo.update(effect)
        case effects.Transact():
            reasons = dynamo.transact(effect.transaction.actions(NAMES, timestamps.from_epoch(NOW)))
            return effects.Cancelled(reasons) if reasons else effects.Committed()
        case effects.Sleep():
            if effect.seconds:
                dynamo.now += int(effect.seconds)
                dynamo.catch_up()
            return dynamo.now
        case effects.Checkpoint():
            return None
        case effects.Together():
            return [perform(each, dynamo) for each in effect.effects]


def _can_add(item: dict[str, Any], update: dict[str, Any]) -> bool:
    """Return whether all attributes that an update adds to are numbers or missing."""
    added = re.findall(r"(#\w+) :\w+", update["UpdateExpression"].partition("ADD ")[2])
    attributes = [item.get(update["ExpressionAttributeNames"][name]) for name in added]
    return all(attribute is None or "N" in attribute for attribute in attributes)


def _sum(left: str, right: str) -> str:
    """Return the sum of two numbers as DynamoDB returns it, without trailing zeros."""
    if left.lstrip("-").isdigit() and right.lstrip("-").isdigit():
        return str(int(left) + int(right))
    return f"{_DYNAMODB.normalize(_DYNAMODB.add(Decimal(left), Decimal(right))):f}"


def _hash(key: tuple[str, ...]) -> int:
    return zlib.crc32("/".join(key).encode())
