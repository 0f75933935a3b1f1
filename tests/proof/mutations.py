"""The rules of the app broken on purpose, one at a time: each must be caught by the schedules, or they prove little.

A mutation is a way of doing it that somebody might hold for good enough, put in place of the app's own. The core's
modules reach each other's functions by the module's name, so that what is put there is what they call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from chalicelib import effects, orders, views
from chalicelib.counting import entry_item, ledger, stream, transactions
from chalicelib.counting.committer import Committer
from chalicelib.counting.ledger import Change, ChangeKind, ChangeRecord, ContributionRule, Entry, Status, Transition
from chalicelib.jobs import backfill, reads
from tests.proof.lab import Harness


class Mutation(NamedTuple):
    """A broken rule."""

    caught_by: str
    """The kind of schedule that is sure to catch it; others may too."""
    broken: Callable[[Harness], AbstractContextManager[Any]]
    """Breaks it, as long as the context lasts."""
    seed: int
    """One with which it is caught soon; with any other it may take some hundred schedules."""


MUTATIONS: dict[str, Mutation] = {}


def mutation(
    name: str, caught_by: str, seed: int = 1
) -> Callable[[Callable[[Harness], Any]], Callable[[Harness], Any]]:
    """Enters a mutation into the table; the function returns what breaks the rule."""

    def register(broken: Callable[[Harness], Any]) -> Callable[[Harness], Any]:
        MUTATIONS[name] = Mutation(caught_by, broken, seed)
        return broken

    return register


# --- Transactions --------------------------------------------------------------------------------


@mutation("the ledger is written without a condition", "overlap")
def _(lab: Harness) -> Any:
    put = transactions._put

    def unconditional(*arguments: Any) -> dict[str, Any]:
        wanted = put(*arguments)
        return {name: wanted[name] for name in ("TableName", "Item")}

    return mock.patch.object(transactions, "_put", unconditional)


@mutation("the condition is on the version and not on the revision", "backfill", seed=11)
def _(lab: Harness) -> Any:
    put = transactions._put

    def on_version(change: Change, *arguments: Any) -> dict[str, Any]:
        wanted = put(change, *arguments)
        if change.before.revision and change.before.position:
            wanted["ConditionExpression"] = "position = :seen"
            wanted["ExpressionAttributeValues"] = {":seen": {"S": change.before.position}}
        elif change.before.revision:
            wanted["ConditionExpression"] = "attribute_not_exists(position)"
            del wanted["ExpressionAttributeValues"]
        return wanted

    return mock.patch.object(transactions, "_put", on_version)


def in_two_requests(lab: Harness, first: str, second: str) -> Any:
    """The actions of a transaction in two, one after the other."""
    client = lab.shell.dynamodb

    def transact(TransactItems: Sequence[Mapping[str, Any]]) -> None:
        for kind in (first, second):
            some = [action for action in TransactItems if kind in action]
            if some:
                transact_write_items(TransactItems=some)

    transact_write_items = client.transact_write_items
    return mock.patch.object(client, "transact_write_items", transact)


@mutation("first the ledger, then the counters", "faults")
def _(lab: Harness) -> Any:
    return in_two_requests(lab, "Put", "Update")


@mutation("first the counters, then the ledger", "faults")
def _(lab: Harness) -> Any:
    return in_two_requests(lab, "Update", "Put")


# --- Answers -------------------------------------------------------------------------------------


@mutation("errors are swallowed", "faults")
def _(lab: Harness) -> Any:
    run_steps = lab.shell.run_steps

    def swallowing(*arguments: Any) -> None:
        try:
            run_steps(*arguments)
        except Exception:
            return

    return mock.patch.object(lab.shell, "run_steps", swallowing)


@mutation("what a condition refuses is taken for done", "redelivery")
def _(lab: Harness) -> Any:
    plan_again = Committer._plan_again

    def forgetful(work: Committer, transaction: Any, refused: Any) -> None:
        left = [change for change in transaction.changes if change.before.order_id not in refused]
        plan_again(work, transaction._replace(changes=left), {})

    return mock.patch.object(Committer, "_plan_again", forgetful)


@mutation("what a conflict refuses is taken for done", "faults")
def _(lab: Harness) -> Any:
    cancelled = Committer._cancelled

    def trusting(work: Committer, transaction: Any, result: Any) -> None:
        if {reason["Code"] for reason in result.reasons} & transactions.RETRYABLE_CODES:
            work._committed(transaction)
        else:
            cancelled(work, transaction, result)

    return mock.patch.object(Committer, "_cancelled", trusting)


# --- Records -------------------------------------------------------------------------------------


@mutation("the deltas are of the records' images, not of the ledger", "redelivery")
def _(lab: Harness) -> Any:
    read = stream.read
    images: dict[str, Any] = {}

    def noting(records: Iterable[Mapping[str, Any]]) -> Any:
        records = list(records)
        images.clear()
        for record in reversed(records):
            images[record["dynamodb"]["Keys"]["OrderID"]["S"]] = record["dynamodb"].get("OldImage")
        return read(records)

    def deltas(change: Change) -> views.Contributions:
        image = images.get(change.before.order_id)
        order = orders.from_item(image, change.before.first_seen or change.after.first_seen) if image else None
        before = views.contributions(order) if isinstance(order, orders.Order) else {}
        return ledger.deltas(before, change.after.contributions)

    return together(mock.patch.object(stream, "read", noting), mock.patch.object(Change, "deltas", property(deltas)))


@mutation("versions are not compared", "redelivery")
def _(lab: Harness) -> Any:
    return after(lambda real, entry, record: real(entry._replace(position=""), record))


@mutation("sequence numbers are compared as text", "redelivery")
def _(lab: Harness) -> Any:
    return mock.patch.object(stream, "_SEQUENCE_NUMBER_DIGITS", 0)


@mutation("the version leaves out which stream a record is from", "stream switched")
def _(lab: Harness) -> Any:
    version = stream.position
    return mock.patch.object(stream, "position", lambda arn, number: version("/stream/any", number))


@mutation("what comes and goes within a batch is not written", "redelivery")
def _(lab: Harness) -> Any:
    def if_different(real: Any, entry: Entry, records: Sequence[ChangeRecord]) -> Entry:
        last: Entry = real(entry, records)
        return entry if not entry.ahead_of_stream and ledger._content(last) == ledger._content(entry) else last

    return apply_all(if_different)


@mutation("of a batch only an order's last record is looked at", "redelivery")
def _(lab: Harness) -> Any:
    return apply_all(lambda real, entry, records: real(entry, records[-1:]))


@mutation("a removal leaves no tombstone", "redelivery")
def _(lab: Harness) -> Any:
    read = entry_item.from_item

    def forgetful(order_id: str, item: Any) -> Entry:
        entry = read(order_id, item)
        return Entry(order_id, entry.revision) if entry.status is Status.CANCELLED else entry

    return mock.patch.object(entry_item, "from_item", forgetful)


@mutation("the removal of an order that was never counted leaves no tombstone", "redelivery")
def _(lab: Harness) -> Any:
    def not_from_nothing(real: Any, entry: Entry, records: Sequence[ChangeRecord]) -> Entry:
        last: Entry = real(entry, records)
        return entry if (entry.status, last.status) == (Status.ABSENT, Status.CANCELLED) else last

    return apply_all(not_from_nothing)


# --- What an order counts for --------------------------------------------------------------------


@mutation("TTL's removal is taken for a cancellation", "redelivery")
def _(lab: Harness) -> Any:
    return mock.patch.dict(ledger.TRANSITIONS, {ChangeKind.EXPIRED: ledger.TRANSITIONS[ChangeKind.REMOVED]})


@mutation("an order that has become invalid goes on being counted", "redelivery")
def _(lab: Harness) -> Any:
    return mock.patch.dict(
        ledger.TRANSITIONS, {ChangeKind.INVALID: Transition(Status.REJECTED, ContributionRule.AS_BEFORE)}
    )


@mutation("an order that changes its product is not taken from the old one", "redelivery")
def _(lab: Harness) -> Any:
    def deltas(change: Change) -> views.Contributions:
        both = ledger.deltas(change.before.contributions, change.after.contributions)
        gone = change.before.contributions.keys() - change.after.contributions.keys()
        kept = {counter: amounts for counter, amounts in both.items() if counter not in gone}
        return kept if change.after.contributions else both

    return mock.patch.object(Change, "deltas", property(deltas))


@mutation("the hour is that of an order's newest record", "redelivery")
def _(lab: Harness) -> Any:
    def newest(real: Any, entry: Entry, record: ChangeRecord) -> Entry:
        told: Entry = real(entry._replace(first_seen="9"), record)
        return entry if told.first_seen == "9" else told

    return after(newest)


@mutation("the hour of an order's first record yields to a backfill's clock", "backfill", seed=10)
def _(lab: Harness) -> Any:
    return after(lambda real, entry, record: real(entry, record._replace(is_insert=False)))


# --- Backfill ------------------------------------------------------------------------------------


@mutation("a backfill reads an order's item before its entry", "backfill", seed=14)
def _(lab: Harness) -> Any:
    def match(work: backfill.Backfill, items: Mapping[str, Any]) -> Any:
        open_orders: Sequence[str] = list(items)
        while open_orders:
            current = yield from reads.read_orders(open_orders)
            entries = yield from reads.read_entries(open_orders)
            now = yield effects.Sleep()
            settling = backfill.reconciliation(entries.values(), current, now)
            yield from settling.steps()
            open_orders = settling.stale

    return mock.patch.object(backfill.Backfill, "_match", match)


@mutation("a backfill overwrites an entry that has changed since it looked", "backfill")
def _(lab: Harness) -> Any:
    def reconciliation(entries: Iterable[Entry], items: Mapping[str, Any], now: int, **_: Any) -> Committer:
        def plan(entry: Entry) -> Entry:
            item = items.get(entry.order_id)
            return entry if item is None else ledger.reconcile(entry, item, now)

        return Committer(plan, known=entries)

    return mock.patch.object(backfill, "reconciliation", reconciliation)


@mutation("a record that a backfill was ahead of is not noted", "backfill", seed=5)
def _(lab: Harness) -> Any:
    reconcile = ledger.reconcile

    def silent(entry: Entry, *arguments: Any) -> Entry:
        told = reconcile(entry, *arguments)
        return entry if told is entry else told._replace(ahead_of_stream=False)

    return mock.patch.object(ledger, "reconcile", silent)


@mutation("what an audit withdraws is forgotten, though it may be that TTL has archived the order", "audit", seed=4)
def _(lab: Harness) -> Any:
    reconcile = ledger.reconcile

    def forgetful(entry: Entry, *arguments: Any) -> Entry:
        told = reconcile(entry, *arguments)
        return entry if told is entry else told._replace(reverted={})

    return mock.patch.object(ledger, "reconcile", forgetful)


@mutation("a backfill takes the records that are still to come for known", "backfill", seed=2)
def _(lab: Harness) -> Any:
    reconcile = ledger.reconcile

    def final(entry: Entry, *arguments: Any) -> Entry:
        told = reconcile(entry, *arguments)
        return entry if told is entry else told._replace(position=f"{entry.position}~")

    return mock.patch.object(ledger, "reconcile", final)


# --- Helpers -------------------------------------------------------------------------------------


def after(broken: Callable[[Any, Entry, ChangeRecord], Entry]) -> Any:
    """Puts something in the place of ledger.apply; it is given the real one."""
    real = ledger.apply
    return mock.patch.object(ledger, "apply", lambda entry, record: broken(real, entry, record))


def apply_all(broken: Callable[[Any, Entry, Sequence[ChangeRecord]], Entry]) -> Any:
    """Puts something in the place of ledger.apply_all; it is given the real one."""
    real = ledger.apply_all
    return mock.patch.object(ledger, "apply_all", lambda entry, records: broken(real, entry, list(records)))


@contextmanager
def together(*patches: Any) -> Iterator[None]:
    """Several patches as one."""
    if not patches:
        yield
        return
    with patches[0], together(*patches[1:]):
        yield
