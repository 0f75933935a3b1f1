"""Effects: what the core asks app.py to do. A generator yields them and is sent the results."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from chalicelib import tables
from chalicelib.counting.committer import Committer
from chalicelib.orders import Item

Key = tuple[str, ...]
"""The values of an item's key attributes, as tables.KEYS names them."""


class Scan(NamedTuple):
    """A page of a table. The answer is a Page."""

    table: str
    start: Key | None  # The key after which it starts.
    limit: int
    consistent: bool = True
    segment: int = 0
    segments: int = 1

    def parameters(self, name: str) -> dict[str, Any]:
        """The parameters of DynamoDB's Scan, `name` being the table's own."""
        parameters: dict[str, Any] = {"TableName": name, "Limit": self.limit, "ConsistentRead": self.consistent}
        if self.start is not None:
            parameters["ExclusiveStartKey"] = key(self.table, self.start)
        if self.segments > 1:
            parameters |= {"Segment": self.segment, "TotalSegments": self.segments}
        return parameters


class Page(NamedTuple):
    """What a Scan found."""

    items: Sequence[Item]
    last: Key | None  # The key after which the next page starts; None if there is no more.


def page(table: str, answer: Mapping[str, Any]) -> Page:
    """DynamoDB's answer to a Scan."""
    last = answer.get("LastEvaluatedKey")
    return Page(answer["Items"], None if last is None else key_of(table, last))


class BatchGet(NamedTuple):
    """Items by their keys. The answer is a dict of those that are there."""

    table: str
    keys: Sequence[Key]
    consistent: bool = True


class Sleep(NamedTuple):
    """A pause. The answer is the time after it, in epoch seconds."""

    seconds: float = 0.0


class Checkpoint(NamedTuple):
    """No request: here the job can be left and its cursor taken."""


class ConditionalUpdate(NamedTuple):
    """An UpdateItem with a condition. The answer is whether the condition held."""

    table: str
    parameters: Mapping[str, Any]  # All but the table's name.


Effect = Scan | BatchGet | Sleep | Checkpoint | ConditionalUpdate | Committer
"""A Committer is to be settled; its answer is None."""


class RequestCounter:
    """How many requests this container has made of DynamoDB for jobs and settlements."""

    def __init__(self) -> None:
        self.requests = 0


Result = TypeVar("Result")
Steps = Generator[Effect, Any, Result]
"""Something that yields requests, is sent their answers, and comes to a result."""


def key(table: str, values: Key) -> dict[str, Any]:
    """A key as DynamoDB takes it."""
    return {name: {"S": value} for name, value in zip(tables.KEYS[table], values, strict=True)}


def key_of(table: str, item: Item) -> Key:
    """The key of an item."""
    return tuple(item[name]["S"] for name in tables.KEYS[table])
