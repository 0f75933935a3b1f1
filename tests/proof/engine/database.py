"""Tables and their operations. An operation is a generator, and at each `yield` other operations may continue."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.proof.engine import Choose, expressions
from tests.proof.engine.expressions import Condition, Given, Item, ServiceError, Update, invalid, size_of
from tests.proof.engine.streams import Stream, scan_order

Key = tuple[str, ...]
Running = Generator[None, None, dict[str, Any]]

KB = 1024
ITEM_MAX_BYTES = 400 * KB  # Source: "Quotas in Amazon DynamoDB".
KEY_MAX_BYTES = (2048, 1024)  # The limits for partition key and sort key, from the same page.
PAGE_BYTES = 1_000_000  # Source: "Paginating table query results".
BATCH_GET_KEYS = 100  # Source: API reference, BatchGetItem.
TRANSACTION_ACTIONS = 100  # Source: API reference, TransactWriteItems.
TRANSACTION_BYTES = 4_000_000
SEGMENTS_MAX = 1_000_000  # Source: API reference, Scan.
TOKEN_SECONDS = 600  # "A client token is valid for 10 minutes after the first request that uses it is completed."
# "Read consistency": an eventually consistent read may not reflect a write that completed recently. AWS gives no limit.
# The proof assumes this one (docs/proof.md).
STALE_SECONDS = 1.0
# The cancellation reason of a throttled item (API reference, TransactionCanceledException).
THROTTLED = ("ThrottlingError", "ProvisionedThroughputExceeded")


class Version(NamedTuple):
    """An older version of an item, and the time at which it was replaced."""

    item: Item | None
    until: float


@dataclass
class Stored:
    """The stored state of one key: the item, its lock and its older versions."""

    item: Item | None = None
    size: int = 0
    transaction: object = None  # The transaction that has locked this item, if any.
    older: list[Version] = field(default_factory=list)


@dataclass
class Table:
    """A table. All key attributes are strings."""

    name: str
    keys: tuple[str, ...]
    stream: Stream | None = None
    places: dict[Key, Stored] = field(default_factory=dict)
    sorted_keys: list[Key] | None = None  # Keys in Scan order; None if not sorted yet.

    def place(self, key: Key) -> Stored:
        """Return the stored state of a key. Create it if there is none."""
        if key not in self.places:
            self.places[key] = Stored()
            self.sorted_keys = None
        return self.places[key]

    def in_order(self) -> Sequence[Key]:
        """Return all keys in the order of a Scan: by the partition key's hash, then by the sort key."""
        if self.sorted_keys is None:
            self.sorted_keys = sorted(self.places, key=scan_order)
        return self.sorted_keys

    def items(self) -> Iterator[Item]:
        """Yield the current version of every item."""
        for place in self.places.values():
            if place.item is not None:
                yield place.item


class Write(NamedTuple):
    """A write to one item, either a single request or an action of a transaction."""

    kind: str  # Put, Update, Delete or ConditionCheck.
    request: Mapping[str, Any]
    table: Table
    key: Key
    update: Update | None
    condition: Condition | None
    size: int = 0  # Of the item that a Put writes.


class _Token(NamedTuple):
    """A client request token. `done_at` is None while its transaction is in progress."""

    request: Any
    done_at: float | None


