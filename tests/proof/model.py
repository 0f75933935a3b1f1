"""The model behind a schedule: OrdersTable, its stream, deliveries to the app's handlers, and the expected totals.

The expected totals are computed from what was written, without any of the app's own code. Stream records come from the
emulator's stream; only the fields that a schedule controls are replaced: time, sequence number and who removed an item.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import stream_lag, tables
from infrastructure.tables import StreamView
from tests.proof.faults import MAY_END_INVOCATION, Crash, Fault, Request
from tests.proof.harness import Harness

TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
SHARDS = 2
MONTH_SECONDS = 29 * 24 * 60 * 60  # Four weeks and a day, so that tombstones have expired.
INVOCATION_MILLISECONDS = 120_000
LONG_SECONDS = 10_000.0


class Content(NamedTuple):
    """The attributes of an order that somebody writes."""

    product: str
    quantity: int  # 0 is not valid.
    placed_at: str | None = None  # `PlacedAt`.
    note: str | None = None  # An attribute that no view counts.

    def item(self, order_id: str) -> dict[str, Any]:
        """Return the item for OrdersTable."""
        texts = {"OrderID": order_id, "Product": self.product, "PlacedAt": self.placed_at, "Note": self.note}
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items() if text is not None}
        return {**item, "Quantity": {"N": str(self.quantity)}}


class Counted(NamedTuple):
    """What an order adds to the totals. `hour` is None if it depends on the app's clock (see `Model._expected`)."""

    product: str
    quantity: int
    hour: str | None  # 2026-11-23T18


class State(NamedTuple):
    """The state of one order."""

    content: Content | None = None  # None: the order is not in OrdersTable.
    inserted_at: str | None = None  # A timestamp; None if no stream was on to record the insert.
    counted: Counted | None = None
    archived: bool = False


class Write(NamedTuple):
    """A change to an order whose stream record has not been read yet."""

    order_id: str
    at: int  # Epoch seconds.
    expired: bool
    after: State


class Delivered(NamedTuple):
    """A stream record, and its order's state after it."""

    record: dict[str, Any]
    order_id: str
    after: State

    @property
    def stream(self) -> str:
        """Return the ARN of the record's stream."""
        arn: str = self.record["eventSourceARN"]
        return arn


