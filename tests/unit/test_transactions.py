"""Tests for transactions: packing changes, building requests, and reading cancellation reasons."""

from chalicelib.counting import entry_item, transactions
from chalicelib.counting.ledger import Change, Entry, Status
from chalicelib.counting.transactions import ACTIONS_MAX, Transaction
from chalicelib.views import CounterKey
from tests.doubles import NAMES

NOW = "2026-11-23T10:00:00Z"


def counted(order_id: str, *products: str) -> Change:
    contributions = {CounterKey("AggregateTable", (p,)): {"totalQuantity": 1, "orderCount": 1} for p in products}
    return Change(Entry(order_id), Entry(order_id, 1, "v", Status.COUNTED, NOW, contributions))


def test_packing_keeps_every_change_and_the_limit_of_actions():
    changes = [counted(f"o{n}", *(f"P{(n * k) % 37}" for k in range(1, 1 + n % 4))) for n in range(700)]
    packed = transactions.pack(changes)
    assert all(len(t.changes) + len(t.increments) <= ACTIONS_MAX for t in packed)
    assert sorted(c.after.order_id for t in packed for c in t.changes) == sorted(c.after.order_id for c in changes)
    for transaction in packed:
        expected: dict[CounterKey, int] = {}
        for change in transaction.changes:
            for counter in change.deltas:
                expected[counter] = expected.get(counter, 0) + 1
        assert {counter: amounts["orderCount"] for counter, amounts in transaction.increments.items()} == expected


def test_orders_of_one_product_share_transactions():
    mixed = [counted(f"o{n}", f"P{n % 2}") for n in range(2 * (ACTIONS_MAX - 2))]
    assert len(transactions.pack(mixed)) == 2


def test_a_change_without_increments_is_packed_too():
    tombstone = Change(Entry("o"), Entry("o", 1, "v", Status.CANCELLED, NOW, expires_at=1))
    (transaction,) = transactions.pack([tombstone])
    assert transaction == Transaction([tombstone], {})


def test_a_transaction_becomes_conditional_puts_and_updates():
    first = counted("o", "Pen")
    second = Change(first.after, Entry("o", 2, "v2", Status.COUNTED, NOW, {}, {}))
    assert transactions.pack([first])[0].actions({**NAMES, "LedgerTable": "L"}, NOW) == [
        {
            "Put": {
                "TableName": "L",
                "Item": entry_item.to_item(first.after),
                "ConditionExpression": "attribute_not_exists(OrderID)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
        {
            "Update": {
                "TableName": "AggregateTable",
                "Key": {"product": {"S": "Pen"}},
                "UpdateExpression": "SET #0 = :0 ADD #revision :revision, #2 :2, #3 :3",
                "ExpressionAttributeNames": {
                    "#0": "updatedAt",
                    "#revision": "revision",
                    "#2": "totalQuantity",
                    "#3": "orderCount",
                },
                "ExpressionAttributeValues": {
                    ":0": {"S": NOW},
                    ":revision": {"N": "1"},
                    ":2": {"N": "1"},
                    ":3": {"N": "1"},
                },
            }
        },
    ]
    put = transactions.pack([second])[0].actions(NAMES, NOW)[0]["Put"]
    assert put["ConditionExpression"] == "revision = :seen"
    assert put["ExpressionAttributeValues"] == {":seen": {"N": "1"}}


def test_a_conflict_comes_with_the_stored_entry():
    (transaction,) = transactions.pack([counted("a", "Pen"), counted("b", "Pen")])
    stored = {"OrderID": {"S": "b"}}
    cancellation = transactions.cancellation(
        transaction, [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": stored}, {"Code": "None"}]
    )
    assert cancellation == ({"b": stored}, False, None)


def test_a_fatal_cancellation_comes_with_its_reason_and_counter():
    (transaction,) = transactions.pack([counted("a", "Pen")])
    cancellation = transactions.cancellation(
        transaction, [{"Code": "None"}, {"Code": "ValidationError", "Message": "no"}]
    )
    assert cancellation == ({}, False, "ValidationError: no (AggregateTable Pen)")


def test_a_fatal_cancellation_without_a_message_names_all_of_the_counters_key():
    counter = CounterKey("TrendTable", ("Pen", "2026-11-23"))
    (transaction,) = transactions.pack(
        [Change(Entry("a"), Entry("a", 1, "v", Status.COUNTED, NOW, {counter: {"h1": 1}}))]
    )
    cancellation = transactions.cancellation(transaction, [{"Code": "None"}, {"Code": "ValidationError"}])
    assert cancellation.fatal == "ValidationError:  (TrendTable Pen 2026-11-23)"


def test_only_errors_that_a_committer_handles_have_reasons():
    assert transactions.reasons({"Error": {"Code": "AccessDeniedException"}}) == []
    assert transactions.reasons({"Error": {"Code": "ThrottlingException"}})[0]["Message"] == ""
    throttled = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    assert transactions.reasons(throttled) == [throttled["Error"]]
    cancelled = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [{"Code": "None"}]}
    assert transactions.reasons(cancelled) == [{"Code": "None"}]
