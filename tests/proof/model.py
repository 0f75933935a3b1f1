"""The model that a schedule drives: orders, their stream, deliveries to the app's handlers, and the expected totals.

The expected totals are computed from the written orders, without the app's code.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import is_
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import ChaliceViewError
from greenlet import getcurrent

from chalicelib import tables
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine import Choose
from tests.proof.engine.streams import DAY_SECONDS, EventSourceMapping, Shard, Stream, ViewType
from tests.proof.engine.tasks import REQUEST_SECONDS, Invocation, Scheduler
from tests.proof.faults import MAY_END_INVOCATION, Crash, Fault

MONTH_SECONDS = 29 * DAY_SECONDS  # Four weeks and a day: after that, tombstones have expired.
INVOCATION_MILLISECONDS = 120_000
LONG_SECONDS = 10_000.0
PAGE_BYTES = 400  # Small pages, with two or three orders or one ledger entry.

Counters = Mapping[tuple[str, ...], int]


class Content(NamedTuple):
    """The attributes of a written order."""

    product: str
    quantity: int  # 0 makes the order invalid.
    placed_at: str | None = None
    note: str | None = None  # No view counts the note.

    def item(self, order_id: str) -> dict[str, Any]:
        """Return the order's item for OrdersTable."""
        texts = {"OrderID": order_id, "Product": self.product, "PlacedAt": self.placed_at, "Note": self.note}
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items() if text is not None}
        return {**item, "Quantity": {"N": str(self.quantity)}}


class Counted(NamedTuple):
    """What an order adds to the totals. `hour` is None if it depends on when the app first read the order."""

    product: str
    quantity: int
    hour: str | None  # The hour in UTC, such as 2026-11-23T18.
    inserted: int | None = None  # The state whose insert determines the hour, if any.


class State(NamedTuple):
    """The state of one order at a point in time."""

    content: Content | None = None  # None if the order is not in OrdersTable.
    inserted: int | None = None  # The index of its insert; None if unrecorded.
    inserted_at: str = ""
    counted: Counted | None = None
    archived: bool = False


class History:
    """The successive states of an order, and which of their records were delivered."""

    def __init__(self) -> None:
        self.states = [State()]
        self.recorded = 0  # The index of the last state that has a stream record.
        self.attempted = 0  # The index of the last state whose record was in any batch.
        self.delivered = 0  # The index of the last state whose record was in a successful batch.
        self.lost = 0  # The index of the last state whose record was discarded.
        self.lost_inserts: set[int] = set()  # The indexes of all states whose record was discarded.

    @property
    def now(self) -> State:
        """Return the state of the order in OrdersTable."""
        return self.states[-1]