class Shard:
    """The records of a shard, and how far Lambda has delivered them. All four numbers are indexes into `records`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.records: list[Delivered] = []
        self.checkpoint = 0  # The next batch starts here, or before.
        self.delivered = 0  # Records before this have been in a batch that succeeded.
        self.attempted = 0  # Records before this have been in any batch.
        self.oldest_kept = 0  # Records before this are never delivered again.

    @property
    def remaining(self) -> int:
        """Return how many records follow the checkpoint."""
        return len(self.records) - self.checkpoint

    def __repr__(self) -> str:
        return f"shard {self.number}"


class Model:
    """Orders, their stream and the app's handlers, on a fresh set of tables."""

    def __init__(self, harness: Harness, view: StreamView, choose: Callable[[Request], Fault]) -> None:
        """Create the tables. `choose` returns the fault for each request of the app; it may change this model first."""
        self._harness = harness
        self._shell = harness.shell
        self._dynamodb = harness.dynamodb
        self._view = view
        self._choose = choose
        self._may_fail = False  # Whether a fault that may end the innermost invocation has hit it.
        self._crashed = False  # Whether the innermost invocation has crashed.
        harness.clock.reset()
        harness.shell.lag_throttle = stream_lag.WriteThrottle()
        harness.injector.choose = self._before_request
        self.clock = harness.clock
        self.names = harness.make_tables(view)
        self.shards = [Shard(number) for number in range(SHARDS)]
        self.orders: dict[str, State] = {}  # As written.
        self.delivered_orders: dict[str, State] = {}  # As of the records that have been delivered.
        self.change_lost = False  # Whether an order changed while the stream was off and no backfill has run since.
        self.removal_lost = False  # Whether one of these changes was a removal. Only an audit with repair finds it.
        self.ahead_of_stream = False  # Whether a backfill or repair may have counted changes before their records.
        self._pending: list[Write] = []
        self._streams = 0
        self._arn = ""  # The ARN of the stream; empty while it is switched off.
        self._begin_stream()

    def close(self) -> None:
        """Delete the tables and stop injecting faults."""
        self._harness.injector.choose = lambda request: Fault.NONE
        self._harness.delete_tables(self.names)

    # --- Orders ----------------------------------------------------------------------------------

    def put(self, order_id: str, content: Content) -> None:
        """Write an order to OrdersTable. It replaces any order with the same id."""
        before = self.orders.get(order_id, State())
        self._dynamodb("PutItem", TableName=self.names[tables.ORDERS], Item=content.item(order_id))
        if content == before.content:
            return  # DynamoDB writes no record if nothing changes.
        inserted_at = before.inserted_at if before.content else (self._now() if self._arn else None)
        hour = content.placed_at or inserted_at
        valid = content.quantity > 0
        counted = Counted(content.product, content.quantity, hour and utc(hour)[:13]) if valid else None
        self._changed(order_id, State(content, inserted_at, counted))

    def cancel(self, order_id: str) -> None:
        """Delete an order as a person or program does."""
        self._remove(order_id)
        self._changed(order_id, State())

    def archive(self, order_id: str) -> None:
        """Delete an order as DynamoDB's TTL does."""
        self._remove(order_id)
        self._changed(order_id, State(counted=self.orders[order_id].counted, archived=True), expired=True)

    def can_find_removal(self, order_id: str) -> bool:
        """Return whether an audit could find the removal of an order that no stream has recorded.

        It cannot if the ledger entry is still `archived`: an archived order that was placed again and removed again
        in the meantime leaves no trace.
        """
        entry = self._entry(order_id)
        return entry is None or entry["status"]["S"] != "archived"

    def _remove(self, order_id: str) -> None:
        self._dynamodb("DeleteItem", TableName=self.names[tables.ORDERS], Key={"OrderID": {"S": order_id}})

    def _changed(self, order_id: str, after: State, expired: bool = False) -> None:
        self.orders[order_id] = after
        if self._arn:
            self._pending.append(Write(order_id, self.clock.now, expired, after))
        else:
            self.change_lost = True
            self.removal_lost = self.removal_lost or after.content is None

    def _now(self) -> str:
        return timestamp(self.clock.now)

    # --- The stream ------------------------------------------------------------------------------

    @property
    def streaming(self) -> bool:
        """Return whether the table's stream is switched on."""
        return bool(self._arn)

    def switch_off(self) -> None:
        """Switch the stream off. All its records must have been delivered, and none of them is delivered again.

        Changes from now on have no record; only a backfill finds them. It leaves an entry's position unchanged, so a
        late record of the old stream could pass for newer.
        """
        assert self.all_delivered
        self._trim()
        self._dynamodb("UpdateTable", TableName=self.names[tables.ORDERS], StreamSpecification={"StreamEnabled": False})
        self._arn = ""

    def switch_on(self) -> None:
        """Switch the stream on again. DynamoDB creates a new stream, with another ARN."""
        self._dynamodb(
            "UpdateTable",
            TableName=self.names[tables.ORDERS],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": self._view},
        )
        self._begin_stream()

    def _begin_stream(self) -> None:
        table = self._dynamodb("DescribeTable", TableName=self.names[tables.ORDERS])["Table"]
        self._arn = table["LatestStreamArn"]
        (shard,) = self._dynamodb.stream("DescribeStream", StreamArn=self._arn)["StreamDescription"]["Shards"]
        self._iterator = self._dynamodb.stream(
            "GetShardIterator", StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        # Sequence numbers grow in length, so comparing them as text goes wrong. Each new stream starts lower, because
        # DynamoDB does not promise any order between the numbers of two streams.
        self._number = 10 ** (30 - self._streams) - 4
        self._streams += 1

    def read_stream(self) -> None:
        """Move the new records of the emulator's stream to the shards."""
        if not self._pending:
            return
        result = self._dynamodb.stream("GetRecords", ShardIterator=self._iterator)
        self._iterator = result.get("NextShardIterator")
        assert len(result["Records"]) == len(self._pending), "the emulator's records do not match the writes"
        for record, write in zip(result["Records"], self._pending, strict=True):
            assert record["dynamodb"]["Keys"]["OrderID"]["S"] == write.order_id
            self._shard(write.order_id).records.append(
                Delivered(self._as_delivered(record, write), write.order_id, write.after)
            )
        self._pending.clear()

    def _as_delivered(self, record: dict[str, Any], write: Write) -> dict[str, Any]:
        """Return an emulator's record as Lambda delivers it, with the fields that the schedule controls."""
        self._number += 1
        change = {
            **record["dynamodb"],
            "ApproximateCreationDateTime": float(write.at),
            "SequenceNumber": str(self._number),
        }
        identity = {"userIdentity": TTL} if write.expired else {}
        return {**record, "eventSourceARN": self._arn, "dynamodb": change, **identity}

    def _shard(self, order_id: str) -> Shard:
        return self.shards[int(order_id.rpartition("-")[2]) % SHARDS]

    # --- Deliveries ------------------------------------------------------------------------------

    def deliver(self, shard: Shard, start: int, end: int) -> bool:
        """Deliver records `start` to `end` of a shard, as far as they are from one stream. Return whether it succeeds.

        A batch that starts after `shard.delivered` is a stray one: its success advances nothing.
        """
        arn = shard.records[start].stream
        batch = [each for each in shard.records[start:end] if each.stream == arn]
        end = start + len(batch)
        adjoins = start <= shard.delivered
        if adjoins:
            shard.attempted = max(shard.attempted, end)
        done = self._invoke(self._shell.aggregate, {"Records": [each.record for each in batch]})
        if done and start <= shard.checkpoint:
            shard.checkpoint = max(shard.checkpoint, end)
        if done and adjoins:
            for each in shard.records[shard.delivered : end]:
                self.delivered_orders[each.order_id] = each.after
            shard.delivered = max(shard.delivered, end)
        self._catch_up_if_all_delivered()
        return done

    def backfill(self) -> bool:
        """Run a backfill. Return whether it finishes."""
        self.ahead_of_stream = True
        lost_before, self.change_lost = self.change_lost, False
        done = self._run(self._shell.backfill, {}) is not None
        self.change_lost = self.change_lost or (lost_before and not done)
        self.ahead_of_stream = True
        self._catch_up_if_all_delivered()
        return done

    def audit(self, repair: bool) -> dict[str, Any] | None:
        """Run an audit. Return its last result, or None if it does not finish."""
        self.ahead_of_stream = self.ahead_of_stream or repair
        result = self._run(self._shell.audit, {"repair": repair, "gracePeriodSeconds": 1})
        self.ahead_of_stream = self.ahead_of_stream or repair
        self._catch_up_if_all_delivered()
        return result

    def _run(self, job: Callable[..., dict[str, Any]], event: dict[str, Any]) -> dict[str, Any] | None:
        """Invoke a job with its cursors until it is done. Return its last result, or None if an invocation fails."""
        results: list[dict[str, Any]] = []
        while not results or not results[-1]["done"]:
            next_event = {"cursor": results[-1]["cursor"]} if results else event
            if not self._invoke(lambda *arguments: results.append(job(*arguments)), next_event):
                return None
        return results[-1]

    def _invoke(self, function: Callable[..., Any], event: dict[str, Any]) -> bool:
        """Invoke a handler. Return whether it succeeds. Raise its error if no injected fault explains it."""
        started = self.clock.elapsed
        with self._invocation():
            try:
                function(event, Context())
            except Crash:
                return False
            except (ClientError, BotoCoreError):
                if not self._may_fail:
                    raise
                return False
            except self._shell.OutOfTime:
                if self.clock.elapsed < started + LONG_SECONDS:
                    raise
                return False
            return True

    @contextmanager
    def _invocation(self) -> Iterator[None]:
        outer = self._may_fail, self._crashed
        self._may_fail = self._crashed = False
        yield
        self._may_fail, self._crashed = outer

    def _before_request(self, request: Request) -> Fault:
        if self._crashed:
            return Fault.CRASH_BEFORE
        fault = self._choose(request)
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            self._crashed = True
        if fault in MAY_END_INVOCATION:
            self._may_fail = True
        return fault

    def run_out_of_time(self) -> None:
        """Let so much time pass that every invocation in progress runs out of it."""
        self.clock.elapsed += LONG_SECONDS

    def expire_tombstones(self) -> None:
        """Delete the ledger entries that are past `expiresAt`, as DynamoDB's TTL does."""
        name = self.names[tables.LEDGER]
        for item in self.scan(tables.LEDGER):
            if "expiresAt" in item and int(item["expiresAt"]["N"]) <= self.clock.now:
                self._dynamodb("DeleteItem", TableName=name, Key={"OrderID": item["OrderID"]})

    def let_a_month_pass(self) -> None:
        """Advance the clock until the stream keeps none of its records. All of them must have been delivered."""
        self.clock.now += MONTH_SECONDS
        self._trim()

    def _trim(self) -> None:
        for shard in self.shards:
            shard.checkpoint = shard.oldest_kept = len(shard.records)

    def replay(self) -> None:
        """Start reading the stream from its oldest record again."""
        for shard in self.shards:
            shard.checkpoint = shard.oldest_kept

    @property
    def remaining(self) -> int:
        """Return how many records follow the checkpoints."""
        return len(self._pending) + sum(shard.remaining for shard in self.shards)

    @property
    def all_delivered(self) -> bool:
        """Return whether every record has been delivered successfully."""
        return not self._pending and all(shard.delivered == len(shard.records) for shard in self.shards)

    def _catch_up_if_all_delivered(self) -> None:
        if self.all_delivered and not self.change_lost and not self.removal_lost:
            self.delivered_orders = dict(self.orders)
            self.ahead_of_stream = False

    # --- Checks ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Check entry-matches-counters, and that the counters are the sums of the delivered orders.

        The second is skipped while a delivery has failed halfway or the counters may differ from the stream.
        """
        counters = self._counters()
        assert_same(counters, self._ledger_sums())
        uncertain = self.ahead_of_stream or self.change_lost or self.removal_lost
        if not uncertain and all(shard.attempted <= shard.delivered for shard in self.shards):
            assert_same(counters, self._expected(self.delivered_orders))

    def check_all(self) -> None:
        """Check counters and ledger entries against all orders. Every record must have been delivered."""
        counters = self._counters()
        assert_same(counters, self._ledger_sums())
        assert_same(counters, self._expected(self.orders))
        self._check_entries()

    def _ledger_sums(self) -> dict[tuple[str, ...], int]:
        """Return the counters that the entries' contributions add up to (entry-matches-counters)."""
        sums: Counter[tuple[str, ...]] = Counter()
        for item in self.scan(tables.LEDGER):
            for table, key, amounts in json.loads(item.get("contributions", {"S": "[]"})["S"]):
                for name, amount in amounts.items():
                    sums[table, *key, name] += amount
        return {key: amount for key, amount in sums.items() if amount}

    def _check_entries(self) -> None:
        """Check that each order's entry has the right status, and that no other entries exist."""
        entries = {item["OrderID"]["S"]: item["status"]["S"] for item in self.scan(tables.LEDGER)}
        for order_id, state in self.orders.items():
            if state.content:
                allowed = {"counted"} if state.counted else {"rejected"}
            else:
                allowed = {"archived"} if state.archived else {"cancelled", ""}  # "": its tombstone has expired.
            assert entries.pop(order_id, "") in allowed, order_id
        assert not entries

    def _expected(self, states: Mapping[str, State]) -> dict[tuple[str, ...], int]:
        """Return the counters that these orders add up to, by table, key and attribute, without zeros."""
        sums: Counter[tuple[str, ...]] = Counter()
        for order_id, state in states.items():
            if state.counted is None:
                continue
            product, quantity, hour = state.counted
            hour = hour or self._first_seen(order_id)[:13]
            sums[tables.TOTALS, product, "totalQuantity"] += quantity
            sums[tables.TOTALS, product, "orderCount"] += 1
            sums[tables.TREND, product, hour[:10], "total"] += quantity
            sums[tables.TREND, product, hour[:10], f"h{hour[11:]}"] += quantity
        return dict(sums)

    def _first_seen(self, order_id: str) -> str:
        """Return when the app first read an order whose insert no stream recorded. Only its entry stores that."""
        entry = self._entry(order_id)
        assert entry, f"{order_id} must be counted but has no ledger entry"
        first_seen: str = entry["firstSeen"]["S"]
        return first_seen

    def _entry(self, order_id: str) -> dict[str, Any] | None:
        key = {"OrderID": {"S": order_id}}
        result = self._dynamodb("GetItem", TableName=self.names[tables.LEDGER], Key=key)
        entry: dict[str, Any] | None = result.get("Item")
        return entry

    def _counters(self) -> dict[tuple[str, ...], int]:
        counters = {}
        for table in (tables.TOTALS, tables.TREND):
            for item in self.scan(table):
                key = tuple(item[name]["S"] for name in tables.KEYS[table])
                if key[0] == " ":  # The item in which the app stores the stream's lag.
                    continue
                for name, value in item.items():
                    if "N" in value and name != "revision" and value["N"] != "0":
                        counters[table, *key, name] = int(value["N"])
        return counters

    def scan(self, table: str) -> Iterable[dict[str, Any]]:
        """Return the items of a table, given its logical name."""
        items: Sequence[dict[str, Any]] = self._dynamodb("Scan", TableName=self.names[table])["Items"]
        return items


class Context:
    """The context object that Lambda passes to a handler."""

    function_name = "aggregate"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return the full time of an invocation."""
        return INVOCATION_MILLISECONDS


def assert_same(counters: Mapping[tuple[str, ...], int], expected: Mapping[tuple[str, ...], int]) -> None:
    """Raise AssertionError with all counters that differ."""
    differing = [
        f"{' / '.join(key)} is {counters.get(key, 0)} but must be {expected.get(key, 0)}"
        for key in sorted({*counters, *expected})
        if counters.get(key) != expected.get(key)
    ]
    assert not differing, "; ".join(differing)


def timestamp(seconds: int) -> str:
    """Format epoch seconds as 2026-11-23T18:13:05Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(text: str) -> str:
    """Convert a timestamp with an offset to UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