class Database:
    """Tables and the operations on them. `clock()` returns epoch seconds."""

    def __init__(
        self, clock: Callable[[], float], choose: Choose, page_bytes: int = PAGE_BYTES, mishaps: int = 0
    ) -> None:
        """If `mishaps` is not 0, one in `mishaps` requests has a throttled item or unprocessed keys."""
        self.clock = clock
        self.choose = choose
        self.mishaps = mishaps
        self.tables: dict[str, Table] = {}
        self.page_bytes = page_bytes
        self.units: Counter[str] = Counter()  # Units: `write`, of those `wasted`, and `half reads`.
        self.seen: Counter[str] = Counter()  # Counts of events that never happen on an emulator.
        self.committing = 0  # The number of half-visible transactions.
        self._tokens: dict[str, _Token] = {}
        self._operations: dict[str, Callable[[Mapping[str, Any]], Running]] = {
            "GetItem": self._get_item,
            "PutItem": self._write_item("Put"),
            "UpdateItem": self._write_item("Update"),
            "DeleteItem": self._write_item("Delete"),
            "BatchGetItem": self._batch_get_item,
            "TransactWriteItems": self._transact_write_items,
            "Scan": self._scan,
            "Query": self._query,
        }

    def start(self, operation: str, request: Mapping[str, Any]) -> Running:
        """Return a started operation, a generator that returns the response or raises ServiceError."""
        return self._operations[operation](request)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Carry out an operation without interruption, and return its response."""
        running = self.start(operation, request)
        while True:
            try:
                next(running)
            except StopIteration as end:
                response: dict[str, Any] = end.value
                return response

    def expire(self, table_name: str, attribute: str) -> None:
        """Delete expired items, as TTL does. Skip items that are in a transaction."""
        table = self.tables[table_name]
        for key, place in table.places.items():
            expires = place.item.get(attribute) if place.item else None
            if expires and place.transaction is None and int(expires["N"]) <= self.clock():
                self.replace(table, key, None, by_ttl=True)

    def replace(self, table: Table, key: Key, item: Item | None, size: int | None = None, by_ttl: bool = False) -> None:
        """Store or delete an item. Write a stream record only if the item changes."""
        place = table.place(key)
        now = self.clock()
        if place.item != item:
            place.older = [version for version in place.older if version.until > now - STALE_SECONDS]
            place.older.append(Version(place.item, now))
            if table.stream:
                table.stream.append(table.keys, key, place.item, item, now, by_ttl)
            place.item, place.size = item, size_of(item or {}) if size is None else size

    # --- Requests --------------------------------------------------------------------------------

    def _table(self, request: Mapping[str, Any]) -> Table:
        try:
            return self.tables[request["TableName"]]
        except KeyError:
            raise ServiceError("ResourceNotFoundException", "Requested resource not found") from None

    def _key(self, table: Table, attributes: Mapping[str, Any], whole_item: bool = False) -> Key:
        values = []
        if not whole_item and attributes.keys() != set(table.keys):
            raise invalid("The provided key element does not match the schema")
        for name, limit in zip(table.keys, KEY_MAX_BYTES, strict=False):
            text = attributes.get(name, {}).get("S")
            if text is None:
                raise invalid(f"One or more parameter values were invalid: {name} is missing or of another type")
            if not 1 <= len(text.encode()) <= limit:
                raise invalid("One or more parameter values are not valid: a key is empty or too long")
            values.append(text)
        return tuple(values)

    def _parse_write(self, kind: str, request: Mapping[str, Any]) -> Write:
        update, condition, _ = expressions.parse(request)
        table, size = self._table(request), 0
        if kind == "ConditionCheck" and condition is None:
            raise invalid("A ConditionCheck needs a ConditionExpression")
        if kind == "Put":
            for value in request["Item"].values():
                expressions.normalize(value)
            if (size := size_of(request["Item"])) > ITEM_MAX_BYTES:
                raise invalid("Item size has exceeded the maximum allowed size")
            key = self._key(table, request["Item"], whole_item=True)
        else:
            key = self._key(table, request["Key"])
        return Write(kind, request, table, key, update, condition, size)

    @staticmethod
    def _result(write: Write) -> tuple[Item | None, int]:
        """Return the item after a write, and its size. Raise ServiceError if the current item does not allow it."""
        place = write.table.place(write.key)
        item = place.item
        if write.kind == "Put":
            return {name: expressions.normalize(value) for name, value in write.request["Item"].items()}, write.size
        if write.kind == "Delete":
            return None, 0
        if write.kind == "ConditionCheck":
            return item, place.size
        key = dict(write.request["Key"])
        after = expressions.apply(write.update, key if item is None else item, write.table.keys, write.request)
        if (size := size_of(after)) > ITEM_MAX_BYTES:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        return after, size

    @staticmethod
    def _holds(write: Write) -> bool:
        if write.condition is None:
            return True
        names = write.request.get("ExpressionAttributeNames", {})
        values = write.request.get("ExpressionAttributeValues", {})
        return write.condition(Given(write.table.place(write.key).item or {}, names, values))

    # --- Writes ----------------------------------------------------------------------------------

    def _write_item(self, kind: str) -> Callable[[Mapping[str, Any]], Running]:
        def run(request: Mapping[str, Any]) -> Running:
            yield
            write = self._parse_write(kind, request)
            place = write.table.place(write.key)
            # "Transaction conflict handling": a write to an item of an ongoing transaction is rejected.
            if place.transaction is not None:
                self.seen["plain write met a transaction"] += 1
                raise ServiceError("TransactionConflictException", "Transaction is ongoing for the item")
            before = place.item
            charged = units(place.size, KB)
            self.units["write"] += charged
            if not self._holds(write):
                wanted = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and before is not None
                more: dict[str, Any] = {"Item": dict(before)} if wanted and before else {}
                raise ServiceError("ConditionalCheckFailedException", "The conditional request failed", **more)
            after, size = self._result(write)
            self.replace(write.table, write.key, after, size)
            self.units["write"] += max(0, units(place.size, KB) - charged)
            returned = {"ALL_OLD": before, "ALL_NEW": after}.get(request.get("ReturnValues", "NONE"))
            return {"Attributes": dict(returned)} if returned else {}

        return run

    def _transact_write_items(self, request: Mapping[str, Any]) -> Running:
        """Prepare all items, then commit them one by one, in any order (ATC'23, "Transaction execution")."""
        yield
        token = request.get("ClientRequestToken")
        same = {name: value for name, value in request.items() if name != "ClientRequestToken"}
        known = self._tokens.get(token) if token else None
        if known and (known.done_at is None or known.done_at > self.clock() - TOKEN_SECONDS):
            if known.request != same:
                raise ServiceError("IdempotentParameterMismatchException")
            if known.done_at is None:
                self.seen["token still in progress"] += 1
                raise ServiceError("TransactionInProgressException")
            self.seen["token recognized"] += 1
            return {}
        writes = self._parse_transaction(request)
        transaction = object()
        if token:
            self._tokens[token] = _Token(same, None)
        try:
            yield from self._prepare_and_commit(transaction, writes)
        except ServiceError:
            # Only a success is remembered (API reference, TransactWriteItems, "Idempotency").
            self._tokens.pop(token, None)  # type: ignore[arg-type]
            raise
        if token:
            self._tokens[token] = _Token(same, self.clock())
        return {}

    def _parse_transaction(self, request: Mapping[str, Any]) -> list[Write]:
        actions = request["TransactItems"]
        if not 1 <= len(actions) <= TRANSACTION_ACTIONS:
            raise invalid("Member must have length from 1 to 100")
        writes = []
        for action in actions:
            ((kind, inner),) = action.items()
            writes.append(self._parse_write(kind, inner))
        if len({(write.table.name, write.key) for write in writes}) < len(writes):
            raise invalid("Transaction request cannot include multiple operations on one item")
        if sum(write.size for write in writes) > TRANSACTION_BYTES:
            raise invalid("Transaction request is larger than 4 MB")
        return writes

    def _prepare_and_commit(self, transaction: object, writes: Sequence[Write]) -> Running:
        reasons: list[dict[str, Any]] = [{"Code": "None"}] * len(writes)
        results: list[tuple[Item | None, int]] = [(None, 0)] * len(writes)
        order = self._shuffled(len(writes))
        throttled = self._throttled(len(writes))
        for at in order:
            if at == throttled:
                reasons[at] = {"Code": THROTTLED[self.choose(2)], "Message": "Throughput exceeds the current capacity"}
            else:
                reasons[at], results[at] = self._prepare(transaction, writes[at])
            yield
        # "Capacity management for transactions": two units per KB and item, even if the transaction is cancelled.
        cost = sum(
            2 * units(max(write.table.place(write.key).size, size), KB)
            for write, (_, size) in zip(writes, results, strict=True)
        )
        self.units["write"] += cost
        if any(reason["Code"] != "None" for reason in reasons):
            self.units["wasted"] += cost
            for at in order:  # A locked item conflicts with other writes until it is released.
                place = writes[at].table.place(writes[at].key)
                if place.transaction is transaction:
                    place.transaction = None
                    yield
            message = f"Transaction cancelled: [{', '.join(reason['Code'] for reason in reasons)}]"
            raise ServiceError("TransactionCanceledException", message, CancellationReasons=reasons)
        self.committing += 1
        for number, at in enumerate(self._shuffled(len(writes)), start=1):
            write = writes[at]
            write.table.place(write.key).transaction = None
            if write.kind != "ConditionCheck":
                self.replace(write.table, write.key, *results[at])
            if number < len(writes):
                yield
        self.committing -= 1
        return {}

    def _prepare(self, transaction: object, write: Write) -> tuple[dict[str, Any], tuple[Item | None, int]]:
        """Lock an item for a transaction. Return the cancellation reason, and the item after it with its size."""
        place = write.table.place(write.key)
        if place.transaction is not None:
            self.seen["transactions conflicted"] += 1
            return {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}, (None, 0)
        if not self._holds(write):
            wanted = write.request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and place.item is not None
            more = {"Item": dict(place.item)} if wanted and place.item else {}
            return {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", **more}, (None, 0)
        try:
            result = self._result(write)
        except ServiceError as error:
            return {"Code": "ValidationError", "Message": error.message}, (None, 0)
        place.transaction = transaction
        return {"Code": "None"}, result

    def _shuffled(self, number: int) -> list[int]:
        """Return the numbers below `number` rotated, and perhaps reversed, as one choice determines."""
        chosen = self.choose(2 * number)
        first, backwards = chosen // 2, chosen % 2
        order = [*range(first, number), *range(first)]
        return order[::-1] if backwards else order

    def _throttled(self, number: int) -> int | None:
        """Return the index of the throttled action, or None."""
        return self.choose(number) if self._mishap("item throttled") else None

    # --- Reads -----------------------------------------------------------------------------------

    def _read(self, table: Table, key: Key, consistent: bool) -> Item | None:
        """Return an item. A consistent read returns the last committed version, even during a transaction.

        "Isolation levels": reads do not wait for transactions, and only GetItem is serializable. So a read of several
        items may return some from before and some from after a transaction.
        """
        place = table.places.get(key)
        if place is None:
            return None
        item = place.item
        if not consistent and place.older:
            now = self.clock()
            older = [version for version in place.older if version.until > now - STALE_SECONDS]
            back = self.choose(len(older) + 1) if older else 0
            if back:
                self.seen["stale read"] += 1
                item = older[-back].item
        if self.committing:
            self.seen["read during a commit"] += 1
        return dict(item) if item is not None else None

    def _charge_read(self, size: int, consistent: bool) -> None:
        """Charge one unit per 4 KB for a consistent read, and half a unit otherwise."""
        self.units["half reads"] += units(size, 4 * KB) * (2 if consistent else 1)

    def _get_item(self, request: Mapping[str, Any]) -> Running:
        yield
        table = self._table(request)
        consistent = request.get("ConsistentRead", False)
        item = self._read(table, self._key(table, request["Key"]), consistent)
        self._charge_read(size_of(item) if item else 0, consistent)
        return {"Item": item} if item is not None else {}

    def _batch_get_item(self, request: Mapping[str, Any]) -> Running:
        """Read items one by one. Some keys may stay unprocessed, but never all (API reference, BatchGetItem)."""
        yield
        asked: list[tuple[Table, Key, bool]] = []
        for name, each in request["RequestItems"].items():
            table = self._table({"TableName": name})
            asked += [(table, self._key(table, key), each.get("ConsistentRead", False)) for key in each["Keys"]]
        if not 1 <= len(asked) <= BATCH_GET_KEYS:
            raise invalid("Too many items requested for the BatchGetItem call, or none")
        if len({(table.name, key) for table, key, _ in asked}) < len(asked):
            raise invalid("Provided list of item keys contains duplicates")
        found: dict[str, list[Item]] = {name: [] for name in request["RequestItems"]}
        left: dict[str, Any] = {}
        processed = self._processed(len(asked))
        for number, at in enumerate(self._shuffled(len(asked)), start=1):
            table, key, consistent = asked[at]
            if number > processed:
                keys = {name: {"S": value} for name, value in zip(table.keys, key, strict=True)}
                left.setdefault(table.name, {**request["RequestItems"][table.name], "Keys": []})["Keys"].append(keys)
                continue
            item = self._read(table, key, consistent)
            self._charge_read(table.place(key).size, consistent)
            if item is not None:
                found[table.name].append(item)
            if number < processed:
                yield
        return {"Responses": found, "UnprocessedKeys": left}

    def _processed(self, asked: int) -> int:
        """Return how many keys to process, at least one."""
        return 1 + self.choose(asked - 1) if asked > 1 and self._mishap("keys unprocessed", 4) else asked

    def _mishap(self, what: str, factor: int = 1) -> bool:
        happens = self.mishaps > 0 and self.choose(self.mishaps) >= self.mishaps - factor
        self.seen[what] += happens
        return happens

    def _scan(self, request: Mapping[str, Any]) -> Running:
        yield
        table = self._table(request)
        segment, segments = request.get("Segment", 0), request.get("TotalSegments", 1)
        if ("Segment" in request) != ("TotalSegments" in request) or not 0 <= segment < segments <= SEGMENTS_MAX:
            raise invalid("Segment must be below TotalSegments")
        keys = [key for key in table.in_order() if segments == 1 or scan_order(key)[0] % segments == segment]
        return (yield from self._page(table, keys, request))

    def _query(self, request: Mapping[str, Any]) -> Running:
        yield
        table = self._table(request)
        _, _, condition = expressions.parse(request)
        if condition is None:
            raise invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified")
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        if "ExclusiveStartKey" in request and not condition(Given(request["ExclusiveStartKey"], names, values)):
            raise invalid("The provided starting key is outside query boundaries based on provided conditions")
        keys = []
        for key in table.in_order():
            attributes = {name: {"S": value} for name, value in zip(table.keys, key, strict=True)}
            if condition(Given(attributes, names, values)):
                keys.append(key)
        return (yield from self._page(table, keys, request))

    def _page(self, table: Table, keys: Sequence[Key], request: Mapping[str, Any]) -> Running:
        """Read items up to the limit or the page size. No item may follow the `LastEvaluatedKey`."""
        limit = request.get("Limit", len(keys) + 1)
        if limit < 1:
            raise invalid("Limit must be at least 1")
        start = request.get("ExclusiveStartKey")
        if start is not None:
            last = scan_order(self._key(table, start))
            keys = [key for key in keys if scan_order(key) > last]
        consistent = request.get("ConsistentRead", False)
        found: list[Item] = []
        size = 0
        ended: Key | None = None
        for key in keys:
            item = self._read(table, key, consistent)
            if item is None:
                continue
            found.append(item)
            size += table.places[key].size
            if len(found) == limit or size >= self.page_bytes:
                ended = key
                break
            yield
        self._charge_read(size, consistent)
        page: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": len(found)}
        if ended is not None:
            page["LastEvaluatedKey"] = {name: {"S": value} for name, value in zip(table.keys, ended, strict=True)}
        return page


def units(size: int, unit_bytes: int) -> int:
    """Return the capacity units for an item of `size` bytes, at least one."""
    return max(1, -(-size // unit_bytes))
