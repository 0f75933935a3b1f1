"""Fault schedules: random sequences of what can happen to orders, to their stream, to deliveries and to requests.

Hypothesis draws them. The rules of the state machine are events from outside. At each request of the app, another draw
decides which fault hits it and what else happens before it is sent. A schedule's kind sets what is allowed to happen.
"""

import os
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.proof.faults import Fault, Request, possible_faults
from tests.proof.harness import Harness
from tests.proof.model import Content, Model


class Kind(NamedTuple):
    """What may happen in a schedule, besides changes to orders and redelivered, re-split and old batches."""

    faults: bool = False  # Requests fail.
    overlap: bool = False  # Other things happen between two requests of an invocation, mostly other invocations.
    backfill: bool = False
    audit: bool = False  # With repair.
    switching: bool = False  # The stream is switched off and on again.


KINDS = {
    "redelivery": Kind(),
    "faults": Kind(faults=True),
    "overlap": Kind(overlap=True),
    "backfill": Kind(backfill=True, overlap=True),
    "audit": Kind(audit=True, overlap=True),
    "stream switched": Kind(backfill=True, audit=True, switching=True),
    "everything": Kind(faults=True, overlap=True, backfill=True, audit=True, switching=True),
}

HOUR_SECONDS = 3600
STEPS = 16
FAULTS_MAX = 8  # In one schedule, so that retries come to an end.
DEPTH_MAX = 2  # How deep invocations may nest: one runs between two requests of another.

# Few orders and few values, so that changes meet.
ORDER_IDS = [f"order-{number}" for number in range(1, 5)]
CONTENTS = st.builds(
    Content,
    product=st.sampled_from(["Pen", "Ink"]),
    quantity=st.sampled_from([1, 2, 30, 0]),
    placed_at=st.sampled_from([None, None, "2026-11-10T09:59:59Z", "2026-11-10T23:30:00+01:00"]),
    note=st.sampled_from([None, "urgent"]),
)
MEANWHILE = ["write", "deliver", "write and deliver", "redeliver"]