class Invoked:
    """A running invocation, and whether it may fail."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.may_fail = False  # Whether a fault from MAY_END_INVOCATION has hit it.
        self.has_crashed = False


class Model:
    """Orders, their stream and the app's handlers, on a new engine with empty tables."""

    def __init__(
        self,
        app: AppOnEngine,
        choose: Choose,
        view: ViewType = "NEW_AND_OLD_IMAGES",
        choose_fault: Callable[[str], Fault] = lambda operation: Fault.NONE,
        *,
        skew: int = 0,
        mishaps: int = 0,
        through_botocore: bool = False,
        scheduler: Scheduler | None = None,
    ) -> None:
        """Set up the model. `choose_fault(operation)` returns the fault for each request, and may change the model."""
        self.choose_fault = choose_fault
        self.scheduler = scheduler or Scheduler(choose)
        self.shell = app.shell
        self.network = app.attach(
            self.scheduler,
            choose,
            self._choose_fault,
            skew=skew,
            through_botocore=through_botocore,
            page_bytes=PAGE_BYTES,
            mishaps=mishaps,
        )
        self.database = self.network.database
        self.orders: dict[str, History] = {}
        self.change_lost = False  # Whether an order changed without a record and no backfill has run since.
        self.recovering = 0  # The number of running backfills that count such changes.
        self.removal_lost = False  # Whether such a change was a removal, which only repair finds.
        self.ahead_of_stream = False  # Whether a job may have counted changes before their records.
        self.slowest_seconds = 0.0  # The longest time that a delivery has taken.
        self.mappings: list[EventSourceMapping] = []
        # Discarded records. Neither they nor older records of the order are delivered later (docs/proof.md).
        self.given_up: list[tuple[Shard, int]] = []
        self.log: list[str] = []  # A readable log of all events.
        self._of_record: dict[tuple[str, str], tuple[str, int]] = {}  # Order and state by stream and number.
        self._view = view
        self._streams = 0
        self._invoked: dict[Any, Invoked] = {}  # The running invocations by greenlet.
        self.pending: list[Callable[[], object]] = []  # Events that happen while an invocation sleeps.
        self._errors: list[BaseException] = []
        self._shown: dict[str, list[Any]] = {}  # By order: its items and `counted` when the API last showed it.
        self._fault_of_route = Fault.NONE
        self.switch_on()

    # --- Orders ----------------------------------------------------------------------------------

    def put(self, order_id: str, content: Content) -> None:
        """Write an order to OrdersTable. It replaces any order with the same id."""
        self.log.append(f"put {order_id}: {content}")
        history = self._history(order_id)
        before = history.now
        self.database.call("PutItem", TableName=tables.ORDERS, Item=content.item(order_id))
        if content == before.content:
            return
        inserted, inserted_at = before.inserted, before.inserted_at
        if before.content is None:
            inserted, inserted_at = (len(history.states), self._now()) if self.stream else (None, "")
        counted = None
        if content.quantity > 0:
            hour = content.placed_at or (inserted_at if inserted is not None else None)
            from_insert = None if content.placed_at else inserted
            counted = Counted(content.product, content.quantity, hour and utc(hour)[:13], from_insert)
        self._changed(order_id, State(content, inserted, inserted_at, counted))

    def cancel(self, order_id: str, fault: Fault = Fault.NONE) -> None:
        """Delete an order with the API. The SDK's retry must hide the fault."""
        self.log.append(f"cancel {order_id}: {fault.value}")
        self._fault_of_route = fault
        try:
            self.shell.cancel_order(order_id)
        except ChaliceViewError as error:
            raise AssertionError(f"DELETE of {order_id}: {error}") from error
        self._changed(order_id, State())

    def archive(self, order_id: str) -> None:
        """Delete an order, as DynamoDB's TTL does."""
        self.log.append(f"archive {order_id}")
        before = self._history(order_id).now
        self.database.replace(self.database.tables[tables.ORDERS], (order_id,), None, by_ttl=True)
        self._changed(order_id, before._replace(content=None, archived=True))

    def can_find_removal(self, order_id: str) -> bool:
        """Return whether an audit could find an unrecorded removal of an order.

        It cannot if the ledger entry is still `archived`: an archived order that was placed and removed again without
        records leaves no trace.
        """
        entry = self._entry(order_id)
        return entry is None or entry["status"]["S"] != "archived"

    def _history(self, order_id: str) -> History:
        return self.orders.setdefault(order_id, History())

    def _changed(self, order_id: str, after: State) -> None:
        history = self._history(order_id)
        history.states.append(after)
        if self.stream:
            history.recorded = len(history.states) - 1
            number = str(self.stream.last_number)
            self._of_record[self.stream.arn, number] = (order_id, history.recorded)
        else:
            self.change_lost = True
            self.removal_lost = self.removal_lost or after.content is None

    def _now(self) -> str:
        return timestamp(int(self.scheduler.now))

    # --- The stream ------------------------------------------------------------------------------

    @property
    def stream(self) -> Stream | None:
        """Return the stream of OrdersTable, or None while it is switched off."""
        return self.database.tables[tables.ORDERS].stream

    def switch_off(self) -> None:
        """Switch the stream off. All its records must have been delivered. None is delivered again."""
        assert self.all_delivered
        self.log.append("switch the stream off")
        self.database.tables[tables.ORDERS].stream = None
        self.mappings = []

    def switch_on(self) -> None:
        """Switch on a new stream, with another ARN and lower sequence numbers.

        The numbers get longer, so a comparison as text would fail.
        """
        self.log.append("switch the stream on")
        arn = f"arn:aws:dynamodb:us-east-1:1:table/OrdersTable/stream/2026-11-2{self._streams}T00:00:00.000"
        stream = Stream(arn, self._view, 10 ** (30 - self._streams) - 4)
        self.database.tables[tables.ORDERS].stream = stream
        self.mappings = [EventSourceMapping(stream)]
        self._streams += 1

    def add_mapping(self) -> None:
        """Add a second mapping that also delivers all records, as can happen while a stack is replaced."""
        if self.stream:
            self.mappings.append(EventSourceMapping(self.stream))

    def states_of(self, records: Iterable[Mapping[str, Any]]) -> list[tuple[History, int]]:
        """Return the order and the state of each record."""
        found = []
        for record in records:
            order_id, at = self._of_record[record["eventSourceARN"], record["dynamodb"]["SequenceNumber"]]
            found.append((self.orders[order_id], at))
        return found

    def give_up(self, mapping: EventSourceMapping, shard: Shard, end: int, can_repair: bool) -> bool:
        """Discard a mapping's records up to `end`. Return False and do nothing if no job could recover from that.

        docs/recovery.md lists these cases. `can_repair` tells whether an audit with repair runs later.
        """
        start = mapping.checkpoint(shard)
        if len(self.mappings) > 1:
            return False
        lost = self.states_of(shard.records[start:end])
        histories = {id(history): history for history, _ in lost}
        rest = self.states_of(record for each in self.shards for record in each.records[mapping.checkpoint(each) :])
        if any(history.states[at].archived for history, at in rest if id(history) in histories):
            return False
        removed = [history for history, at in lost if history.states[at].content is None]
        if removed and not (can_repair and all(self.can_find_removal(self._id_of(each)) for each in removed)):
            return False
        self.log.append(f"give up records {start} to {end} of {shard}")
        mapping.advance(shard, end)
        for index, (history, at) in enumerate(lost, start):
            if at > history.delivered:
                self.given_up.append((shard, index))
                history.lost = max(history.lost, at)
                history.lost_inserts.add(at)
                self.change_lost = True
                self.removal_lost = self.removal_lost or history.states[at].content is None
        return True

    def can_read_again(self) -> bool:
        """Return whether the stream may be read from its start, because it has no discarded records."""
        return all(index < shard.trimmed for shard, index in self.given_up)

    def may_redeliver(self, shard: Shard, start: int, end: int) -> bool:
        """Return whether a batch may be redelivered: no record in it, and no newer one of its orders, was discarded."""
        return all(at > history.lost for history, at in self.states_of(shard.records[start:end]))

    def _id_of(self, history: History) -> str:
        return next(order_id for order_id, each in self.orders.items() if each is history)

    @property
    def shards(self) -> Sequence[Shard]:
        """Return the shards of the stream."""
        return self.stream.shards if self.stream else []

    # --- Deliveries ------------------------------------------------------------------------------

    def deliver(self, mapping: EventSourceMapping, shard: Shard, start: int, end: int) -> None:
        """Start an invocation with records `start` to `end` of a shard."""
        self.log.append(f"deliver records {start} to {end} of {shard}")
        records = shard.records[start:end]
        states = self.states_of(records)
        began = self.scheduler.elapsed
        for history, at in states:
            history.attempted = max(history.attempted, at)

        def run() -> None:
            if self._invoke(self.shell.aggregate, {"Records": [dict(record) for record in records]}):
                if start <= mapping.checkpoint(shard):
                    mapping.advance(shard, end)
                for history, at in states:
                    history.delivered = max(history.delivered, at)
            self.slowest_seconds = max(self.slowest_seconds, self.scheduler.elapsed - began)

        self._start(run)

    def poll(self) -> None:
        """Start an invocation for each readable shard of each mapping, with all its remaining records."""
        for mapping in self.mappings:
            for shard in mapping.readable():
                self.deliver(mapping, shard, mapping.checkpoint(shard), len(shard.records))

    def backfill(self, seconds: int = 900) -> None:
        """Start a backfill."""
        self.log.append("backfill")
        if self.change_lost:
            self.scheduler.advance(2)  # Stale reads must not miss an unrecorded change.
        lost_before, self.change_lost = self.change_lost, False
        self.recovering += lost_before
        self.ahead_of_stream = True

        def run() -> None:
            result = self._run_job(self.shell.backfill, {"seconds": seconds})
            self.recovering -= lost_before
            self.change_lost = self.change_lost or (lost_before and result is None)
            self.ahead_of_stream = True

        self._start(run)

    def audit(self, repair: bool, seconds: int = 900, grace: int = 1) -> list[dict[str, Any]]:
        """Start an audit. Return a list that gets the audit's result when it is done."""
        self.log.append(f"audit, repair: {repair}")
        if self.change_lost or self.removal_lost:
            self.scheduler.advance(2)
        self.ahead_of_stream = self.ahead_of_stream or repair
        results: list[dict[str, Any]] = []

        def run() -> None:
            result = self._run_job(
                self.shell.audit, {"repair": repair, "gracePeriodSeconds": grace, "seconds": seconds}
            )
            self.ahead_of_stream = self.ahead_of_stream or repair
            if result:
                # Every transaction keeps the counters equal to the ledger, so no counter drifts.
                assert not result["counters"]["drifted"], result["counters"]
                results.append(result)

        self._start(run)
        return results

    def _run_job(self, job: Callable[..., dict[str, Any]], event: dict[str, Any]) -> dict[str, Any] | None:
        """Invoke a job until it is done. Return its last result, or None if an invocation fails."""
        results: list[dict[str, Any]] = []
        while not results or not results[-1]["done"]:
            next_event = {"cursor": results[-1]["cursor"]} if results else event
            if not self._invoke(lambda *arguments: results.append(job(*arguments)), next_event):
                return None
        return results[-1]

    def _start(self, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                self._errors.append(error)

        self.scheduler.start(guarded)

    def _invoke(self, function: Callable[..., Any], event: dict[str, Any]) -> bool:
        """Invoke a handler and return whether it succeeds. Raise its error if no fault explains the error."""
        invoked = self._invoked[getcurrent()] = Invoked(self.scheduler.elapsed)
        try:
            function(event, Context())
        except Crash:
            return False
        except (ClientError, BotoCoreError):
            if not invoked.may_fail:
                raise
            return False
        except self.shell.OutOfTime:
            if self.scheduler.elapsed < invoked.started + LONG_SECONDS:
                raise
            return False
        finally:
            del self._invoked[getcurrent()]
        return True

    def _choose_fault(self, operation: str) -> Fault:
        current = getcurrent()
        invoked = self._invoked.get(current.process if isinstance(current, Invocation) else current)
        if invoked is None:  # A route sent the request.
            fault, self._fault_of_route = self._fault_of_route, Fault.NONE
            return fault
        if invoked.has_crashed:  # After a crash, Python still runs `finally` blocks.
            return Fault.CRASH_BEFORE
        fault = self.choose_fault(operation)
        self.log.append(f"    {operation}" if fault is Fault.NONE else f"    {operation}: {fault.value}")
        invoked.may_fail |= fault in MAY_END_INVOCATION
        invoked.has_crashed = fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CRASH_DURING)
        return fault

    def step(self) -> None:
        """Run one step of one task. Raise an invocation's error that no fault explains."""
        self.scheduler.step()
        while self.pending:
            self.pending.pop()()
        if self._errors:
            raise self._errors.pop()

    def kill(self, task: Invocation) -> None:
        """Crash an invocation at its current point. The requests that it waits for continue."""
        self.scheduler.kill_threads(task)
        if task in self._invoked:  # The invocation has started.
            self._invoked[task].has_crashed = True
            task.throw(Crash)
        self.scheduler.invocations.remove(task)

    def finish(self, check: bool = True) -> None:
        """Run all tasks to their end. Then check the totals."""
        while not self.scheduler.idle:
            self.step()
        if check:
            self.check()

    def run_out_of_time(self) -> None:
        """Let so much time pass that every running invocation runs out of time."""
        self.log.append("all invocations run out of time")
        self.scheduler.elapsed += LONG_SECONDS

    def expire_tombstones(self) -> None:
        """Delete the ledger entries that are past `expiresAt`, as DynamoDB's TTL does."""
        self.database.expire(tables.LEDGER, "expiresAt")

    def let_time_pass(self, seconds: float) -> None:
        """Let time pass. The stream drops records that are older than a day."""
        self.log.append(f"{seconds} seconds pass")
        self.scheduler.advance(seconds)
        if self.stream:
            self.stream.trim(self.scheduler.now)

    @property
    def all_delivered(self) -> bool:
        """Return whether every record has been delivered successfully and nothing is running."""
        return self.scheduler.idle and all(
            history.delivered == history.recorded == max(history.attempted, history.delivered)
            for history in self.orders.values()
        )

    def all_given_up(self) -> bool:
        """Return whether no mapping has records left."""
        return not any(mapping.readable() for mapping in self.mappings)

    # --- Checks ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that the counters equal the sums of the ledger's entries and of the delivered orders.

        Skip both checks while a transaction is half visible. Skip the second if a delivery has failed or a job may have
        counted changes without their records.
        """
        if self.database.committing:
            return
        self.check_ledger()
        counters = self._counters()
        if self.all_delivered and not self.change_lost and not self.removal_lost:
            self.ahead_of_stream = False
            for history in self.orders.values():
                history.delivered = history.attempted = history.recorded = len(history.states) - 1
        if self.ahead_of_stream or self.change_lost or self.removal_lost or not self.scheduler.idle:
            return
        if all(history.attempted <= history.delivered for history in self.orders.values()):
            assert_same(counters, self._expected(lambda history: history.states[history.delivered]))
            self._check_orders(all_counted=False)

    def check_ledger(self) -> None:
        """Check the invariant entry-matches-counters, unless a transaction is half visible."""
        if not self.database.committing:
            assert_same(self._counters(), self._ledger_sums())

    def check_all(self) -> None:
        """Check counters and ledger entries against all orders. Every record must have been delivered."""
        counters = self._counters()
        assert_same(counters, self._ledger_sums())
        assert_same(counters, self._expected(lambda history: history.now))
        self._check_entries()
        self._check_orders(all_counted=True)

    def _check_orders(self, all_counted: bool) -> None:
        """Check for each order that the API reports correctly whether the totals include it."""
        for order_id, history in self.orders.items():
            now, delivered = history.now, history.states[history.delivered]
            if now.content is None:
                continue
            is_counted = now.counted is not None
            if not all_counted:
                # An order that was placed again is not counted until the record of that is delivered.
                is_counted = is_counted and delivered.content is not None and looks_the_same(delivered, now)
            names = (tables.ORDERS, tables.LEDGER)
            state = [*(self.database.tables[name].place((order_id,)).item for name in names), is_counted]
            if all(map(is_, state, self._shown.get(order_id, [self] * 3))):
                self.scheduler.advance(2 * REQUEST_SECONDS)  # As if it had been shown again.
                continue
            self._shown[order_id] = state
            assert self.shell.show_order(order_id)["counted"] == is_counted, f"{order_id} has the wrong `counted`"

    def _ledger_sums(self) -> Counters:
        """Return the sum of all entries' contributions by counter (entry-matches-counters)."""
        sums: Counter[tuple[str, ...]] = Counter()
        for item in self.items(tables.LEDGER):
            if "contributions" in item:
                for name, amount in contributions(item["contributions"]["S"]):
                    sums[name] += amount
        return {key: amount for key, amount in sums.items() if amount}

    def _check_entries(self) -> None:
        """Check that each order's entry has the right status, and that no other entries exist."""
        entries = {item["OrderID"]["S"]: item["status"]["S"] for item in self.items(tables.LEDGER)}
        for order_id, history in self.orders.items():
            state = history.now
            if state.content:
                allowed = {"counted"} if state.counted else {"rejected"}
            else:
                allowed = {"archived"} if state.archived else {"cancelled", ""}  # "" for an expired tombstone.
            assert entries.pop(order_id, "") in allowed, f"{order_id} must be {' or '.join(allowed)}"
        assert not entries

    def _expected(self, state_of: Callable[[History], State]) -> Counters:
        """Return the expected nonzero counters, by table, key and attribute, for these states of the orders."""
        sums: Counter[tuple[str, ...]] = Counter()
        for order_id, history in self.orders.items():
            state = state_of(history)
            if state.counted is None:
                continue
            product, quantity, hour, inserted = state.counted
            if hour is None or inserted in history.lost_inserts:
                hour = self._first_seen(order_id)[:13]
            sums[tables.TOTALS, product, "totalQuantity"] += quantity
            sums[tables.TOTALS, product, "orderCount"] += 1
            sums[tables.TREND, product, hour[:10], "total"] += quantity
            sums[tables.TREND, product, hour[:10], f"h{hour[11:]}"] += quantity
        return dict(sums)

    def _first_seen(self, order_id: str) -> str:
        """Return the `firstSeen` of an order's ledger entry, for an order without a record of its insert."""
        entry = self._entry(order_id)
        assert entry, f"{order_id} must be counted but has no ledger entry"
        first_seen: str = entry["firstSeen"]["S"]
        return first_seen

    def _entry(self, order_id: str) -> Mapping[str, Any] | None:
        return self.database.tables[tables.LEDGER].place((order_id,)).item

    def _counters(self) -> Counters:
        counters = {}
        for table in (tables.TOTALS, tables.TREND):
            for key, place in self.database.tables[table].places.items():
                if place.item:
                    for name, value in place.item.items():
                        if "N" in value and name != "revision" and value["N"] != "0":
                            counters[table, *key, name] = int(value["N"])
        return counters

    def items(self, table: str) -> Iterable[Mapping[str, Any]]:
        """Return the items of a table."""
        return self.database.tables[table].items()


