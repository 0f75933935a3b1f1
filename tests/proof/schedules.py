"""Fault schedules: whatever may happen to orders, to their stream, to deliveries and to requests, in any order.

Hypothesis draws the schedules; a machine's rules are what happens from outside, and at each request of the app it
is drawn what becomes of it and what else happens meanwhile. A kind of schedule is a choice of what may happen.
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

from tests.proof.faults import Fault, Request, possible
from tests.proof.lab import Harness
from tests.proof.world import Content, Model


class Kind(NamedTuple):
    """What may happen in a schedule, besides orders, redelivered, re-split, stray and replayed batches."""

    faults: bool = False  # Requests that fail.
    overlap: bool = False  # Something else between two requests of an invocation: other invocations above all.
    backfill: bool = False
    audit: bool = False  # One that mends.
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
FAULTS_MAX = 8  # In one schedule: enough to meet each other, and it comes to an end.
DEPTH_MAX = 2  # Of invocations in the midst of others.

# Few of all, so that they meet.
ORDER_IDS = [f"order-{number}" for number in range(1, 5)]
CONTENTS = st.builds(
    Content,
    product=st.sampled_from(["Pen", "Ink"]),
    quantity=st.sampled_from([1, 2, 30, 0]),
    placed=st.sampled_from([None, None, "2026-11-10T09:59:59Z", "2026-11-10T23:30:00+01:00"]),
    note=st.sampled_from([None, "urgent"]),
)
MEANWHILE = ["write", "deliver", "write and deliver", "stray"]


class Schedule(RuleBasedStateMachine):
    """One schedule. Subclasses set the class attributes (see `machine`)."""

    lab: ClassVar[Harness]
    kind: ClassVar[Kind]

    def __init__(self) -> None:
        super().__init__()
        self.world: Model | None = None
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
        self.world = Model(self.lab, view, self.before_request)
        self.order_ids = st.sampled_from(ORDER_IDS[:orders])
        self.world.clock.skew = skew

    # --- From outside ----------------------------------------------------------------------------

    @rule(data=st.data(), times=st.integers(1, 4))
    def writes(self, data: Any, times: int) -> None:
        for _ in range(times):
            self.write(data)

    @rule(data=st.data())
    def deliver(self, data: Any) -> None:
        self.with_data(data, self.next_batch)

    @rule(data=st.data())
    def deliver_and_so_on(self, data: Any) -> None:
        self.with_data(data, self.next_batch)
        self.with_data(data, self.next_batch)

    @rule(data=st.data())
    def stray(self, data: Any) -> None:
        self.with_data(data, self.stray_batch)

    @rule(what=st.sampled_from(["half an hour", "an hour", "a week", "replay"]))
    def time_passes(self, what: str) -> None:
        world = self.the_world
        if what == "replay":
            world.replay()
        elif what == "a week":
            if world.all_is_told:
                world.let_a_week_pass()
                world.expire_tombstones()
        else:
            world.clock.now += HOUR_SECONDS // 2 if what == "half an hour" else HOUR_SECONDS

    @precondition(lambda self: self.kind.backfill)
    @rule(data=st.data(), writes=st.integers(0, 2), then_stray=st.booleans())
    def backfill(self, data: Any, writes: int, then_stray: bool) -> None:
        for _ in range(writes):
            self.write(data)
        self.with_data(data, self.the_world.backfill)
        if then_stray:
            self.with_data(data, self.stray_batch)

    @precondition(lambda self: self.kind.audit)
    @rule(data=st.data(), writes=st.integers(0, 2), then_stray=st.booleans())
    def audit(self, data: Any, writes: int, then_stray: bool) -> None:
        for _ in range(writes):
            self.write(data)
        self.with_data(data, self.mend)
        if then_stray:
            self.with_data(data, self.stray_batch)

    @precondition(lambda self: self.kind.switching and self.world and self.world.streaming)
    @rule()
    def switch_off(self) -> None:
        self.deliver_all()
        self.the_world.switch_off()

    @precondition(lambda self: self.kind.switching and self.world and not self.world.streaming)
    @rule()
    def switch_on(self) -> None:
        self.the_world.switch_on()

    # --- What these consist of -------------------------------------------------------------------

    @property
    def the_world(self) -> Model:
        assert self.world
        return self.world

    def with_data(self, data: Any, happen: Callable[[], object]) -> None:
        """Has something happen, in the midst of which other things are drawn; then looks at the totals."""
        self.data = data
        try:
            happen()
            self.the_world.check()
        except BaseException:
            self.failed = True
            raise
        finally:
            self.data = None
            self.depth = 0

    def before_request(self, request: Request) -> Fault:
        """Draws what becomes of a request of the app, and what happens before it leaves."""
        if self.data is None or self.faults >= FAULTS_MAX:
            return Fault.NONE
        choices: list[Any] = [Fault.NONE] * 12
        if self.kind.faults:
            choices += [fault for fault in possible(request.operation) if fault is not Fault.NONE]
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
            self.the_world.run_out_of_time()
            return Fault.NONE
        fault: Fault = chosen
        return fault

    def meanwhile(self) -> None:
        """Some things happen between two requests of an invocation."""
        self.depth += 1
        menu = [*MEANWHILE, *["backfill"] * self.kind.backfill, *["audit"] * self.kind.audit]
        happens = {
            "write": lambda: self.write(self.data),
            "deliver": self.next_batch,
            "write and deliver": self.write_and_deliver,
            "stray": self.stray_batch,
            "backfill": self.the_world.backfill,
            "audit": self.mend,
        }
        for what in self.data.draw(st.lists(st.sampled_from(menu), min_size=1, max_size=4), label="meanwhile"):
            happens[what]()
        self.depth -= 1

    def write(self, data: Any) -> None:
        """Somebody changes an order in some way."""
        world = self.the_world
        order_id = data.draw(self.order_ids, label="order")
        content = world.truth[order_id].content if order_id in world.truth else None
        ways = ["put"]
        if content:
            ways += ["quantity", "note", "there and back"]
            # An audit finds it out also without a record.
            if world.streaming or (self.kind.audit and world.can_find_removal(order_id)):
                ways.append("cancel")
            if world.streaming and not world.lost:
                ways.append("archive")
        way = data.draw(st.sampled_from(ways), label="way")
        if way == "cancel":
            world.cancel(order_id)
        elif way == "archive":
            world.archive(order_id)
        elif way == "put" or content is None:
            world.put(order_id, data.draw(CONTENTS, label="content"))
        elif way == "note":
            world.put(order_id, content._replace(note=None if content.note else "urgent"))
        else:
            world.put(order_id, content._replace(quantity=1 if content.quantity == 2 else 2))
            if way == "there and back":
                world.put(order_id, content)

    def write_and_deliver(self) -> None:
        """Somebody changes an order, and all is delivered at once."""
        self.write(self.data)
        self.the_world.read_stream()
        for shard in self.the_world.shards:
            if shard.left:
                self.the_world.deliver(shard, shard.checkpoint, len(shard.told))

    def next_batch(self) -> None:
        """The batch from the checkpoint, perhaps with some records before it, with any number of those after it."""
        world = self.the_world
        if not world.left and world.streaming:
            self.write(self.data)
        world.read_stream()
        shards = [shard for shard in world.shards if shard.left]
        if shards:
            shard = self.data.draw(st.sampled_from(shards), label="shard")
            back = self.data.draw(st.integers(0, min(2, shard.checkpoint - shard.kept_from)), label="back")
            length = self.data.draw(st.integers(1, shard.left), label="length")
            world.deliver(shard, shard.checkpoint - back, shard.checkpoint + length)

    def stray_batch(self) -> None:
        """A batch that was under way for long: all of it has been delivered since then."""
        shards = [shard for shard in self.the_world.shards if shard.delivered > shard.kept_from]
        if shards:
            shard = self.data.draw(st.sampled_from(shards), label="shard")
            start = self.data.draw(st.integers(shard.kept_from, shard.delivered - 1), label="start")
            end = self.data.draw(st.integers(start + 1, min(shard.delivered, start + 3)), label="end")
            self.the_world.deliver(shard, start, end)

    def mend(self) -> None:
        """An audit that mends what it finds."""
        self.the_world.audit(repair=True)

    # --- The end ---------------------------------------------------------------------------------

    def deliver_all(self) -> None:
        """Nothing more goes wrong, and Lambda gets to the end of the stream."""
        self.the_world.read_stream()
        for shard in self.the_world.shards:
            while shard.checkpoint < len(shard.told):
                self.the_world.deliver(shard, shard.checkpoint, len(shard.told))

    def teardown(self) -> None:
        """The end of each schedule, where all must be right, and stay so whatever is delivered again."""
        if self.world is None:
            return
        try:
            if not self.failed:
                self.end(self.world)
        finally:
            self.world.close()

    def end(self, world: Model) -> None:
        if not world.streaming:
            world.switch_on()
        if world.lost and self.kind.backfill:
            world.backfill()
        self.deliver_all()
        if self.kind.audit:
            self.let_an_audit_pass(world, repair=True)
        world.check_all()
        for shard in world.shards:
            for index in reversed(range(shard.kept_from, len(shard.told))):
                world.deliver(shard, index, index + 1)
        world.check_all()
        world.backfill()
        self.let_an_audit_pass(world, repair=False)
        world.check_all()

    @staticmethod
    def let_an_audit_pass(world: Model, repair: bool) -> None:
        world.clock.now += HOUR_SECONDS  # What was noted of the stream's lag is old then: nothing more is in flight.
        answer = world.audit(repair)
        assert answer
        assert answer["verdict"] == "clean", answer


def machine(lab: Harness, kind: str) -> type[Schedule]:
    """The schedules of a kind, in a lab."""
    return type(f"{kind.title().replace(' ', '')}Schedule", (Schedule,), {"lab": lab, "kind": KINDS[kind]})


def run(lab: Harness, kind: str, number: int, start: int, shrink: bool = False) -> None:
    """Runs a number of schedules that a seed determines. Raises what the first bad one raises.

    `shrink` makes that one small, which takes minutes, and shows a bug as a story of a few steps.
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
    print(f"If one fails, this makes it small: {again(kind, number, start)}", flush=True)
    run_state_machine_as_test(seed(start)(machine(lab, kind)), settings=how)


def again(kind: str, number: int, start: int) -> str:
    """The command that runs the same schedules again."""
    return f"make soak SCHEDULES={number} KIND='{kind}' SEED={start}"


def fresh_seed() -> int:
    """A seed that nobody has seen."""
    return int.from_bytes(os.urandom(4), "big")
