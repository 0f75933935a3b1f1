"""Mutations: each breaks one rule of the app on purpose. The schedules must catch every mutation.

A mutation replaces a function of the app with a version that might seem good enough. The core calls functions of other
modules through the module (`ledger.apply`), so a replacement in the module takes effect everywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Context, Decimal
from typing import Any, NamedTuple
from unittest import mock

from chalicelib import amounts, effects, fields, orders, tables, views
from chalicelib.counting import committer, entry_item, ledger, stream, transactions
from chalicelib.counting.committer import Committer
from chalicelib.counting.ledger import Change, ChangeRecord, Entry, Rule, Status
from chalicelib.jobs import audit, backfill, reads
from chalicelib.jobs.audit import counter_audit
from chalicelib.jobs.audit.counter_audit import CounterAudit
from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine.client import Client


class Mutation(NamedTuple):
    """A mutation: a rule to break, and how schedules catch that."""

    caught_by: str
    """The kind of schedule that must catch the mutation. Other kinds may catch it too."""
    broken: Callable[[AppOnEngine], AbstractContextManager[Any]]
    """A function that returns a context manager, which breaks the rule while it is open."""
    seed: int
    """A seed that catches the mutation soon. Other seeds may need several hundred schedules."""


MUTATIONS: dict[str, Mutation] = {}


def mutation(
    name: str, caught_by: str, seed: int = 1
) -> Callable[[Callable[[AppOnEngine], Any]], Callable[[AppOnEngine], Any]]:
    """Add the decorated function to MUTATIONS. It must return a context manager that breaks the rule."""

    def register(broken: Callable[[AppOnEngine], Any]) -> Callable[[AppOnEngine], Any]:
        MUTATIONS[name] = Mutation(caught_by, broken, seed)
        return broken

    return register


# --- Transactions --------------------------------------------------------------------------------


@mutation("ledger entries are written without a condition", "overlap")
def _(app: AppOnEngine) -> Any:
    put = transactions._put

    def unconditional(*arguments: Any) -> dict[str, Any]:
        action = put(*arguments)
        return {name: action[name] for name in ("TableName", "Item")}

    return mock.patch.object(transactions, "_put", unconditional)


@mutation("the write condition checks the position instead of the revision", "backfill", seed=11)
def _(app: AppOnEngine) -> Any:
    put = transactions._put

    def on_position(change: Change, *arguments: Any) -> dict[str, Any]:
        action = put(change, *arguments)
        if change.before.revision and change.before.position:
            action["ConditionExpression"] = "position = :seen"
            action["ExpressionAttributeValues"] = {":seen": {"S": change.before.position}}
        elif change.before.revision:
            action["ConditionExpression"] = "attribute_not_exists(position)"
            del action["ExpressionAttributeValues"]
        return action

    return mock.patch.object(transactions, "_put", on_position)


def in_two_requests(app: AppOnEngine, first: str, second: str) -> Any:
    """Split each transaction into two requests, one with the `Put` actions and one with the `Update` actions."""
    call = Client._call

    def split(client: Client, operation: str, request: dict[str, Any]) -> Any:
        if operation != "TransactWriteItems":
            return call(client, operation, request)
        for kind in (first, second):
            actions = [action for action in request["TransactItems"] if kind in action]
            if actions:
                call(client, operation, {"TransactItems": actions})

    return mock.patch.object(Client, "_call", split)


@mutation("entry and counters are written in two requests, the entry first", "faults")
def _(app: AppOnEngine) -> Any:
    return in_two_requests(app, "Put", "Update")


@mutation("entry and counters are written in two requests, the counters first", "faults")
def _(app: AppOnEngine) -> Any:
    return in_two_requests(app, "Update", "Put")


# --- Results -------------------------------------------------------------------------------------


@mutation("errors are swallowed", "faults")
def _(app: AppOnEngine) -> Any:
    run_steps = app.shell.run_steps

    def swallowing(*arguments: Any) -> Any:
        try:
            return run_steps(*arguments)
        except Exception:
            return None

    return mock.patch.object(app.shell, "run_steps", swallowing)


@mutation("a failed write condition is treated as success", "redelivery")
def _(app: AppOnEngine) -> Any:
    plan_again = Committer._plan_again

    def forgetful(work: Committer, transaction: Any, refused: Any) -> None:
        left = [change for change in transaction.changes if change.before.order_id not in refused]
        plan_again(work, transaction._replace(changes=left), {})

    return mock.patch.object(Committer, "_plan_again", forgetful)


@mutation("a transaction conflict is treated as success", "faults")
def _(app: AppOnEngine) -> Any:
    cancelled = Committer._cancelled

    def trusting(work: Committer, transaction: Any, result: Any) -> None:
        if {reason["Code"] for reason in result.reasons} & transactions.RETRYABLE_CODES:
            work._committed(transaction)
        else:
            cancelled(work, transaction, result)

    return mock.patch.object(Committer, "_cancelled", trusting)


@mutation("the results of a round are mixed up", "rounds")
def _(app: AppOnEngine) -> Any:
    def mixed_up(requests: Sequence[Any]) -> Any:
        results = yield from effects.together(requests)
        return results[::-1]

    return mock.patch.object(committer, "together", mixed_up)


# --- Records -------------------------------------------------------------------------------------


@mutation("increments come from the record images instead of the ledger", "redelivery")
def _(app: AppOnEngine) -> Any:
    read = stream.read
    images: dict[str, Any] = {}

    def remember_images(records: Iterable[Mapping[str, Any]]) -> Any:
        records = list(records)
        images.clear()
        for record in reversed(records):
            images[record["dynamodb"]["Keys"]["OrderID"]["S"]] = record["dynamodb"].get("OldImage")
        return read(records)

    def deltas(change: Change) -> views.Contributions:
        image = images.get(change.before.order_id)
        order = orders.from_item(image, change.before.first_seen or change.after.first_seen) if image else None
        before = views.contributions(order).contributions if isinstance(order, orders.Order) else {}
        return ledger.deltas(before, change.after.contributions)

    return together(
        mock.patch.object(stream, "read", remember_images), mock.patch.object(Change, "deltas", property(deltas))
    )


@mutation("positions are not compared", "redelivery")
def _(app: AppOnEngine) -> Any:
    return replace_apply(lambda real, entry, record: real(entry._replace(position=""), record))


@mutation("sequence numbers are compared as text", "redelivery")
def _(app: AppOnEngine) -> Any:
    return mock.patch.object(stream, "_SEQUENCE_NUMBER_DIGITS", 0)


@mutation("the position leaves out the stream label", "stream switched")
def _(app: AppOnEngine) -> Any:
    position = stream.position
    return mock.patch.object(stream, "position", lambda arn, number: position("/stream/any", number))


@mutation("changes that cancel out within a batch are not written", "redelivery")
def _(app: AppOnEngine) -> Any:
    def if_different(real: Any, entry: Entry, records: Sequence[ChangeRecord]) -> Entry:
        last: Entry = real(entry, records)
        return entry if not entry.ahead_of_stream and ledger._content(last) == ledger._content(entry) else last

    return replace_apply_all(if_different)


@mutation("only an order's last record in a batch is applied", "redelivery")
def _(app: AppOnEngine) -> Any:
    return replace_apply_all(lambda real, entry, records: real(entry, records[-1:]))


@mutation("removing an order leaves no tombstone", "redelivery")
def _(app: AppOnEngine) -> Any:
    read = entry_item.from_item

    def forgetful(order_id: str, item: Any) -> Entry:
        entry = read(order_id, item)
        return Entry(order_id, entry.revision) if entry.status is Status.CANCELLED else entry

    return mock.patch.object(entry_item, "from_item", forgetful)


@mutation("removing an order that was never counted leaves no tombstone", "redelivery")
def _(app: AppOnEngine) -> Any:
    def not_from_nothing(real: Any, entry: Entry, records: Sequence[ChangeRecord]) -> Entry:
        last: Entry = real(entry, records)
        return entry if (entry.status, last.status) == (Status.ABSENT, Status.CANCELLED) else last

    return replace_apply_all(not_from_nothing)


# --- Contributions -------------------------------------------------------------------------------


@mutation("expiry by TTL is treated as a cancellation", "redelivery")
def _(app: AppOnEngine) -> Any:
    return mock.patch.dict(ledger.TRANSITIONS, {ledger.EXPIRED: ledger.TRANSITIONS[ledger.REMOVED]})


@mutation("an order that becomes invalid is still counted", "redelivery")
def _(app: AppOnEngine) -> Any:
    return replace_transition(ledger.INVALID, contributions=ledger.RESTORED)


@mutation("an order that changes its product stays counted for the old one", "redelivery")
def _(app: AppOnEngine) -> Any:
    def deltas(change: Change) -> views.Contributions:
        both = ledger.deltas(change.before.contributions, change.after.contributions)
        old_counters = change.before.contributions.keys() - change.after.contributions.keys()
        without_old = {counter: amounts for counter, amounts in both.items() if counter not in old_counters}
        return without_old if change.after.contributions else both

    return mock.patch.object(Change, "deltas", property(deltas))


@mutation("an order's hour comes from its newest record", "redelivery")
def _(app: AppOnEngine) -> Any:
    return replace_source(ledger.LATER_RECORD, first_seen=(ledger.NEW, ledger.NEW, ledger.NEW))


@mutation("a backfill's clock overrides the hour of an order's INSERT", "backfill", seed=126)
def _(app: AppOnEngine) -> Any:
    return replace_source(ledger.INSERT, first_seen=ledger.SOURCES[ledger.LATER_RECORD].first_seen)


# --- Backfill ------------------------------------------------------------------------------------


@mutation("a backfill reads an order before its ledger entry", "backfill", seed=22)
def _(app: AppOnEngine) -> Any:
    def match(work: backfill.Backfill, items: Mapping[str, Any]) -> Any:
        open_orders: Sequence[str] = list(items)
        while open_orders:
            current = yield from reads.read_orders(open_orders)
            entries = yield from reads.read_entries(open_orders)
            now = yield effects.Sleep()
            committer = backfill.reconciliation(entries.values(), current, now)
            yield from committer.steps()
            open_orders = committer.stale

    return mock.patch.object(backfill.Backfill, "_match", match)


@mutation("a backfill overwrites entries that changed after it read them", "backfill", seed=54)
def _(app: AppOnEngine) -> Any:
    def reconciliation(entries: Iterable[Entry], items: Mapping[str, Any], now: int, **_: Any) -> Committer:
        def plan(entry: Entry) -> Entry:
            item = items.get(entry.order_id)
            return entry if item is None else ledger.reconcile(entry, item, now)

        return Committer(plan, known=entries)

    return mock.patch.object(backfill, "reconciliation", reconciliation)


@mutation("a record that catches up with a backfill is not written", "backfill", seed=345)
def _(app: AppOnEngine) -> Any:
    later, insert = (
        ledger.SOURCES[source]._replace(catches_up=False) for source in (ledger.LATER_RECORD, ledger.INSERT)
    )
    return mock.patch.dict(ledger.SOURCES, {ledger.LATER_RECORD: later, ledger.INSERT: insert})


@mutation("a backfill does not note that an entry is ahead of the stream", "backfill", seed=345)
def _(app: AppOnEngine) -> Any:
    return replace_source(ledger.RECONCILIATION, ahead_of_stream=False)


@mutation("an audit forgets what it reverted, so a late TTL record cannot restore it", "audit", seed=188)
def _(app: AppOnEngine) -> Any:
    return replace_transition(ledger.MISSING, reverted=False)


@mutation("an audit cancels an archived order", "audit")
def _(app: AppOnEngine) -> Any:
    return replace_transition(ledger.MISSING, spares=(Status.ABSENT,))


@mutation("a change leaves the revision as it is", "overlap")
def _(app: AppOnEngine) -> Any:
    return replace_source(ledger.LATER_RECORD, revision=Rule("", lambda revision, _: revision))


@mutation("a backfill moves an entry's position past records still to come", "backfill", seed=20)
def _(app: AppOnEngine) -> Any:
    return replace_source(ledger.RECONCILIATION, position=Rule("", lambda position, _: f"{position}~"))


# --- Reads ---------------------------------------------------------------------------------------


@mutation("ledger entries are read stale", "overlap", seed=713)
def _(app: AppOnEngine) -> Any:
    return stale_reads("BatchGetItem", tables.LEDGER)


@mutation("the orders of a backfill are read stale", "backfill")
def _(app: AppOnEngine) -> Any:
    return stale_reads("BatchGetItem", tables.ORDERS)


@mutation("unprocessed keys are dropped", "audit in traffic")
def _(app: AppOnEngine) -> Any:
    return replace_response("BatchGetItem", lambda response: {**response, "UnprocessedKeys": {}})


@mutation("only the first page of a scan is read", "backfill")
def _(app: AppOnEngine) -> Any:
    return replace_response(
        "Scan", lambda response: {name: value for name, value in response.items() if name != "LastEvaluatedKey"}
    )


# --- The audit, and the API ----------------------------------------------------------------------


@mutation("an audit does not pause between two passes", "audit in traffic", seed=205)
def _(app: AppOnEngine) -> Any:
    return mock.patch.object(counter_audit, "PAUSE_SECONDS", 0)


@mutation("a counter has drifted after one look", "audit in traffic", seed=695)
def _(app: AppOnEngine) -> Any:
    judge = CounterAudit._judge

    def judge_twice(*arguments: Any) -> Any:
        judge(*arguments)
        return judge(*arguments)

    return mock.patch.object(CounterAudit, "_judge", judge_twice)


@mutation("an order has drifted without a grace period", "audit in traffic", seed=121)
def _(app: AppOnEngine) -> Any:
    request = audit.request

    def without_grace(event: Mapping[str, Any] | None) -> Any:
        work = request(event)
        work.orders.grace_period_seconds = 0
        return work

    return mock.patch.object(audit, "request", without_grace)


@mutation("a retried DELETE whose response was lost is a 404", "redelivery")
def _(app: AppOnEngine) -> Any:
    return replace_response("DeleteItem", lambda response: {**response, "ResponseMetadata": {"RetryAttempts": 0}})


@mutation("an order is counted if the totals have its like", "redelivery", seed=103)
def _(app: AppOnEngine) -> Any:
    status = ledger.order_status

    def without_status(entry: Entry, item: Any) -> Any:
        return status(entry._replace(status=Status.COUNTED) if entry.status is Status.ARCHIVED else entry, item)

    return mock.patch.object(ledger, "order_status", without_status)


# --- Helpers -------------------------------------------------------------------------------------


def replace_transition(kind: str, **columns: Any) -> Any:
    """Replace columns of a row of TRANSITIONS."""
    return mock.patch.dict(ledger.TRANSITIONS, {kind: ledger.TRANSITIONS[kind]._replace(**columns)})


def replace_source(source: str, **columns: Any) -> Any:
    """Replace columns of a row of SOURCES."""
    return mock.patch.dict(ledger.SOURCES, {source: ledger.SOURCES[source]._replace(**columns)})


def replace_apply(broken: Callable[[Any, Entry, ChangeRecord], Entry]) -> Any:
    """Replace ledger.apply with `broken`, which gets the real function as its first argument."""
    real = ledger.apply
    return mock.patch.object(ledger, "apply", lambda entry, record: broken(real, entry, record))


def replace_apply_all(broken: Callable[[Any, Entry, Sequence[ChangeRecord]], Entry]) -> Any:
    """Replace ledger.apply_all with `broken`, which gets the real function as its first argument."""
    real = ledger.apply_all
    return mock.patch.object(ledger, "apply_all", lambda entry, records: broken(real, entry, list(records)))


@contextmanager
def together(*patches: Any) -> Iterator[None]:
    """Return a context manager that applies several patches."""
    if not patches:
        yield
        return
    with patches[0], together(*patches[1:]):
        yield


def stale_reads(operation: str, *names: str) -> Any:
    """Make the consistent reads of these tables eventually consistent."""
    call = Client._call

    def stale(client: Client, sent: str, request: dict[str, Any]) -> Any:
        if sent == operation == "Scan" and request["TableName"] in names:
            request = {**request, "ConsistentRead": False}
        elif sent == operation == "BatchGetItem":
            wanted = request["RequestItems"]
            without = {name: {**keys, "ConsistentRead": False} for name, keys in wanted.items() if name in names}
            request = {"RequestItems": {**wanted, **without}}
        return call(client, sent, request)

    return mock.patch.object(Client, "_call", stale)


def replace_response(operation: str, replace: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Change the responses to an operation before the app sees them."""
    call = Client._call

    def replaced(client: Client, sent: str, request: dict[str, Any]) -> Any:
        response = call(client, sent, request)
        return replace(response) if sent == operation else response

    return mock.patch.object(Client, "_call", replaced)


