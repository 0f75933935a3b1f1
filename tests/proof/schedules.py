"""Fault schedules: random sequences of events that can happen to orders, their stream, deliveries and requests.

A seed determines a schedule. Every decision, even inside the engine, is a number that chooses among options, of which 0
is the simplest. So a schedule is a list of numbers, and a smaller list is a simpler schedule. That is how a failing
schedule is shrunk. A schedule's kind determines which events may happen.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar
from unittest import mock

from chalicelib.counting import committer, transactions
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine.streams import EventSourceMapping, Shard
from tests.proof.engine.tasks import SHORT_SECONDS
from tests.proof.faults import Fault
from tests.proof.model import MONTH_SECONDS, Content, Model


class Kind(NamedTuple):
    """The events that a schedule may have, besides changes to orders and batches that are repeated or cut anew."""

    faults: bool = False  # Requests fail, invocations crash, keys stay unprocessed.
    overlap: bool = False  # Invocations and other events overlap; there may be two mappings.
    backfill: bool = False
    audit: bool = False  # Audits with repair run.
    switching: bool = False  # The stream is switched off and on again.
    giving_up: bool = False  # Mappings discard batches, and records get older than a day.
    prompt: bool = False  # Every change is delivered immediately, so no audit may find drift.
    rounds: bool = False  # Each request has one order, so invocations have several requests in flight.


KINDS = {
    "redelivery": Kind(),
    "faults": Kind(faults=True),
    "overlap": Kind(overlap=True),
    "backfill": Kind(backfill=True, overlap=True),
    "audit": Kind(audit=True, overlap=True),
    "stream switched": Kind(backfill=True, audit=True, switching=True),
    "given up": Kind(backfill=True, audit=True, giving_up=True, overlap=True),
    "audit in traffic": Kind(overlap=True, audit=True, prompt=True),
    "rounds": Kind(faults=True, overlap=True, backfill=True, rounds=True),
    "everything": Kind(faults=True, overlap=True, backfill=True, audit=True, switching=True, giving_up=True),
}

HOUR_SECONDS = 3600
GRACE_SECONDS = 10  # The grace period of audits during traffic.
STEPS = 16
FAULTS_MAX = 8  # The most faults in one schedule, so that retries end.
INVOCATIONS_MAX = 3  # The usual limit of concurrent invocations.
MEANWHILES_MAX = 5  # The most events in the middle of invocations in one schedule.
MISHAPS = 12  # One in 12 requests has a throttled item or unprocessed keys.
FAULTS = (
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
    Fault.CRASH_DURING,
    Fault.REQUEST_LOST,
    Fault.RESPONSE_LOST,
    Fault.GIVEN_UP,
    Fault.UNREACHABLE,
    Fault.THROTTLED,
    Fault.THROTTLED_ALWAYS,
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
    Fault.ERRORS_ALWAYS,
)
BOTOCORE_EVERY = 50  # One in 50 schedules sends its requests through botocore.

# Few orders and values, so that changes often affect the same ones.
ORDER_IDS = [f"order-{number}" for number in range(1, 5)]
PRODUCTS = ["Pen", "Ink"]
QUANTITIES = [1, 2, 30, 0]
PLACED_AT = [None, None, "2026-11-10T09:59:59Z", "2026-11-10T23:30:00+01:00"]

Option = TypeVar("Option")


class Choices:
    """Choose random numbers, or those of a given list and then always 0. `made` has all chosen numbers."""

    def __init__(self, seed: int | str = 0, given: Sequence[int] | None = None) -> None:
        self.made: list[int] = []
        self._random = random.Random(seed).random
        self._given = given

    def __call__(self, number: int) -> int:
        """Return a number from 0 to `number` - 1."""
        if number < 2:
            return 0
        if self._given is None:
            chosen = int(self._random() * number)
        else:
            at = len(self.made)
            chosen = min(self._given[at], number - 1) if at < len(self._given) else 0
        self.made.append(chosen)
        return chosen

    def pick(self, options: Sequence[Option]) -> Option:
        """Return one of the options."""
        return options[self(len(options))]


class Schedule:
    """A schedule, from empty tables to the last check."""

    def __init__(self, app: AppOnEngine, kind: Kind, choices: Choices, through_botocore: bool = False) -> None:
        self.kind = kind
        self.choices = choices
        self.faults: Counter[str] = Counter()
        self.calm = False  # Whether the schedule injects no more faults.
        self.meanwhiles = MEANWHILES_MAX
        self.model = Model(
            app,
            self.choose,
            choices.pick(["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]),
            self.choose_fault,
            skew=choices.pick([0, -1, 1]),
            mishaps=MISHAPS if kind.faults or kind.overlap else 0,
            through_botocore=through_botocore,
        )
        self.order_ids = ORDER_IDS[: choices.pick([1, 2, 4])]
        self.traffic_audits: list[list[dict[str, Any]]] = []

    def choose(self, number: int) -> int:
        """Make a choice for the engine. At the end of the schedule, always make the harmless choice."""
        return 0 if self.calm else self.choices(number)

    def run(self) -> None:
        """Run the schedule. Raise AssertionError if a total is wrong."""
        with one_order_a_request() if self.kind.rounds else nullcontext():
            for _ in range(STEPS):
                self.choices.pick(self.events())()
                self.go_on()
            self.end()

    def events(self) -> list[Callable[[], object]]:
        """Return the events that may happen next."""
        kind, model = self.kind, self.model
        if kind.prompt:
            return [self.write_and_poll, self.write_and_poll, self.write_and_poll, self.audit_in_traffic]
        events: list[Callable[[], object]] = [
            self.write_orders,
            self.next_batch,
            self.next_batch,
            self.old_batch,
            self.write_and_deliver,
            self.time_passes,
            self.split_shard,
        ]
        if kind.overlap:
            events.append(self.second_mapping)
        if kind.backfill:
            events += [self.backfill, self.backfill]
        if kind.audit:
            events += [self.audit, self.audit]
        if kind.giving_up:
            events.append(self.give_up)
        if kind.switching:
            events.append(self.switch_off if model.stream else model.switch_on)
        return events

    def meanwhile_events(self) -> list[Callable[[], object]]:
        """Return the events that may happen while an invocation is about to send a request."""
        jobs = [self.backfill] * self.kind.backfill + [self.audit] * self.kind.audit
        return [self.write_and_deliver, self.write_and_deliver, self.next_batch, self.old_batch, *jobs]

    def go_on(self) -> None:
        """Run some steps of the tasks, or all remaining steps."""
        model = self.model
        if self.kind.overlap:
            steps = self.choices.pick([0, 1, 3, 10, 40, 1_000_000])
            if len(model.scheduler.invocations) >= INVOCATIONS_MAX:
                steps = max(steps, 3)
            while steps and not model.scheduler.idle:
                before = len(model.scheduler.invocations)
                model.step()
                steps -= 1
                if len(model.scheduler.invocations) < before:
                    model.check()
        else:
            model.finish()

    def choose_fault(self, operation: str) -> Fault:
        """Return the fault for a request of the app. Other events may happen before the request is sent."""
        if self.kind.overlap and not (self.kind.prompt or self.calm) and self.meanwhiles and self.choices(6) == 5:
            self.meanwhiles -= 1
            self.model.pending = [self.choices.pick(self.meanwhile_events()) for _ in range(1 + self.choices(2))]
            self.model.scheduler.sleep(2 * SHORT_SECONDS)
        if not self.kind.faults or self.calm or self.faults.total() >= FAULTS_MAX or self.choices(3) < 2:
            return Fault.NONE
        fault = self.choices.pick((Fault.NONE, *FAULTS, None))
        if fault is None:
            self.faults["OUT_OF_TIME"] += 1
            self.model.run_out_of_time()
            return Fault.NONE
        if fault is not Fault.NONE:
            self.faults[fault.name] += 1
        return fault

    # --- Events ----------------------------------------------------------------------------------

    def write_orders(self) -> None:
        """Change one to four orders."""
        for _ in range(1 + self.choices(4)):
            self.write()

    def write(self) -> None:
        """Change an order in OrdersTable."""
        model = self.model
        order_id = self.choices.pick(self.order_ids)
        content = model.orders[order_id].now.content if order_id in model.orders else None
        changes = ["put"]
        if content:
            changes += ["quantity", "note", "there and back"]
            # Without a stream, only an audit can find the removal.
            if model.stream or (self.kind.audit and model.can_find_removal(order_id)):
                changes.append("cancel")
            if model.stream and not (model.change_lost or model.recovering):
                changes.append("archive")
        change = self.choices.pick(changes)
        if change == "cancel":
            model.cancel(order_id, self.choices.pick([Fault.NONE, Fault.RESPONSE_LOST, Fault.ERROR_AFTER]))
        elif change == "archive":
            model.archive(order_id)
        elif change == "put" or content is None:
            pick = self.choices.pick
            model.put(
                order_id, Content(pick(PRODUCTS), pick(QUANTITIES), pick(PLACED_AT), pick([None, None, "urgent"]))
            )
        elif change == "note":
            model.put(order_id, content._replace(note=None if content.note else "urgent"))
        else:
            model.put(order_id, content._replace(quantity=1 if content.quantity == 2 else 2))
            if change == "there and back":
                model.put(order_id, content)

    def next_batch(self) -> None:
        """Deliver a batch of any length that starts at most two records before a mapping's checkpoint."""
        ready = [(mapping, shard) for mapping in self.model.mappings for shard in mapping.readable()]
        if not ready:
            self.write()
            ready = [(mapping, shard) for mapping in self.model.mappings for shard in mapping.readable()]
        if ready:
            mapping, shard = self.choices.pick(ready)
            checkpoint = mapping.checkpoint(shard)
            back = self.choices(min(2, checkpoint - shard.trimmed) + 1)
            if not self.model.may_redeliver(shard, checkpoint - back, checkpoint):
                back = 0
            length = mapping.remaining(shard) - self.choices(mapping.remaining(shard))
            self.model.deliver(mapping, shard, checkpoint - back, checkpoint + length)

    def old_batch(self) -> None:
        """Deliver up to three old records again, as a delayed invocation would."""
        found = [(mapping, shard) for mapping in self.model.mappings for shard in self.model.shards]
        old = [(mapping, shard) for mapping, shard in found if mapping.checkpoint(shard) > shard.trimmed]
        if old:
            mapping, shard = self.choices.pick(old)
            end = mapping.checkpoint(shard) - self.choices(mapping.checkpoint(shard) - shard.trimmed)
            start = max(shard.trimmed, end - 1 - self.choices(3))
            if self.model.may_redeliver(shard, start, end):
                self.model.deliver(mapping, shard, start, end)

    def write_and_deliver(self) -> None:
        """Change an order, and start to deliver all records."""
        self.write()
        self.model.poll()

    def time_passes(self) -> None:
        """Let time pass, or restart the mappings at the oldest record."""
        model = self.model
        what = self.choices.pick(["half an hour", "an hour", "a month", "replay"])
        if what == "replay":
            for mapping in model.mappings if model.can_read_again() else []:
                mapping.restart()
        elif what == "a month":
            if self.forget_records():
                model.let_time_pass(MONTH_SECONDS)
                model.expire_tombstones()
        elif model.scheduler.idle:
            model.let_time_pass(HOUR_SECONDS // 2 if what == "half an hour" else HOUR_SECONDS)

    def forget_records(self) -> bool:
        """Return whether records may expire: nothing runs, and all records are delivered or may be discarded."""
        model = self.model
        if not model.scheduler.idle:
            return False
        if model.all_delivered:
            return True
        return (
            self.kind.giving_up
            and all(
                model.give_up(mapping, shard, len(shard.records), self.kind.audit)
                for mapping in model.mappings
                for shard in mapping.readable()
            )
            and model.all_given_up()
        )

    def split_shard(self) -> None:
        """Split a shard of the stream."""
        open_shards = [shard for shard in self.model.shards if shard.is_open]
        if self.model.stream and len(open_shards) < 4:
            self.model.stream.split(self.choices.pick(open_shards))

    def second_mapping(self) -> None:
        """Add a second mapping, or remove it if there is one."""
        if len(self.model.mappings) > 1:
            self.model.mappings.pop()
        elif self.model.can_read_again():
            self.model.add_mapping()

    def backfill(self) -> None:
        """Start a backfill."""
        self.model.backfill(self.choices.pick([900, 1]))

    def audit(self) -> None:
        """Start an audit with repair."""
        self.model.audit(True, self.choices.pick([900, 900, 1]))

    def write_and_poll(self) -> None:
        """Change orders and start to deliver all records, within the grace period of an audit."""
        self.write_orders()
        self.model.poll()

    def audit_in_traffic(self) -> None:
        """Start an audit that must not find drift."""
        self.traffic_audits.append(self.model.audit(False, grace=GRACE_SECONDS))

    def give_up(self) -> None:
        """Make a mapping discard a batch, unless anything is running."""
        ready = [(mapping, shard) for mapping in self.model.mappings for shard in mapping.readable()]
        if ready and self.model.scheduler.idle:
            mapping, shard = self.choices.pick(ready)
            end = len(shard.records) - self.choices(mapping.remaining(shard))
            self.model.give_up(mapping, shard, end, self.kind.audit)

    def switch_off(self) -> None:
        """Deliver everything, then switch the stream off."""
        self.deliver_all()
        if self.model.all_delivered:
            self.model.switch_off()

    # --- The end of a schedule -------------------------------------------------------------------

    def deliver_all(self) -> None:
        """Deliver the rest of the stream, without faults."""
        model = self.model
        self.calm = True
        model.finish()
        while any(mapping.readable() for mapping in model.mappings):
            model.poll()
            model.finish()
        self.calm = False

    def end(self) -> None:
        """Deliver everything and check it. Then redeliver each record, newest first, which must change nothing."""
        model = self.model
        if not model.stream:
            model.switch_on()
        self.deliver_all()
        self.calm = True
        if model.change_lost and self.kind.backfill:
            model.backfill()
            model.finish()
        if self.kind.prompt:
            for results in self.traffic_audits:
                was_slow = model.slowest_seconds > GRACE_SECONDS - 2  # Conflicts can delay a delivery by seconds.
                assert was_slow or results[0]["verdict"] != "drifted", results[0]
        elif self.kind.audit:
            self.expect_clean_audit(repair=True)
        model.check_all()
        for mapping, shard, at in self.newest_first():
            model.deliver(mapping, shard, at, at + 1)
            model.finish(check=False)
        model.check_all()
        model.backfill()
        model.finish()
        self.expect_clean_audit(repair=False)
        model.check_all()

    def newest_first(self) -> Iterator[tuple[EventSourceMapping, Shard, int]]:
        """Yield all records, the newest of each shard first."""
        for shard in reversed(self.model.shards):
            for at in reversed(range(shard.trimmed, len(shard.records))):
                if self.model.may_redeliver(shard, at, at + 1):
                    yield self.model.mappings[0], shard, at

    def expect_clean_audit(self, repair: bool) -> None:
        """Run an audit and check that its verdict is clean."""
        self.model.let_time_pass(HOUR_SECONDS)  # After an hour, the audit ignores the old lag report.
        results = self.model.audit(repair)
        self.model.finish()
        assert results[0]["verdict"] == "clean", results[0]


@contextmanager
def one_order_a_request() -> Iterator[None]:
    """Make transactions and reads so small that each has one order."""
    with mock.patch.object(transactions, "ACTIONS_MAX", 3), mock.patch.object(committer, "READ_MAX_KEYS", 1):
        yield


# --- Running schedules ---------------------------------------------------------------------------


class Done(NamedTuple):
    """The requests, faults and engine events in schedules that passed."""

    requests: int
    faults: Counter[str]
    seen: Counter[str]  # Counts of events that never happen on an emulator.


def run(app: AppOnEngine, kind: str, number: int, seed: int) -> Done:
    """Run `number` schedules, starting at `seed`. Raise the first error, with a note that says how to reproduce it."""
    done = Done(0, Counter(), Counter())
    for at in range(seed, seed + number):
        schedule = Schedule(app, KINDS[kind], choices_of(kind, at), at % BOTOCORE_EVERY == 0)
        try:
            schedule.run()
        except Exception as error:
            error.add_note(f"Schedule {at} of kind {kind!r} failed. To reproduce and shrink it: {command(kind, at)}")
            raise
        done.faults.update(schedule.faults)
        done.seen.update(schedule.model.database.seen)
        done = done._replace(requests=done.requests + schedule.model.network.requests)
    return done


def choices_of(kind: str, seed: int) -> Choices:
    """Return the choices for a seed. They differ between kinds."""
    return Choices(f"{kind} {seed}")


def command(kind: str, seed: int) -> str:
    """Return the command that runs a schedule again and shrinks it if it fails."""
    return f"make soak KIND='{kind}' SEED={seed}"


def fresh_seed() -> int:
    """Return a random seed."""
    return int.from_bytes(os.urandom(4), "big")


# --- Shrinking a schedule that fails -------------------------------------------------------------


class Failure(NamedTuple):
    """A failing schedule: its choices, its error, and its log."""

    choices: Sequence[int]
    error: Exception
    log: Sequence[str]


def failure(app: AppOnEngine, kind: str, choices: Choices, through_botocore: bool = False) -> Failure | None:
    """Run a schedule. Return its failure, or None if it passes."""
    schedule = Schedule(app, KINDS[kind], choices, through_botocore)
    try:
        schedule.run()
    except Exception as error:
        return Failure(choices.made, error, schedule.model.log)
    return None


def shrink(app: AppOnEngine, kind: str, first: Failure) -> Failure:
    """Return a smaller failing schedule, with fewer choices and smaller numbers."""
    best = first

    def is_better(choices: list[int]) -> bool:
        nonlocal best
        found = failure(app, kind, Choices(given=choices))
        if found is None:
            return False
        made = list(found.choices)
        while made and made[-1] == 0:  # All choices beyond the list are 0.
            made.pop()
        better = (len(made), made) < (len(best.choices), list(best.choices))
        if better:
            best = found._replace(choices=made)
        return better

    improved = True
    while improved:
        improved = False
        size = max(1, len(best.choices) // 2)
        while size:
            at = 0
            while at < len(best.choices):
                if is_better([*best.choices[:at], *best.choices[at + size :]]):
                    improved = True
                else:
                    at += size
            size //= 2
        for at in range(len(best.choices)):
            while at < len(best.choices) and best.choices[at] > 0:
                if not is_better([*best.choices[:at], best.choices[at] // 2, *best.choices[at + 1 :]]):
                    break
                improved = True
    return best