class Schedule(RuleBasedStateMachine):
    """One schedule. Subclasses set the class attributes (see `machine`).

    Hypothesis sorts rules by name. A renamed rule can change what a seed draws, and then mutations.py needs new seeds.
    """

    harness: ClassVar[Harness]
    kind: ClassVar[Kind]

    def __init__(self) -> None:
        super().__init__()
        self.started: Model | None = None
        self.data: Any = None
        self.depth = 0
        self.faults = 0
        self.order_ids = st.sampled_from(ORDER_IDS)
        self.failed = False

    @initialize(
        view=st.sampled_from(["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]),
        skew=st.sampled_from([0, -1, 1]),
        orders=st.sampled_from([1, 2, len(ORDER_IDS)]),
    )
    def begin(self, view: Any, skew: int, orders: int) -> None:
        self.started = Model(self.harness, view, self.before_request)
        self.order_ids = st.sampled_from(ORDER_IDS[:orders])
        self.started.clock.skew = skew

    # --- Rules: events from outside --------------------------------------------------------------

    @rule(data=st.data(), times=st.integers(1, 4))
    def write_orders(self, data: Any, times: int) -> None:
        for _ in range(times):
            self.write(data)

    @rule(data=st.data())
    def deliver(self, data: Any) -> None:
        self.perform(data, self.next_batch)

    @rule(data=st.data())
    def deliver_twice(self, data: Any) -> None:
        self.perform(data, self.next_batch)
        self.perform(data, self.next_batch)

    @rule(data=st.data())
    def redeliver(self, data: Any) -> None:
        self.perform(data, self.old_batch)

    @rule(what=st.sampled_from(["half an hour", "an hour", "a month", "replay"]))
    def time_passes(self, what: str) -> None:
        model = self.model
        if what == "replay":
            model.replay()
        elif what == "a month":
            if model.all_delivered:
                model.let_a_month_pass()
                model.expire_tombstones()
        else:
            model.clock.now += HOUR_SECONDS // 2 if what == "half an hour" else HOUR_SECONDS

    @precondition(lambda self: self.kind.backfill)
    @rule(data=st.data(), writes=st.integers(0, 2), then_redeliver=st.booleans())
    def backfill(self, data: Any, writes: int, then_redeliver: bool) -> None:
        for _ in range(writes):
            self.write(data)
        self.perform(data, self.model.backfill)
        if then_redeliver:
            self.perform(data, self.old_batch)

    @precondition(lambda self: self.kind.audit)
    @rule(data=st.data(), writes=st.integers(0, 2), then_redeliver=st.booleans())
    def audit(self, data: Any, writes: int, then_redeliver: bool) -> None:
        for _ in range(writes):
            self.write(data)
        self.perform(data, self.audit_with_repair)
        if then_redeliver:
            self.perform(data, self.old_batch)

    @precondition(lambda self: self.kind.switching and self.started and self.started.streaming)
    @rule()
    def switch_off(self) -> None:
        self.deliver_all()
        self.model.switch_off()

    @precondition(lambda self: self.kind.switching and self.started and not self.started.streaming)
    @rule()
    def switch_on(self) -> None:
        self.model.switch_on()

    # --- What the rules consist of ---------------------------------------------------------------

    @property
    def model(self) -> Model:
        assert self.started
        return self.started

    def perform(self, data: Any, action: Callable[[], object]) -> None:
        """Run an action, drawing from `data` what else happens during it. Then check the totals."""
        self.data = data
        try:
            action()
            self.model.check()
        except BaseException:
            self.failed = True
            raise
        finally:
            self.data = None
            self.depth = 0

    def before_request(self, request: Request) -> Fault:
        """Draw the fault for a request of the app, and do what happens before the request is sent."""
        if self.data is None or self.faults >= FAULTS_MAX:
            return Fault.NONE
        choices: list[Any] = [Fault.NONE] * 12
        if self.kind.faults:
            choices += [fault for fault in possible_faults(request.operation) if fault is not Fault.NONE]
            choices.append("out of time")
        if self.kind.overlap and self.depth < DEPTH_MAX:
            choices += ["meanwhile"] * 8
        chosen = self.data.draw(st.sampled_from(choices), label=request.operation)
        if chosen is Fault.NONE:
            return Fault.NONE
        self.faults += 1
        if chosen == "meanwhile":
            self.meanwhile()
            return Fault.NONE
        if chosen == "out of time":
            self.model.run_out_of_time()
            return Fault.NONE
        fault: Fault = chosen
        return fault

    def meanwhile(self) -> None:
        """Draw and do one to four other things between two requests of an invocation."""
        self.depth += 1
        allowed = [*MEANWHILE, *["backfill"] * self.kind.backfill, *["audit"] * self.kind.audit]
        actions = {
            "write": lambda: self.write(self.data),
            "deliver": self.next_batch,
            "write and deliver": self.write_and_deliver,
            "redeliver": self.old_batch,
            "backfill": self.model.backfill,
            "audit": self.audit_with_repair,
        }
        for name in self.data.draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=4), label="meanwhile"):
            actions[name]()
        self.depth -= 1

    def write(self, data: Any) -> None:
        """Draw an order and a change, and write it to OrdersTable."""
        model = self.model
        order_id = data.draw(self.order_ids, label="order")
        content = model.orders[order_id].content if order_id in model.orders else None
        changes = ["put"]
        if content:
            changes += ["quantity", "note", "there and back"]
            # Without a stream, only an audit can find the removal.
            if model.streaming or (self.kind.audit and model.can_find_removal(order_id)):
                changes.append("cancel")
            if model.streaming and not model.change_lost:
                changes.append("archive")
        change = data.draw(st.sampled_from(changes), label="change")
        if change == "cancel":
            model.cancel(order_id)
        elif change == "archive":
            model.archive(order_id)
        elif change == "put" or content is None:
            model.put(order_id, data.draw(CONTENTS, label="content"))
        elif change == "note":
            model.put(order_id, content._replace(note=None if content.note else "urgent"))
        else:
            model.put(order_id, content._replace(quantity=1 if content.quantity == 2 else 2))
            if change == "there and back":
                model.put(order_id, content)

    def write_and_deliver(self) -> None:
        """Change an order, and deliver all records at once."""
        self.write(self.data)
        self.model.read_stream()
        for shard in self.model.shards:
            if shard.remaining:
                self.model.deliver(shard, shard.checkpoint, len(shard.records))

    def next_batch(self) -> None:
        """Deliver a batch from the checkpoint or up to two records before it, of any length."""
        model = self.model
        if not model.remaining and model.streaming:
            self.write(self.data)
        model.read_stream()
        shards = [shard for shard in model.shards if shard.remaining]
        if shards:
            shard = self.data.draw(st.sampled_from(shards), label="shard")
            back = self.data.draw(st.integers(0, min(2, shard.checkpoint - shard.oldest_kept)), label="back")
            length = self.data.draw(st.integers(1, shard.remaining), label="length")
            model.deliver(shard, shard.checkpoint - back, shard.checkpoint + length)

    def old_batch(self) -> None:
        """Deliver up to three records that have all been delivered before, as an invocation that was stuck does."""
        shards = [shard for shard in self.model.shards if shard.delivered > shard.oldest_kept]
        if shards:
            shard = self.data.draw(st.sampled_from(shards), label="shard")
            start = self.data.draw(st.integers(shard.oldest_kept, shard.delivered - 1), label="start")
            end = self.data.draw(st.integers(start + 1, min(shard.delivered, start + 3)), label="end")
            self.model.deliver(shard, start, end)

    def audit_with_repair(self) -> None:
        """Run an audit that repairs what it finds."""
        self.model.audit(repair=True)

    # --- The end of a schedule -------------------------------------------------------------------

    def deliver_all(self) -> None:
        """Deliver the rest of the stream, without faults."""
        self.model.read_stream()
        for shard in self.model.shards:
            while shard.checkpoint < len(shard.records):
                self.model.deliver(shard, shard.checkpoint, len(shard.records))

    def teardown(self) -> None:
        """Check the end state, unless the schedule has failed already, and delete the tables."""
        if self.started is None:
            return
        try:
            if not self.failed:
                self.check_end(self.started)
        finally:
            self.started.close()

    def check_end(self, model: Model) -> None:
        """Deliver everything and check it. Then redeliver each record, newest first: nothing may change."""
        if not model.streaming:
            model.switch_on()
        if model.change_lost and self.kind.backfill:
            model.backfill()
        self.deliver_all()
        if self.kind.audit:
            self.expect_clean_audit(model, repair=True)
        model.check_all()
        for shard in model.shards:
            for index in reversed(range(shard.oldest_kept, len(shard.records))):
                model.deliver(shard, index, index + 1)
        model.check_all()
        model.backfill()
        self.expect_clean_audit(model, repair=False)
        model.check_all()

    @staticmethod
    def expect_clean_audit(model: Model, repair: bool) -> None:
        model.clock.now += HOUR_SECONDS  # The stored lag is old by then, so the audit expects no more records.
        result = model.audit(repair)
        assert result
        assert result["verdict"] == "clean", result


def machine(harness: Harness, kind: str) -> type[Schedule]:
    """Return the state machine for schedules of a kind."""
    return type(f"{kind.title().replace(' ', '')}Schedule", (Schedule,), {"harness": harness, "kind": KINDS[kind]})


def run(harness: Harness, kind: str, number: int, start: int, shrink: bool = False) -> None:
    """Run the `number` schedules that the seed `start` determines. Raise the error of the first that fails.

    `shrink` reduces that one to a few steps, which takes minutes.
    """
    how = settings(
        max_examples=number,
        stateful_step_count=STEPS,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    print(f"To reproduce and shrink a failure: {command(kind, number, start)}", flush=True)
    run_state_machine_as_test(seed(start)(machine(harness, kind)), settings=how)


def command(kind: str, number: int, start: int) -> str:
    """Return the command that runs the same schedules again."""
    return f"make soak SCHEDULES={number} KIND='{kind}' SEED={start}"


def fresh_seed() -> int:
    """Return a random seed."""
    return int.from_bytes(os.urandom(4), "big")
