"""One example's world: orders in the engine's OrdersTable, their stream, the app's handlers, and what must come of it.

What the totals must be is worked out here anew, from what was written, and by none of the app's own code. The
records are those of the engine's stream. Only what a schedule must have in its hand is set in them: the time,
the numbering, who has removed an item.
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
from tests.proof.faults import ENDING, Crash, Fault, Request
from tests.proof.lab import Harness

TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
SHARDS = 2
WEEK_SECONDS = 8 * 24 * 60 * 60  # And a day: a tombstone's time is over then.
INVOCATION_MILLISECONDS = 120_000
LONG_SECONDS = 10_000.0


class Content(NamedTuple):
    """What somebody writes of an order."""

    product: str
    quantity: int  # 0 is not valid.
    placed: str | None = None  # `PlacedAt`.
    note: str | None = None  # An attribute that counts for nothing.

    def item(self, order_id: str) -> dict[str, Any]:
        """As OrdersTable has it."""
        texts = {"OrderID": order_id, "Product": self.product, "PlacedAt": self.placed, "Note": self.note}
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items() if text is not None}
        return {**item, "Quantity": {"N": str(self.quantity)}}


class Counted(NamedTuple):
    """What an order adds to the totals; `hour` is None where only the app can know it (see `Model._expected`)."""

    product: str
    quantity: int
    hour: str | None  # 2026-11-23T18


class State(NamedTuple):
    """What has become of an order."""

    content: Content | None = None  # None: it is not in the table.
    born: str | None = None  # When it was put there: an instant, or None if no stream has told of that.
    counted: Counted | None = None
    archived: bool = False


class Written(NamedTuple):
    """A change of which the stream is still to tell."""

    order_id: str
    at: int
    expired: bool
    after: State


class Delivered(NamedTuple):
    """A record of the stream, and the order after it."""

    record: dict[str, Any]
    order_id: str
    after: State

    @property
    def stream(self) -> str:
        """The ARN of the stream that it is from."""
        arn: str = self.record["eventSourceARN"]
        return arn


class Shard:
    """A shard's records, and how far Lambda has got."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.told: list[Delivered] = []
        self.checkpoint = 0  # From here, or from before, the next batch starts.
        self.delivered = 0  # So many have been in a batch that came to a good end ...
        self.attempted = 0  # ... and so many in any batch.
        self.kept_from = 0  # The ones before this will never be delivered again.

    @property
    def left(self) -> int:
        """How many records are still to come."""
        return len(self.told) - self.checkpoint

    def __repr__(self) -> str:
        return f"shard {self.number}"


