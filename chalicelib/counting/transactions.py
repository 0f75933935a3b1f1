"""Transactions: changes of the ledger packed together with the counters that they move.

Here are the limits of TransactWriteItems, the form of the request and what the reasons of a cancelled one
mean. Which changes there are to make is ledger.py's; in which order things are asked for, and what follows
from an answer, is committer.py's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib import tables
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Change, Status
from chalicelib.orders import Item
from chalicelib.views import VIEWS, CounterKey, Increments

# API reference, TransactWriteItems: up to 100 actions, no two on one item, 4 MB together. A hundred ledger
# entries stay below 1 MB, since a product has at most 1,024 bytes.
ACTIONS_MAX = 100

REVISION = "revision"
"""A counter's attribute that every change raises, so that an audit can tell whether it has been changed."""

RETRYABLE_CODES = frozenset(
    {
        # Reasons of a cancelled transaction (API reference, TransactionCanceledException) ...
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        # ... and of a request refused as a whole (API reference, TransactWriteItems, "Errors").
        "TransactionInProgressException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "InternalServerError",
    }
)
"""The same request may well succeed a moment later."""

# A request that is refused as a whole, because of one of its actions. DynamoDB usually cancels the transaction and
# names the action instead (TransactionCanceledException), but does not promise it.
_INVALID_CODE = "ValidationException"

_CONDITION_FAILED = "ConditionalCheckFailed"
_WITHOUT_REVISION = "attribute_exists(OrderID) AND attribute_not_exists(revision)"


class Transaction(NamedTuple):
    """Changes of the ledger and the sum of their deltas by counter: one TransactWriteItems request."""

    changes: Sequence[Change]
    increments: Mapping[CounterKey, Increments]

    def actions(self, names: Mapping[str, str], now: str) -> list[Any]:
        """Return the `TransactItems`: the entries in the order of the changes, then the counters.

        `names` are the tables' physical names by their logical ones; `now` is a timestamp.
        """
        ledger_name = names[tables.LEDGER]
        puts = [{"Put": _put(change, ledger_name)} for change in self.changes]
        updates = [
            {"Update": _update(counter, amounts, names[counter.table], now)}
            for counter, amounts in self.increments.items()
        ]
        return puts + updates


class Cancellation(NamedTuple):
    """What the reasons of a cancelled transaction say."""

    conflicts: Mapping[str, Item | None]  # The entries that are others than assumed, by order, as they are.
    retryable: bool
    fatal: str | None  # Why DynamoDB will never take it.


def pack(changes: Iterable[Change]) -> list[Transaction]:
    """Few transactions for many changes: those that move the same counters come together.

    n new orders of one product take ceil(n / (ACTIONS_MAX - counters of one order)) transactions.
    """
    groups: dict[tuple[CounterKey, ...], list[tuple[Change, Mapping[CounterKey, Increments]]]] = {}
    for change in changes:
        deltas = change.deltas
        groups.setdefault(tuple(deltas), []).append((change, deltas))
    transactions = []
    open_changes: list[Change] = []
    open_moves: dict[CounterKey, dict[str, int]] = {}
    for counters in sorted(groups):
        for change, deltas in groups[counters]:
            further = sum(counter not in open_moves for counter in counters)
            if len(open_changes) + len(open_moves) + 1 + further > ACTIONS_MAX:
                transactions.append(Transaction(open_changes, open_moves))
                open_changes, open_moves = [], {}
            open_changes.append(change)
            _add(open_moves, deltas)
    if open_changes:
        transactions.append(Transaction(open_changes, open_moves))
    return transactions


def _add(increments: dict[CounterKey, dict[str, int]], deltas: Mapping[CounterKey, Increments]) -> None:
    for counter, amounts in deltas.items():
        sums = increments.setdefault(counter, {})
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0) + amount


def split(transaction: Transaction) -> list[Transaction]:
    """The same changes in two transactions, so that one that is refused for good is found."""
    middle = len(transaction.changes) // 2
    return [*pack(transaction.changes[:middle]), *pack(transaction.changes[middle:])]


# --- The request ---------------------------------------------------------------------------------


def _put(change: Change, ledger_name: str) -> dict[str, Any]:
    put: dict[str, Any] = {
        "TableName": ledger_name,
        "Item": entry_item.to_item(change.after),
        # Law 1: only over the very entry that the change was made from.
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


def _update(counter: CounterKey, amounts: Increments, table_name: str, now: str) -> dict[str, Any]:
    view = VIEWS[counter.table]
    # By placeholders: DynamoDB has some 570 reserved words, `total`, `day` and `hour` among them.
    names = {"#revision": REVISION}
    values = {":one": {"N": "1"}}
    additions = ["#revision :one"]
    for index, (name, amount) in enumerate(amounts.items()):
        names[f"#{index}"] = name
        values[f":{index}"] = {"N": str(amount)}
        additions.append(f"#{index} :{index}")
    expression = f"ADD {', '.join(additions)}"
    if view.stamp:
        names["#stamp"] = view.stamp
        values[":now"] = {"S": now}
        expression = f"SET #stamp = :now {expression}"
    return {
        "TableName": table_name,
        "Key": {name: {"S": value} for name, value in zip(view.key, counter.key, strict=True)},
        "UpdateExpression": expression,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


# --- The answer ----------------------------------------------------------------------------------


def cancellation(transaction: Transaction, reasons: Sequence[Mapping[str, Any]]) -> Cancellation:
    """What `CancellationReasons` say; they stand in the order of the actions."""
    refused = {
        change.before.order_id: reason.get("Item")
        for change, reason in zip(transaction.changes, reasons, strict=False)  # The rest is of counters.
        if reason["Code"] == _CONDITION_FAILED
    }
    codes = {reason["Code"] for reason in reasons} - {"None", _CONDITION_FAILED}
    invalid = [reason for reason in reasons if reason["Code"] in codes - RETRYABLE_CODES]
    return Cancellation(
        refused,
        retryable=bool(codes & RETRYABLE_CODES),
        fatal=_describe(transaction, reasons, invalid[0]) if invalid else None,
    )


def _describe(transaction: Transaction, reasons: Sequence[Mapping[str, Any]], fatal: Mapping[str, Any]) -> str:
    """Return a reason as a text, with the counter that it concerns where DynamoDB names the action."""
    text = f"{fatal['Code']}: {fatal.get('Message', '')}"
    at = list(reasons).index(fatal) - len(transaction.changes)
    if at < 0:
        return text
    counter = list(transaction.increments)[at]
    return f"{text} ({counter.table} {' '.join(counter.key)})"


def reasons(response: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return why DynamoDB refused a request, from the error's response.

    In the form of `CancellationReasons`; of a request that was refused as a whole a single reason. Empty if the
    error concerns more than the orders of this request, such as a missing permission.
    """
    error = response["Error"]
    code = error["Code"]
    if code == "TransactionCanceledException":
        listed: Sequence[Mapping[str, Any]] = response["CancellationReasons"]
        return listed
    known = code in RETRYABLE_CODES or code == _INVALID_CODE
    return [{"Code": code, "Message": error.get("Message", "")}] if known else []
