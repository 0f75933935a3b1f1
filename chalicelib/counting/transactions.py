"""Transactions: pack ledger changes with their counters, build the requests, and interpret cancellation reasons.

Also the request with which an audit corrects a counter.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib import amounts, tables, timestamps, views
from chalicelib.amounts import Amount
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Change, Status
from chalicelib.effects import ConditionalUpdate
from chalicelib.orders import Item
from chalicelib.views import VIEWS, Contributions, CounterKey, Increments

ACTIONS_MAX = 100
"""The most actions in a TransactWriteItems. They may have 4 MB in total, and no two may be on one item (API reference).

A hundred ledger entries of the shipped model stay below 1 MB, because a product has at most 1,024 bytes.
"""

REVISION = "revision"
"""An attribute that every change of a counter raises by one, so that an audit notices changes."""

RETRYABLE_CODES = frozenset(
    {
        # Reasons for a cancelled transaction (API reference, TransactionCanceledException).
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        # Errors that reject a whole request (API reference, TransactWriteItems, "Errors").
        "TransactionInProgressException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "InternalServerError",
    }
)
"""DynamoDB's codes for temporary errors: the same request may succeed a moment later."""

# DynamoDB usually cancels a transaction with an invalid action and names the action. It may also reject the whole
# request with this code, as emulators do.
_INVALID_CODE = "ValidationException"

_CONDITION_FAILED = "ConditionalCheckFailed"
_WITHOUT_REVISION = "attribute_exists(OrderID) AND attribute_not_exists(revision)"
_NO_REVISION_NUMBER = "NOT attribute_type(#revision, :seen)"
_REVISION_MAX_DIGITS = 30  # A longer revision is replaced, because DynamoDB stores at most 38 digits.


class Transaction(NamedTuple):
    """Ledger changes and the sum of their increments by counter: one TransactWriteItems request."""

    changes: Sequence[Change]
    increments: Mapping[CounterKey, Increments]

    def actions(self, names: Mapping[str, str], now: str) -> list[Any]:
        """Return the `TransactItems`: first the entries, in the order of the changes, then the counters.

        `names` has the tables' physical names by logical name. `now` is a timestamp.
        """
        ledger_name = names[tables.LEDGER]
        puts = [{"Put": _put(change, ledger_name)} for change in self.changes]
        updates = [
            {"Update": {"TableName": names[counter.table], **_addition(counter, added, now)}}
            for counter, added in self.increments.items()
        ]
        return puts + updates


class Cancellation(NamedTuple):
    """Why a transaction was cancelled: conflicts, a temporary error, or a permanent one."""

    conflicts: Mapping[str, Item | None]  # The current entries of orders that conflicted.
    retryable: bool
    fatal: str | None  # The reason if DynamoDB will never accept the transaction.


BYTES_MAX = 3_500_000
"""The limit for the entries in a transaction. DynamoDB's limit for the whole transaction is 4 MB."""

_SMALL_ENTRY_ROWS = 2  # A hundred entries with so few rows always stay below BYTES_MAX.


def pack(changes: Iterable[Change]) -> list[Transaction]:
    """Pack changes into few transactions. Changes of the same counters go into the same transaction.

    For n new orders of one product, that is ceil(n / (ACTIONS_MAX - counters of one order)) transactions.
    """
    groups: dict[tuple[CounterKey, ...], list[tuple[Change, Contributions]]] = {}
    for change in changes:
        deltas = change.deltas
        groups.setdefault(tuple(deltas), []).append((change, deltas))
    transactions = []
    open_changes: list[Change] = []
    open_increments: dict[CounterKey, dict[str, Amount]] = {}
    open_bytes = 0
    for counters in sorted(groups):
        for change, deltas in groups[counters]:
            further = sum(counter not in open_increments for counter in counters)
            size = _bytes(change)
            actions = len(open_changes) + len(open_increments) + 1 + further
            if open_changes and (actions > ACTIONS_MAX or open_bytes + size > BYTES_MAX):
                transactions.append(Transaction(open_changes, open_increments))
                open_changes, open_increments, open_bytes = [], {}, 0
            open_changes.append(change)
            open_bytes += size
            _add(open_increments, deltas)
    if open_changes:
        transactions.append(Transaction(open_changes, open_increments))
    return transactions


def _bytes(change: Change) -> int:
    """Return the size of an entry's contributions in bytes, or 0 if they are too few to matter."""
    if len(change.after.contributions) + len(change.after.reverted) <= _SMALL_ENTRY_ROWS:
        return 0
    item = entry_item.to_item(change.after)
    return sum(len(item[name]["S"].encode()) for name in ("contributions", "reverted") if name in item)


def _add(increments: dict[CounterKey, dict[str, Amount]], deltas: Contributions) -> None:
    for counter, added in deltas.items():
        amounts.add_to(increments.setdefault(counter, {}), added)


def split(transaction: Transaction) -> list[Transaction]:
    """Split a transaction's changes in two halves. The committer repeats this to isolate a change that is rejected."""
    middle = len(transaction.changes) // 2
    return [*pack(transaction.changes[:middle]), *pack(transaction.changes[middle:])]


# --- The request ---------------------------------------------------------------------------------


