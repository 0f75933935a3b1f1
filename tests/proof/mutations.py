"""The rules of the app broken on purpose, one at a time: each must be caught by the schedules, or they prove little.

A mutation is a way of doing it that somebody might hold for good enough, put in place of the app's own. The core's
modules reach each other's functions by the module's name, so that what is put there is what they call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from chalicelib import effects, orders, views
from chalicelib.counting import ledger, stream, transactions
from chalicelib.counting.committer import Settlement
from chalicelib.counting.ledger import Change, Counts, Entry, News, Record, Rule, Status
from chalicelib.jobs import backfill, reads
from tests.proof.lab import Lab


class Mutation(NamedTuple):
    """A broken rule."""

    caught_by: str
    """The kind of schedule that is sure to catch it; others may too."""
    broken: Callable[[Lab], AbstractContextManager[Any]]
    """Breaks it, as long as the context lasts."""
    seed: int
    """One with which it is caught soon; with any other it may take some hundred schedules."""


MUTATIONS: dict[str, Mutation] = {}


def mutation(name: str, caught_by: str, seed: int = 1) -> Callable[[Callable[[Lab], Any]], Callable[[Lab], Any]]:
    """Enters a mutation into the table; the function returns what breaks the rule."""

    def register(broken: Callable[[Lab], Any]) -> Callable[[Lab], Any]:
        MUTATIONS[name] = Mutation(caught_by, broken, seed)
        return broken

    return register


# --- Transactions --------------------------------------------------------------------------------


@mutation("the ledger is written without a condition", "overlap")
def _(lab: Lab) -> Any:
    put = transactions._put

    def unconditional(*arguments: Any) -> dict[str, Any]:
        wanted = put(*arguments)
        return {name: wanted[name] for name in ("TableName", "Item")}

    return mock.patch.object(transactions, "_put", unconditional)


@mutation("the condition is on the version and not on the revision", "backfill", seed=11)
def _(lab: Lab) -> Any:
    put = transactions._put

    def on_version(change: Change, *arguments: Any) -> dict[str, Any]:
        wanted = put(change, *arguments)
        if change.before.revision and change.before.version:
            wanted["ConditionExpression"] = "version = :seen"
            wanted["ExpressionAttributeValues"] = {":seen": {"S": change.before.version}}
        elif change.before.revision:
            wanted["ConditionExpression"] = "attribute_not_exists(version)"
            del wanted["ExpressionAttributeValues"]
        return wanted

    return mock.patch.object(transactions, "_put", on_version)


def in_two_requests(lab: Lab, first: str, second: str) -> Any:
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
def _(lab: Lab) -> Any:
    return in_two_requests(lab, "Put", "Update")


@mutation("first the counters, then the ledger", "faults")
def _(lab: Lab) -> Any:
    return in_two_requests(lab, "Update", "Put")


# --- Answers -------------------------------------------------------------------------------------


@mutation("errors are swallowed", "faults")
def _(lab: Lab) -> Any:
    settle = lab.shell.settle

    def swallowing(*arguments: Any) -> None:
        try:
            settle(*arguments)
        except Exception:
            return

    return mock.patch.object(lab.shell, "settle", swallowing)


@mutation("what a condition refuses is taken for done", "redelivery")
def _(lab: Lab) -> Any:
    plan_again = Settlement._plan_again

    def forgetful(work: Settlement, transaction: Any, refused: Any) -> None:
        left = [change for change in transaction.changes if change.before.order_id not in refused]
        plan_again(work, transaction._replace(changes=left), {})

    return mock.patch.object(Settlement, "_plan_again", forgetful)


@mutation("what a conflict refuses is taken for done", "faults")
def _(lab: Lab) -> Any:
    receive_reasons = Settlement.receive_reasons

    def trusting(work: Settlement, transaction: Any, reasons: Any) -> None:
        busy = {reason["Code"] for reason in reasons} & transactions.BUSY_CODES
        receive_reasons(work, transaction, [] if busy else reasons)

    return mock.patch.object(Settlement, "receive_reasons", trusting)


# --- Records -------------------------------------------------------------------------------------


@mutation("the deltas are of the records' images, not of the ledger", "redelivery")
def _(lab: Lab) -> Any:
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
def _(lab: Lab) -> Any:
    return after(lambda real, entry, record: real(entry._replace(version=""), record))


@mutation("sequence numbers are compared as text", "redelivery")
def _(lab: Lab) -> Any:
    return mock.patch.object(stream, "_SEQUENCE_NUMBER_DIGITS", 0)


@mutation("the version leaves out which stream a record is from", "stream switched")
def _(lab: Lab) -> Any:
    version = stream.version
    return mock.patch.object(stream, "version", lambda arn, number: version("/stream/any", number))


@mutation("what comes and goes within a batch is not written", "redelivery")
def _(lab: Lab) -> Any:
    def if_different(real: Any, entry: Entry, records: Sequence[Record]) -> Entry:
        last: Entry = real(entry, records)
        return entry if not entry.ahead and ledger._says(last) == ledger._says(entry) else last

    return after_all(if_different)


@mutation("of a batch only an order's last record is looked at", "redelivery")
def _(lab: Lab) -> Any:
    return after_all(lambda real, entry, records: real(entry, records[-1:]))


@mutation("a removal leaves no tombstone", "redelivery")
def _(lab: Lab) -> Any:
    read = ledger.entry

    def forgetful(order_id: str, item: Any) -> Entry:
        entry = read(order_id, item)
        return Entry(order_id, entry.revision) if entry.status is Status.CANCELLED else entry

    return mock.patch.object(ledger, "entry", forgetful)


@mutation("the removal of an order that was never counted leaves no tombstone", "redelivery")
def _(lab: Lab) -> Any:
    def not_from_nothing(real: Any, entry: Entry, records: Sequence[Record]) -> Entry:
        last: Entry = real(entry, records)
        return entry if (entry.status, last.status) == (Status.ABSENT, Status.CANCELLED) else last

    return after_all(not_from_nothing)


# --- What an order counts for --------------------------------------------------------------------


@mutation("TTL's removal is taken for a cancellation", "redelivery")
def _(lab: Lab) -> Any:
    return mock.patch.dict(ledger.RULES, {News.EXPIRED: ledger.RULES[News.REMOVED]})


@mutation("an order that has become invalid goes on being counted", "redelivery")
def _(lab: Lab) -> Any:
    return mock.patch.dict(ledger.RULES, {News.INVALID: Rule(Status.REJECTED, Counts.AS_BEFORE)})


@mutation("an order that changes its product is not taken from the old one", "redelivery")
def _(lab: Lab) -> Any:
    def deltas(change: Change) -> views.Contributions:
        both = ledger.deltas(change.before.contributions, change.after.contributions)
        gone = change.before.contributions.keys() - change.after.contributions.keys()
        kept = {counter: amounts for counter, amounts in both.items() if counter not in gone}
        return kept if change.after.contributions else both

    return mock.patch.object(Change, "deltas", property(deltas))


@mutation("the hour is that of an order's newest record", "redelivery")
def _(lab: Lab) -> Any:
    def newest(real: Any, entry: Entry, record: Record) -> Entry:
        told: Entry = real(entry._replace(first_seen="9"), record)
        return entry if told.first_seen == "9" else told

    return after(newest)


@mutation("the hour of an order's first record yields to a backfill's clock", "backfill", seed=10)
def _(lab: Lab) -> Any:
    return after(lambda real, entry, record: real(entry, record._replace(first=False)))


# --- Backfill ------------------------------------------------------------------------------------


@mutation("a backfill reads an order's item before its entry", "backfill", seed=14)
def _(lab: Lab) -> Any:
    def match(work: backfill.Backfill, items: Mapping[str, Any]) -> Any:
        open_orders: Sequence[str] = list(items)
        while open_orders:
            current = yield from reads.read_orders(open_orders)
            entries = yield from reads.read_entries(open_orders)
            now = yield effects.Pause()
            settling = backfill.comparison(entries.values(), current, now)
            yield settling
            open_orders = settling.stale

    return mock.patch.object(backfill.Backfill, "_match", match)


@mutation("a backfill overwrites an entry that has changed since it looked", "backfill")
def _(lab: Lab) -> Any:
    def comparison(entries: Iterable[Entry], items: Mapping[str, Any], now: int, **_: Any) -> Settlement:
        def plan(entry: Entry) -> Entry:
            item = items.get(entry.order_id)
            return entry if item is None else ledger.as_item_says(entry, item, now)

        return Settlement(plan, known=entries)

    return mock.patch.object(backfill, "comparison", comparison)


@mutation("a record that a backfill was ahead of is not noted", "backfill", seed=5)
def _(lab: Lab) -> Any:
    as_item_says = ledger.as_item_says

    def silent(entry: Entry, *arguments: Any) -> Entry:
        told = as_item_says(entry, *arguments)
        return entry if told is entry else told._replace(ahead=False)

    return mock.patch.object(ledger, "as_item_says", silent)


@mutation("what an audit withdraws is forgotten, though it may be that TTL has archived the order", "audit", seed=4)
def _(lab: Lab) -> Any:
    as_item_says = ledger.as_item_says

    def forgetful(entry: Entry, *arguments: Any) -> Entry:
        told = as_item_says(entry, *arguments)
        return entry if told is entry else told._replace(withdrawn={})

    return mock.patch.object(ledger, "as_item_says", forgetful)


@mutation("a backfill takes the records that are still to come for known", "backfill", seed=2)
def _(lab: Lab) -> Any:
    as_item_says = ledger.as_item_says

    def final(entry: Entry, *arguments: Any) -> Entry:
        told = as_item_says(entry, *arguments)
        return entry if told is entry else told._replace(version=f"{entry.version}~")

    return mock.patch.object(ledger, "as_item_says", final)


# --- Helpers -------------------------------------------------------------------------------------


def after(broken: Callable[[Any, Entry, Record], Entry]) -> Any:
    """Puts something in the place of ledger.after; it is given the real one."""
    real = ledger.after
    return mock.patch.object(ledger, "after", lambda entry, record: broken(real, entry, record))


def after_all(broken: Callable[[Any, Entry, Sequence[Record]], Entry]) -> Any:
    """Puts something in the place of ledger.after_all; it is given the real one."""
    real = ledger.after_all
    return mock.patch.object(ledger, "after_all", lambda entry, records: broken(real, entry, list(records)))


@contextmanager
def together(*patches: Any) -> Iterator[None]:
    """Several patches as one."""
    if not patches:
        yield
        return
    with patches[0], together(*patches[1:]):
        yield