# --- Rows of views: tests/proof/test_views_and_sql.py catches these -------------------------------


VIEW_MUTATIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "decimal sums are rounded": lambda: mock.patch.object(amounts, "_EXACT", Context(prec=20)),
    "equal keys of an order overwrite each other": lambda: mock.patch.object(views, "_rows", overwriting),
    "frozen rows are updated": lambda: mock.patch.object(views, "unfrozen", lambda contributions, now: contributions),
    "the TTL attribute of rows is missing": lambda: mock.patch.object(views, "deleted_at", return_value=None),
    "problems of views are dropped": lambda: mock.patch.object(
        views, "contributions", without_problems(views.contributions)
    ),
    "entries expire before their rows": lambda: mock.patch.object(ledger, "_after_last_row", return_value=1),
    "a decimal field becomes a float": lambda: mock.patch.object(
        fields.DecimalNumber, "read", lambda field, attribute: field.check(Decimal(str(float(attribute["N"]))))
    ),
    "a time keeps its offset": lambda: mock.patch.object(
        fields.Timestamp, "check", without_offset(fields.Timestamp.check)
    ),
}


def overwriting(view: views.View, returned: Iterable[views.Row], rows_max: int) -> views.Contributions:
    """Return a view's rows. If several rows have the same key, keep only the last one."""
    return {views.CounterKey(view.table, row.key): row.amounts for row in returned}


def without_offset(check: Callable[[Any, Any], str]) -> Callable[[Any, Any], str]:
    """Return a check that accepts the same times and drops their offset instead of applying it."""
    return lambda field, value: check(field, value) and f"{value[:19]}Z"


def without_problems(contributions: Callable[[Any], views.Counted]) -> Callable[[Any], views.Counted]:
    """Return a version of `contributions` that drops the problems of views."""
    return lambda order: contributions(order)._replace(problems={})
