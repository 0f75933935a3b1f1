"""Effects: descriptions of the DynamoDB requests and pauses that app.py performs for the core.

The stream handler, the jobs and the routes that read are generators that yield effects. `perform` in app.py carries out
each effect and sends back its result. So the core makes no AWS calls and reads no clock.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple, Protocol, TypeVar

from chalicelib import tables
from chalicelib.orders import Item

Key = tuple[str, ...]
"""The values of an item's key attributes, in the order of tables.KEYS."""


class Get(NamedTuple):
    """Read an item by its key, consistently. The result is the item, or None if it does not exist."""

    table: str
    key: Key


READ_MAX_KEYS = 100
"""The most items that one BatchGetItem reads (API reference)."""


class BatchGet(NamedTuple):
    """Read items by their keys. The result is a dict from key to item, without items that do not exist."""

    table: str
    keys: Sequence[Key]
    consistent: bool = True

    def requests(self, names: Mapping[str, str]) -> Iterator[Any]:
        """Yield the `RequestItems` for each BatchGetItem request. `names` has the tables' physical names."""
        for start in range(0, len(self.keys), READ_MAX_KEYS):
            keys = [key(self.table, values) for values in self.keys[start : start + READ_MAX_KEYS]]
            yield {names[self.table]: {"Keys": keys, "ConsistentRead": self.consistent}}

    def items(self, response: Any) -> dict[Key, Item]:
        """Return the items in a BatchGetItem response, by key."""
        return {key_of(self.table, item): item for items in response["Responses"].values() for item in items}

    def unprocessed(self, response: Any) -> Any:
        """Return the `RequestItems` that read the items which DynamoDB left out, because of throttling or size."""
        left = response["UnprocessedKeys"]
        return {name: {"Keys": left[name]["Keys"], "ConsistentRead": self.consistent} for name in left}