class Context:
    """The context object that Lambda passes to a handler."""

    function_name = "aggregate"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return a fixed time, long enough for every invocation."""
        return INVOCATION_MILLISECONDS


def looks_the_same(before: State, now: State) -> bool:
    """Return whether two states of an order add the same to the totals, judging by the items alone."""
    if before.counted is None or now.counted is None or before.counted[:2] != now.counted[:2]:
        return False
    contents = [state.content for state in (before, now) if state.content]
    return before.counted.hour == now.counted.hour or not any(content.placed_at for content in contents)


@lru_cache(maxsize=10_000)
def contributions(text: str) -> list[tuple[tuple[str, ...], int]]:
    """Return the amounts in an entry's contributions by counter and attribute."""
    return [((table, *key, name), amount) for table, key, found in json.loads(text) for name, amount in found.items()]


def assert_same(counters: Counters, expected: Counters) -> None:
    """Raise AssertionError with all counters that differ from the expected ones."""
    if counters == expected:
        return
    differing = [
        f"{' / '.join(key)} is {counters.get(key, 0)} but must be {expected.get(key, 0)}"
        for key in sorted({*counters, *expected})
        if counters.get(key) != expected.get(key)
    ]
    raise AssertionError("; ".join(differing))


def timestamp(seconds: int) -> str:
    """Format epoch seconds as 2026-11-23T18:13:05Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache
def utc(text: str) -> str:
    """Convert a timestamp with an offset to UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