class Model:
    """Orders, the stream, the app."""

    def __init__(self, lab: Harness, view: StreamView, choose: Callable[[Request], Fault]) -> None:
        """`choose` decides what becomes of each request of the app; it may do anything to this world meanwhile."""
        self._lab = lab
        self._shell = lab.shell
        self._engine = lab.engine
        self._view = view
        self._choose = choose
        self._failing = False  # Whether the innermost invocation has met what may end it ...
        self._dead = False  # ... or is no more.
        lab.clock.reset()
        lab.shell.lag_throttle = stream_lag.WriteThrottle()
        lab.wire.choose = self._before_request
        self.clock = lab.clock
        self.names = lab.make_tables(view)
        self.shards = [Shard(number) for number in range(SHARDS)]
        self.truth: dict[str, State] = {}
        self.seen: dict[str, State] = {}
        self.lost = False  # Whether something has been written that no stream tells of, and no backfill found yet.
        self.removal_lost = False  # Whether that was a removal, which no backfill finds, but an audit that mends.
        self.ahead_of_stream = False  # Whether a backfill may have counted what the stream is still to tell of.
        self._pending: list[Written] = []
        self._streams = 0
        self._arn = ""  # Of the stream; empty while there is none.
        self._begin_stream()

    def close(self) -> None:
        """Removes its tables."""
        self._lab.wire.choose = lambda request: Fault.NONE
        self._lab.delete_tables(self.names)

    # --- Orders ----------------------------------------------------------------------------------

    def put(self, order_id: str, content: Content) -> None:
        """Somebody puts an order, over the one that is there if one is."""
        before = self.truth.get(order_id, State())
        self._engine("PutItem", TableName=self.names[tables.ORDERS], Item=content.item(order_id))
        if content == before.content:
            return  # DynamoDB makes no record of that.
        born = before.born if before.content else (self._now() if self._arn else None)
        hour = content.placed or born
        valid = content.quantity > 0
        counted = Counted(content.product, content.quantity, hour and utc(hour)[:13]) if valid else None
        self._changed(order_id, State(content, born, counted))

    def cancel(self, order_id: str) -> None:
        """Somebody removes an order."""
        self._remove(order_id)
        self._changed(order_id, State())

    def archive(self, order_id: str) -> None:
        """DynamoDB's TTL removes an order."""
        self._remove(order_id)
        self._changed(order_id, State(counted=self.truth[order_id].counted, archived=True), expired=True)

    def can_find_removal(self, order_id: str) -> bool:
        """Whether an audit could find that an order is gone, of which no stream tells.

        Not where the ledger still holds it for archived: of an archived order that was placed and removed again in
        the meantime nothing is left to be seen.
        """
        entry = self._entry(order_id)
        return entry is None or entry["status"]["S"] != "archived"

    def _remove(self, order_id: str) -> None:
        self._engine("DeleteItem", TableName=self.names[tables.ORDERS], Key={"OrderID": {"S": order_id}})

    def _changed(self, order_id: str, after: State, expired: bool = False) -> None:
        self.truth[order_id] = after
        if self._arn:
            self._pending.append(Written(order_id, self.clock.now, expired, after))
        else:
            self.lost = True
            self.removal_lost = self.removal_lost or after.content is None

    def _now(self) -> str:
        return instant(self.clock.now)

    # --- The stream ------------------------------------------------------------------------------

    @property
    def streaming(self) -> bool:
        """Whether the table has a stream at the moment."""
        return bool(self._arn)

    def switch_off(self) -> None:
        """Somebody switches the stream off, of which all has been delivered, by invocations that are over.

        What is written from now on no stream tells of. A backfill finds it, and then nothing but a later stream's
        record may change that: an invocation that is left of the old one could not know that it is out of date.
        """
        assert self.all_is_told
        self._forget_told()
        self._engine("UpdateTable", TableName=self.names[tables.ORDERS], StreamSpecification={"StreamEnabled": False})
        self._arn = ""

    def switch_on(self) -> None:
        """Somebody switches it on again: it is another one."""
        self._engine(
            "UpdateTable",
            TableName=self.names[tables.ORDERS],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": self._view},
        )
        self._begin_stream()

    def _begin_stream(self) -> None:
        table = self._engine("DescribeTable", TableName=self.names[tables.ORDERS])["Table"]
        self._arn = table["LatestStreamArn"]
        (shard,) = self._engine.stream("DescribeStream", StreamArn=self._arn)["StreamDescription"]["Shards"]
        self._iterator = self._engine.stream(
            "GetShardIterator", StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        # Numbers of growing length, which as plain strings would be in a wrong order, and lower ones in each
        # next stream: nothing is promised of one stream's numbers and another's.
        self._number = 10 ** (30 - self._streams) - 4
        self._streams += 1

    def read_stream(self) -> None:
        """Takes what the engine's stream has to tell to the shards."""
        if not self._pending:
            return
        answer = self._engine.stream("GetRecords", ShardIterator=self._iterator)
        self._iterator = answer.get("NextShardIterator")
        assert len(answer["Records"]) == len(self._pending), "the engine tells of something else than was written"
        for record, written in zip(answer["Records"], self._pending, strict=True):
            assert record["dynamodb"]["Keys"]["OrderID"]["S"] == written.order_id
            self._shard(written.order_id).told.append(
                Delivered(self._as_lambda_has_it(record, written), written.order_id, written.after)
            )
        self._pending.clear()

    def _as_lambda_has_it(self, record: dict[str, Any], written: Written) -> dict[str, Any]:
        self._number += 1
        change = {
            **record["dynamodb"],
            "ApproximateCreationDateTime": float(written.at),
            "SequenceNumber": str(self._number),
        }
        identity = {"userIdentity": TTL} if written.expired else {}
        return {**record, "eventSourceARN": self._arn, "dynamodb": change, **identity}

    def _shard(self, order_id: str) -> Shard:
        return self.shards[int(order_id.rpartition("-")[2]) % SHARDS]

    # --- Deliveries ------------------------------------------------------------------------------

    def deliver(self, shard: Shard, start: int, end: int) -> bool:
        """Lambda delivers a batch, as far as it is of one stream; returns whether that came to a good end."""
        arn = shard.told[start].stream
        batch = [told for told in shard.told[start:end] if told.stream == arn]
        end = start + len(batch)
        reaches = start <= shard.delivered  # Else it is a stray one, of which nothing may come to depend.
        if reaches:
            shard.attempted = max(shard.attempted, end)
        done = self._invoke(self._shell.aggregate, {"Records": [told.record for told in batch]})
        if done and start <= shard.checkpoint:
            shard.checkpoint = max(shard.checkpoint, end)
        if done and reaches:
            for told in shard.told[shard.delivered : end]:
                self.seen[told.order_id] = told.after
            shard.delivered = max(shard.delivered, end)
        self._note_if_all_is_told()
        return done

    def backfill(self) -> bool:
        """Somebody runs a backfill; returns whether it has come to its end."""
        self.ahead_of_stream = True
        lost, self.lost = self.lost, False
        done = self._run(self._shell.backfill, {}) is not None
        self.lost = self.lost or (lost and not done)
        self.ahead_of_stream = True
        self._note_if_all_is_told()
        return done

    def audit(self, repair: bool) -> dict[str, Any] | None:
        """Somebody runs an audit; returns its answer if it has come to its end."""
        self.ahead_of_stream = self.ahead_of_stream or repair
        answer = self._run(self._shell.audit, {"repair": repair, "gracePeriodSeconds": 1})
        self.ahead_of_stream = self.ahead_of_stream or repair
        self._note_if_all_is_told()
        return answer

    def _run(self, job: Callable[..., dict[str, Any]], event: dict[str, Any]) -> dict[str, Any] | None:
        """Calls a job with its cursors until it is done; returns the last answer, None if something ended it."""
        answers: list[dict[str, Any]] = []
        while not answers or not answers[-1]["done"]:
            asked = {"cursor": answers[-1]["cursor"]} if answers else event
            if not self._invoke(lambda *call: answers.append(job(*call)), asked):
                return None
        return answers[-1]

    def _invoke(self, function: Callable[..., Any], event: dict[str, Any]) -> bool:
        started = self.clock.steady
        with self._invocation():
            try:
                function(event, Context())
            except Crash:
                return False
            except (ClientError, BotoCoreError):
                if not self._failing:
                    raise
                return False
            except self._shell.OutOfTime:
                if self.clock.steady < started + LONG_SECONDS:
                    raise
                return False
            return True

    @contextmanager
    def _invocation(self) -> Iterator[None]:
        outer = self._failing, self._dead
        self._failing = self._dead = False
        yield
        self._failing, self._dead = outer

    def _before_request(self, request: Request) -> Fault:
        if self._dead:
            return Fault.CRASH_BEFORE
        fault = self._choose(request)
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            self._dead = True
        if fault in ENDING:
            self._failing = True
        return fault

    def run_out_of_time(self) -> None:
        """Lets so much time pass that every invocation under way is at its end."""
        self.clock.steady += LONG_SECONDS

    def expire_tombstones(self) -> None:
        """DynamoDB's TTL removes the ledger entries whose time is over."""
        name = self.names[tables.LEDGER]
        for item in self.scan(tables.LEDGER):
            if "expiresAt" in item and int(item["expiresAt"]["N"]) <= self.clock.now:
                self._engine("DeleteItem", TableName=name, Key={"OrderID": item["OrderID"]})

    def let_a_week_pass(self) -> None:
        """After which no record of today is left in the stream. Everything must have been delivered."""
        self.clock.now += WEEK_SECONDS
        self._forget_told()

    def _forget_told(self) -> None:
        for shard in self.shards:
            shard.checkpoint = shard.kept_from = len(shard.told)

    def replay(self) -> None:
        """Somebody has the stream read from its start once more."""
        for shard in self.shards:
            shard.checkpoint = shard.kept_from

    @property
    def left(self) -> int:
        """How many records are still to come."""
        return len(self._pending) + sum(shard.left for shard in self.shards)

    @property
    def all_is_told(self) -> bool:
        """Whether every record has come to a good end."""
        return not self._pending and all(shard.delivered == len(shard.told) for shard in self.shards)

    def _note_if_all_is_told(self) -> None:
        if self.all_is_told and not self.lost and not self.removal_lost:
            self.seen = dict(self.truth)
            self.ahead_of_stream = False

    # --- What must be true -----------------------------------------------------------------------

    def check(self) -> None:
        """Law 1 at any time; and, if no delivery is half done, that what was delivered is what is counted."""
        counters = self._counters()
        same(counters, self._ledger_sums())
        unsure = self.ahead_of_stream or self.lost or self.removal_lost
        if not unsure and all(shard.attempted <= shard.delivered for shard in self.shards):
            same(counters, self._expected(self.seen))

    def check_all(self) -> None:
        """When everything is delivered: counters and ledger say what has become of every order."""
        counters = self._counters()
        same(counters, self._ledger_sums())
        same(counters, self._expected(self.truth))
        self._check_entries()

    def _ledger_sums(self) -> dict[tuple[str, ...], int]:
        """What the counters must be by law 1: what the ledger's entries say they have added."""
        sums: Counter[tuple[str, ...]] = Counter()
        for item in self.scan(tables.LEDGER):
            for table, key, amounts in json.loads(item.get("contributions", {"S": "[]"})["S"]):
                for name, amount in amounts.items():
                    sums[table, *key, name] += amount
        return {key: amount for key, amount in sums.items() if amount}

    def _check_entries(self) -> None:
        """The ledger says of each order what has become of it, and knows no others."""
        entries = {item["OrderID"]["S"]: item["status"]["S"] for item in self.scan(tables.LEDGER)}
        for order_id, state in self.truth.items():
            if state.content:
                wanted = {"counted"} if state.counted else {"rejected"}
            else:
                wanted = {"archived"} if state.archived else {"cancelled", ""}  # "": its time is over.
            assert entries.pop(order_id, "") in wanted, order_id
        assert not entries

    def _expected(self, states: Mapping[str, State]) -> dict[tuple[str, ...], int]:
        """The counters that these orders add up to, by table, key and attribute; those that are 0 are left out."""
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
        """For an order of whose placing no stream has told: when the app met it, which nobody else can know."""
        entry = self._entry(order_id)
        assert entry, f"{order_id} is to be counted, and not in the ledger"
        first_seen: str = entry["firstSeen"]["S"]
        return first_seen

    def _entry(self, order_id: str) -> dict[str, Any] | None:
        key = {"OrderID": {"S": order_id}}
        entry: dict[str, Any] | None = self._engine("GetItem", TableName=self.names[tables.LEDGER], Key=key).get("Item")
        return entry

    def _counters(self) -> dict[tuple[str, ...], int]:
        counters = {}
        for table in (tables.TOTALS, tables.TREND):
            for item in self.scan(table):
                key = tuple(item[name]["S"] for name in tables.KEYS[table])
                if key[0] == " ":  # What the app notes of the stream's lag.
                    continue
                for name, value in item.items():
                    if "N" in value and name != "revision" and value["N"] != "0":
                        counters[table, *key, name] = int(value["N"])
        return counters

    def scan(self, table: str) -> Iterable[dict[str, Any]]:
        """The items of a table, by its logical name."""
        items: Sequence[dict[str, Any]] = self._engine("Scan", TableName=self.names[table])["Items"]
        return items


class Context:
    """What Lambda tells an invocation of itself."""

    function_name = "aggregate"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """All of it is left."""
        return INVOCATION_MILLISECONDS


def same(counters: Mapping[tuple[str, ...], int], expected: Mapping[tuple[str, ...], int]) -> None:
    """Raises AssertionError with what differs."""
    keys = sorted({*counters, *expected})
    differing = [f"{' / '.join(key)} is {counters.get(key, 0)}, and should be {expected.get(key, 0)}" for key in keys
                 if counters.get(key) != expected.get(key)]  # fmt: skip
    assert not differing, "; ".join(differing)


def instant(seconds: int) -> str:
    """As people write it: 2026-11-23T18:13:05Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(text: str) -> str:
    """An instant with an offset as one in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