class Scan(NamedTuple):
    """Read a page of a table. The result is a Page."""

    table: str
    start: Key | None  # The key after which the page starts.
    limit: int
    consistent: bool = True
    segment: int = 0
    segments: int = 1

    def parameters(self, name: str) -> dict[str, Any]:
        """Return the parameters for DynamoDB's Scan. `name` is the table's physical name."""
        parameters: dict[str, Any] = {
            "TableName": name,
            "Limit": self.limit,
            "ConsistentRead": self.consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if self.start is not None:
            parameters["ExclusiveStartKey"] = key(self.table, self.start)
        if self.segments > 1:
            parameters |= {"Segment": self.segment, "TotalSegments": self.segments}
        return parameters


class Query(NamedTuple):
    """Read a page of the items with a partition key, ordered by sort key. The read is consistent and returns a Page."""

    table: str
    partition: str
    first: str | None = None  # The smallest sort key to return.
    last: str | None = None  # The largest sort key to return.
    start: Key | None = None  # The key after which the page starts.
    limit: int | None = None  # None returns as many items as fit into 1 MB.

    def parameters(self, name: str) -> dict[str, Any]:
        """Return the parameters for DynamoDB's Query. `name` is the table's physical name."""
        bounds = {f":{end}": {"S": value} for end in ("first", "last") if (value := getattr(self, end)) is not None}
        condition = {
            (): "",
            (":first",): " AND #sort >= :first",
            (":last",): " AND #sort <= :last",
            (":first", ":last"): " AND #sort BETWEEN :first AND :last",
        }[tuple(bounds)]
        partition, sort = tables.KEYS[self.table]
        parameters: dict[str, Any] = {
            "TableName": name,
            "KeyConditionExpression": f"#partition = :partition{condition}",
            "ExpressionAttributeNames": {"#partition": partition, **({"#sort": sort} if bounds else {})},
            "ExpressionAttributeValues": {":partition": {"S": self.partition}, **bounds},
            "ConsistentRead": True,
        }
        if self.start is not None:
            parameters["ExclusiveStartKey"] = key(self.table, self.start)
        return parameters if self.limit is None else {**parameters, "Limit": self.limit}


class Page(NamedTuple):
    """The result of a Scan or a Query."""

    items: Sequence[Item]
    last: Key | None  # The key after which the next page starts; None if this is the last page.
    units: float = 0.0  # The read units that the request used.


class Actions(Protocol):
    """The writes in a transaction."""

    def actions(self, names: Mapping[str, str], now: str) -> list[Any]:
        """Return the `TransactItems`. `names` has the tables' physical names; `now` is a timestamp."""


class Transact(NamedTuple):
    """Commit a transaction. The result is Committed or Cancelled."""

    transaction: Actions


class Committed(NamedTuple):
    """DynamoDB carried out the whole transaction."""


class Cancelled(NamedTuple):
    """DynamoDB cancelled the transaction and applied none of its writes."""

    reasons: Sequence[Mapping[str, Any]]  # DynamoDB's `CancellationReasons`.


class ConditionalUpdate(NamedTuple):
    """Update an item if a condition holds. The result is whether it did."""

    table: str
    parameters: Mapping[str, Any]  # The parameters for DynamoDB's UpdateItem, without TableName.


class Sleep(NamedTuple):
    """Wait. The result is the time after the wait, in epoch seconds."""

    seconds: float = 0.0
    jitter: bool = False  # Wait for a random part of the time, so that conflicting invocations do not collide again.


class Checkpoint(NamedTuple):
    """Mark a point at which a job can stop and return a cursor."""


class Together(NamedTuple):
    """Carry out effects at the same time. The result is the list of their results.

    An error is raised after all of them have ended.
    """

    effects: "Sequence[BatchGet | Transact]"


Effect = Get | BatchGet | Scan | Query | Transact | ConditionalUpdate | Sleep | Checkpoint | Together

Result = TypeVar("Result")
Steps = Generator[Effect, Any, Result]
"""A generator that yields effects, receives their results, and returns a `Result`."""


def together(effects: Sequence[BatchGet | Transact]) -> Steps[Any]:
    """Yield effects to be carried out at the same time, a single one by itself; return the list of their results."""
    return [(yield effects[0])] if len(effects) == 1 else (yield Together(effects))


class RequestCounter:
    """Count the DynamoDB requests that this container has made for effects."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = Lock()  # Effects that are carried out at the same time are counted in several threads.

    def add(self, requests: int) -> None:
        """Add a number of requests."""
        with self._lock:
            self.requests += requests

    def count(self, effect: Effect) -> None:
        """Count the request of an effect. Those of a BatchGet are counted one by one."""
        self.add(isinstance(effect, Get | Scan | Query | Transact | ConditionalUpdate))


def page(table: str, response: Mapping[str, Any]) -> Page:
    """Return the page in DynamoDB's response to a Scan or a Query."""
    last = response.get("LastEvaluatedKey")
    units = response.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
    return Page(response["Items"], None if last is None else key_of(table, last), units)


def key(table: str, values: Key) -> dict[str, Any]:
    """Return a key in DynamoDB's JSON."""
    return {name: {"S": value} for name, value in zip(tables.KEYS[table], values, strict=True)}


def key_of(table: str, item: Item) -> Key:
    """Return the values of an item's key attributes."""
    return tuple(item[name]["S"] for name in tables.KEYS[table])


def update_state(key: Key, attributes: Item, condition: str = "", more: Item | None = None) -> ConditionalUpdate:
    """Return the update that sets attributes of a StateTable item. `more` has values that only the condition uses."""
    parameters: dict[str, Any] = {
        "Key": {"name": {"S": key[0]}},
        "UpdateExpression": f"SET {', '.join(f'{name} = :{name}' for name in attributes)}",
        "ExpressionAttributeValues": {**{f":{name}": value for name, value in attributes.items()}, **(more or {})},
    }
    return ConditionalUpdate(tables.STATE, parameters | ({"ConditionExpression": condition} if condition else {}))