def _put(change: Change, ledger_name: str) -> dict[str, Any]:
    put: dict[str, Any] = {
        "TableName": ledger_name,
        "Item": entry_item.to_item(change.after),
        # The condition: replace only the entry that the change was planned from (entry-matches-counters).
        "ConditionExpression": "attribute_not_exists(OrderID)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if change.before.status is Status.UNREADABLE:
        seen = change.before.stored.get("revision")
        put["ConditionExpression"] = "revision = :seen" if seen else _WITHOUT_REVISION
    elif change.before.revision:
        seen = {"N": str(change.before.revision)}
        put["ConditionExpression"] = "revision = :seen"
    else:
        seen = None
    if seen:
        put["ExpressionAttributeValues"] = {":seen": seen}
    return put


def _addition(counter: CounterKey, added: Increments, now: str) -> dict[str, Any]:
    additions = {REVISION: 1, **added}
    return _update(counter, now, sets={}, adds={name: _number(amount) for name, amount in additions.items()})


def _update(counter: CounterKey, now: str, sets: Mapping[str, Any], adds: Mapping[str, Any]) -> dict[str, Any]:
    """Return UpdateItem parameters, without TableName, that set some attributes of a counter and add to others.

    The values are in DynamoDB's JSON. `now` is a timestamp for views with a stamp.
    """
    view = VIEWS[counter.table]
    if view.stamp:
        sets = {**sets, view.stamp: {"S": now}}
    if view.keep:
        sets = {**sets, tables.TTL: _number(views.deleted_at(counter) or 0)}
    values = {**sets, **adds}
    # Use placeholders, because DynamoDB has about 570 reserved words, such as `total`, `day` and `hour`.
    places = {name: REVISION if name == REVISION else str(index) for index, name in enumerate(values)}
    set_clause = ", ".join(f"#{places[name]} = :{places[name]}" for name in sets)
    add_clause = ", ".join(f"#{places[name]} :{places[name]}" for name in adds)
    clauses = [f"SET {set_clause}"] * bool(sets) + [f"ADD {add_clause}"] * bool(adds)
    return {
        "Key": {name: {"S": value} for name, value in zip(view.key, counter.key, strict=True)},
        "UpdateExpression": " ".join(clauses),
        "ExpressionAttributeNames": {f"#{place}": name for name, place in places.items()},
        "ExpressionAttributeValues": {f":{place}": values[name] for name, place in places.items()},
    }


def correction(counter: CounterKey, revision: str, expected: Increments, now: int) -> ConditionalUpdate:
    """Return the update that sets a counter's amounts if its revision has not changed. `now` is in epoch seconds.

    It sets the amounts because an ADD fails if the attribute is not a number. Pass "" if the counter has no valid
    revision. Then, or if the revision has too many digits, `now` becomes the new revision.
    """
    counts_up = revision.isdigit() and len(revision) <= _REVISION_MAX_DIGITS
    new = {name: _number(amount) for name, amount in expected.items()}
    new[REVISION] = _number(int(revision) + 1 if counts_up else now)
    update = _update(counter, timestamps.from_epoch(now), sets=new, adds={})
    condition, seen = ("#revision = :seen", {"N": revision}) if revision else (_NO_REVISION_NUMBER, {"S": "N"})
    update["ConditionExpression"] = condition
    update["ExpressionAttributeValues"][":seen"] = seen
    return ConditionalUpdate(counter.table, update)


def _number(value: Amount) -> dict[str, str]:
    return {"N": amounts.to_text(value)}


# --- The reasons ---------------------------------------------------------------------------------


def cancellation(transaction: Transaction, reasons: Sequence[Mapping[str, Any]]) -> Cancellation:
    """Interpret a transaction's cancellation reasons, one for each action in order, or a single one for all."""
    conflicts = {
        change.before.order_id: reason.get("Item")
        for change, reason in zip(transaction.changes, reasons, strict=False)  # The remaining actions are counters.
        if reason["Code"] == _CONDITION_FAILED
    }
    codes = {reason["Code"] for reason in reasons} - {"None", _CONDITION_FAILED}
    invalid = [reason for reason in reasons if reason["Code"] in codes - RETRYABLE_CODES]
    return Cancellation(
        conflicts,
        retryable=bool(codes & RETRYABLE_CODES),
        fatal=_describe(transaction, reasons, invalid[0]) if invalid else None,
    )


def _describe(transaction: Transaction, reasons: Sequence[Mapping[str, Any]], fatal: Mapping[str, Any]) -> str:
    """Return a reason as text, with the counter's name if the reason belongs to a counter."""
    text = f"{fatal['Code']}: {fatal.get('Message', '')}"
    at = list(reasons).index(fatal) - len(transaction.changes)
    if at < 0:
        return text
    counter = list(transaction.increments)[at]
    return f"{text} ({counter.table} {' '.join(counter.key)})"


def reasons(response: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the reasons in an error response, in the form of `CancellationReasons`.

    If DynamoDB rejected the request as a whole, there is a single reason. Return an empty list for errors that do not
    depend on the request's orders, such as a missing permission.
    """
    error = response["Error"]
    code = error["Code"]
    if code == "TransactionCanceledException":
        listed: Sequence[Mapping[str, Any]] = response["CancellationReasons"]
        return listed
    known = code in RETRYABLE_CODES or code == _INVALID_CODE
    return [{"Code": code, "Message": error.get("Message", "")}] if known else []
