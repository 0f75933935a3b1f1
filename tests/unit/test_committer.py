"""Tests for the committer: its invariants, and the exact number of requests and write units for a batch."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from chalicelib import views
from chalicelib.counting import committer, entry_item, ledger, stream, transactions
from chalicelib.counting.committer import Committer
from chalicelib.counting.ledger import Status
from chalicelib.counting.transactions import ACTIONS_MAX, REVISION
from chalicelib.effects import Effect, Sleep, Together, Transact
from tests.doubles import Crash, FakeDynamoDB, deliver, run
from tests.streams import Stream, item

COUNTERS_OF_ONE_ORDER = len(views.VIEWS)
ORDERS_A_TRANSACTION = ACTIONS_MAX - COUNTERS_OF_ONE_ORDER
CONFLICT = {"Code": "TransactionConflict"}
NONE = {"Code": "None"}


def new_orders(number: int, products: int = 1) -> Stream:
    placed = Stream()
    placed.started -= placed.started % 3600  # Start at a full hour, so that all orders are placed in that hour.
    for index in range(number):
        record = placed.put(item(f"o{index}", f"Product {index % products}"))
        record["dynamodb"]["ApproximateCreationDateTime"] = placed.started
    return placed


# --- Cost of a batch --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, ORDERS_A_TRANSACTION, ORDERS_A_TRANSACTION + 1, 1000])
def test_new_orders_of_one_product_take_few_transactions_and_no_read(number: int):
    dynamo = FakeDynamoDB()
    deliver(new_orders(number).records, dynamo)
    assert dynamo.transactions == math.ceil(number / ORDERS_A_TRANSACTION)
    assert dynamo.reads == 0
    assert dynamo.totals() == {"Product 0": (5 * number, number)}


def test_a_transaction_is_filled_with_orders_of_ten_products():
    fitting = ACTIONS_MAX - 10 * COUNTERS_OF_ONE_ORDER
    dynamo = FakeDynamoDB()
    deliver(new_orders(fitting, products=10).records, dynamo)
    assert dynamo.transactions == 1


def test_a_thousand_new_orders_of_ten_products_cost_at_most_2_3_write_units_each():
    dynamo = FakeDynamoDB()
    deliver(new_orders(1000, products=10).records, dynamo)
    assert dynamo.write_units / 1000 <= 2.3


def test_a_redelivered_batch_changes_nothing_and_is_read_after_one_transaction():
    dynamo, placed = FakeDynamoDB(), new_orders(1000, products=10)
    deliver(placed.records, dynamo)
    before, transactions = dynamo.tables, dynamo.transactions
    work = deliver(placed.records, dynamo)
    assert dynamo.tables == before
    assert dynamo.transactions == transactions + 1
    assert dynamo.reads <= math.ceil(1000 / 100)
    assert (work.counts.applied, work.counts.unchanged) == (0, 1000)


def test_entries_of_known_orders_are_read_100_at_a_time():
    dynamo, placed = FakeDynamoDB(), new_orders(250)
    deliver(placed.records, dynamo)
    amended = [placed.put(item(f"o{index}", "Product 0", 6)) for index in range(250)]
    deliver(amended, dynamo)
    assert dynamo.reads == 3
    assert dynamo.totals() == {"Product 0": (6 * 250, 250)}


@pytest.mark.parametrize(("products", "rounds"), [(10, 3), (100, 3), (1000, 5)])
def test_a_thousand_new_orders_take_few_rounds_of_requests(products: int, rounds: int):
    dynamo = FakeDynamoDB()
    deliver(new_orders(1000, products).records, dynamo)
    assert dynamo.rounds <= rounds


def test_a_thousand_amendments_are_read_in_two_rounds_and_committed_in_two():
    dynamo, placed = FakeDynamoDB(), new_orders(1000, products=10)
    deliver(placed.records, dynamo)
    before = dynamo.rounds
    deliver([placed.put(item(f"o{index}", f"Product {index % 10}", 6)) for index in range(1000)], dynamo)
    assert dynamo.rounds - before <= 4


def test_the_transactions_of_a_round_change_different_counters_and_the_first_new_orders_go_alone():
    rounds: list[Sequence[Transact]] = []

    def keep(effect: Effect) -> None:
        rounds.append(effect.effects if isinstance(effect, Together) else [effect])  # type: ignore[arg-type, list-item]

    work = committer.for_stream(stream.read(new_orders(1000, products=10).records).records_by_order)
    run(work, FakeDynamoDB(), before_each=keep)
    assert len(rounds[0]) == 1
    assert max(map(len, rounds)) > 1
    for each in rounds:
        counters = [counter for effect in each for counter in effect.transaction.increments]  # type: ignore[attr-defined]
        assert len(set(counters)) == len(counters)


def test_a_round_of_which_some_are_busy_and_one_is_fatal_leaves_the_rest_committed():
    dynamo, placed = FakeDynamoDB(), new_orders(1000, products=10)
    sent = 0

    def refuse(actions: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]] | None:
        nonlocal sent
        sent += 1
        if any(action.get("Put", {}).get("Item", {}).get("OrderID") == {"S": "o777"} for action in actions):
            return [{"Code": "ValidationError"}, *[NONE] * (len(actions) - 1)]
        return [CONFLICT, *[NONE] * (len(actions) - 1)] if sent in (2, 4, 7) else None

    dynamo.refuse = refuse
    work = deliver(placed.records, dynamo)
    assert list(work.set_apart) == ["o777"]
    assert work.counts.conflicts == 3
    assert dynamo.totals() == {f"Product {n}": (500 - 5 * (n == 7), 100 - (n == 7)) for n in range(10)}


def test_orders_that_a_round_shows_to_be_known_are_read_before_they_are_tried_again():
    dynamo, placed = FakeDynamoDB(), new_orders(1000, products=10)
    deliver([record for index, record in enumerate(placed.records) if index % 10 > 2], dynamo)
    before = dynamo.transactions
    work = deliver(placed.records, dynamo)
    assert (work.counts.applied, work.counts.unchanged) == (300, 700)
    assert dynamo.transactions - before <= 1 + 8 + 4
    assert dynamo.totals() == {f"Product {n}": (500, 100) for n in range(10)}


def test_after_a_conflict_transactions_go_out_one_by_one_until_one_is_committed():
    dynamo = FakeDynamoDB()
    work = committer.for_stream(stream.read(new_orders(1000, products=10).records).records_by_order)
    effects: list[Effect] = []
    dynamo.before_transaction = lambda: [CONFLICT] if dynamo.transactions == 2 else None
    run(work, dynamo, before_each=effects.append)
    assert [type(effect) for effect in effects[:5]] == [Transact, Together, Sleep, Transact, Together]


# --- conflicts-are-replanned ---------------------------------------------------------------------


def test_a_change_in_conflict_is_planned_again_from_the_stored_entry():
    dynamo, placed = FakeDynamoDB(), new_orders(3)
    newer = placed.put(item("o1", "Product 0", 100))

    def overtake() -> None:
        dynamo.before_transaction = lambda: None
        deliver([newer], dynamo)

    dynamo.before_transaction = overtake
    deliver(placed.records[:3], dynamo)
    assert dynamo.totals() == {"Product 0": (5 + 100 + 5, 3)}


def test_an_entry_that_expires_before_the_transaction_counts_as_absent():
    dynamo, placed = FakeDynamoDB(), new_orders(1)
    deliver([*placed.records, placed.remove("o0")], dynamo)
    again = placed.put(item("o0", "Product 0"))
    work = committer.for_stream(stream.read([{**again, "eventName": "MODIFY"}]).records_by_order)

    def expire(effect: Effect) -> None:
        if isinstance(effect, Transact):
            dynamo.tables["LedgerTable"].clear()  # Simulate TTL deleting the entry.

    run(work, dynamo, before_each=expire)
    assert dynamo.totals() == {"Product 0": (5, 1)}


# --- busy-is-retried-with-growing-pauses ---------------------------------------------------------


def test_pauses_grow_fourfold_up_to_eight_seconds():
    pauses = [committer.pause_seconds(tries) for tries in (0, 1, 2, 3, 4, 5, 10_000)]
    assert pauses == [0, 0.05, 0.2, 0.8, 3.2, 8, 8]


@pytest.mark.parametrize(
    "reasons",
    [
        [NONE, CONFLICT],
        [{"Code": "ThrottlingError"}, NONE],
        [NONE, {"Code": "ProvisionedThroughputExceeded"}],
        [{"Code": "TransactionInProgressException"}],  # DynamoDB rejected the whole request.
    ],
    ids=lambda reasons: "/".join(reason["Code"] for reason in reasons),
)
def test_a_busy_dynamodb_is_tried_again_after_growing_pauses(reasons: Sequence[dict[str, Any]]):
    dynamo = FakeDynamoDB()
    work = committer.for_stream(stream.read(new_orders(1).records).records_by_order)
    effects: list[Effect] = []
    dynamo.before_transaction = lambda: reasons if dynamo.transactions <= 12 else None
    run(work, dynamo, before_each=effects.append)
    pauses = [effect.seconds for effect in effects if isinstance(effect, Sleep) and effect.jitter]
    assert [type(effect) for effect in effects] == [Transact, *[Sleep, Transact] * 12]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert pauses[-1] <= 8
    assert work.counts.conflicts == 12
    assert dynamo.totals() == {"Product 0": (5, 1)}


def test_a_changed_entry_and_a_busy_item_in_one_cancellation_are_both_handled():
    dynamo, placed = FakeDynamoDB(), new_orders(2)
    deliver(placed.records[:1], dynamo)
    answers: list[Sequence[dict[str, Any]] | None] = [
        [{"Code": "ConditionalCheckFailed", "Item": entry_item.to_item(dynamo.entry("o0"))}, CONFLICT, NONE]
    ]
    dynamo.before_transaction = lambda: answers.pop() if answers else None
    deliver(placed.records, dynamo)
    assert dynamo.totals() == {"Product 0": (10, 2)}


# --- fatal-is-set-apart --------------------------------------------------------------------------


@pytest.mark.parametrize("names_the_action", [True, False])
def test_a_damaged_counter_does_not_block_the_others(names_the_action: bool):
    dynamo = FakeDynamoDB()
    placed = new_orders(30, products=3)

    def refuse(wanted: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]] | None:
        bad = [action.get("Update", {}).get("Key", {}).get("product") == {"S": "Product 1"} for action in wanted]
        if not any(bad):
            return None
        if not names_the_action:
            whole = {"Error": {"Code": "ValidationException", "Message": "wrong type"}}
            return [dict(reason) for reason in transactions.reasons(whole)]
        return [{"Code": "ValidationError", "Message": "wrong type"} if it else NONE for it in bad]

    dynamo.refuse = refuse
    work = deliver(placed.records, dynamo)
    assert sorted(work.set_apart) == sorted(f"o{index}" for index in range(1, 30, 3))
    assert all("wrong type" in reason for reason in work.set_apart.values())
    assert dynamo.totals() == {"Product 0": (50, 10), "Product 2": (50, 10)}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "UnrecognizedClientException"])
def test_an_error_that_affects_every_order_sets_no_order_apart(code: str):
    assert not transactions.reasons({"Error": {"Code": code, "Message": "no"}})


def test_an_order_with_an_unreadable_entry_is_set_apart_and_all_others_are_counted():
    dynamo, placed = FakeDynamoDB(), new_orders(30, products=3)
    deliver(placed.records[:10], dynamo)
    dynamo.tables["LedgerTable"]["o3",]["contributions"] = {"S": "?"}
    del dynamo.tables["LedgerTable"]["o4",]["firstSeen"]
    before = {order_id: dict(dynamo.tables["LedgerTable"][order_id,]) for order_id in ("o3", "o4")}
    amended = [placed.put(item(f"o{index}", f"Product {index % 3}", 6)) for index in range(5)]
    work = deliver([*placed.records[:30], *amended], dynamo)
    assert sorted(work.set_apart) == ["o3", "o4"]
    assert work.set_apart["o4"] == "Its ledger entry cannot be read: firstSeen is missing or not a string."
    assert {order_id: dynamo.tables["LedgerTable"][order_id,] for order_id in before} == before
    assert dynamo.totals() == {"Product 0": (51, 10), "Product 1": (51, 10), "Product 2": (51, 10)}


# --- Crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash_at", range(1, 5))
@pytest.mark.parametrize("when", ["before_transaction", "after_transaction"])
def test_the_next_delivery_completes_a_batch_after_a_crash(when: str, crash_at: int):
    dynamo, placed = FakeDynamoDB(), new_orders(3 * ORDERS_A_TRANSACTION)

    def crash() -> None:
        if dynamo.transactions == crash_at:
            raise Crash

    setattr(dynamo, when, crash)
    if crash_at <= 3:
        with pytest.raises(Crash):
            deliver(placed.records, dynamo)
    setattr(dynamo, when, lambda: None)
    deliver(placed.records, dynamo)
    assert dynamo.totals() == {"Product 0": (5 * len(placed.records), len(placed.records))}


# --- every-order-ends ----------------------------------------------------------------------------


def test_a_rejected_order_is_reported_once():
    dynamo, placed = FakeDynamoDB(), Stream()
    placed.put(item("good"))
    placed.put(item("bad", quantity=0))
    work = deliver(placed.records, dynamo)
    assert list(work.counts.rejected) == ["bad"]
    assert deliver(placed.records, dynamo).counts.rejected == {}
    assert dynamo.entry("bad").status is Status.REJECTED
    assert dynamo.totals() == {"Notebook": (5, 1)}


def test_an_order_without_a_plan_ends_stale():
    work = Committer(lambda entry: None, known=[ledger.absent("o")])
    assert list(work.steps()) == []
    assert work.stale == ["o"]


def test_each_change_of_a_counter_raises_its_revision():
    dynamo, placed = FakeDynamoDB(), new_orders(1)
    deliver(placed.records, dynamo)
    deliver([placed.put(item("o0", "Product 0", 6))], dynamo)
    assert dynamo.tables["AggregateTable"]["Product 0",][REVISION] == {"N": "2"}


def test_two_changes_that_cancel_out_raise_the_revision_too():
    dynamo, placed = FakeDynamoDB(), new_orders(2)
    deliver(placed.records, dynamo)
    deliver([placed.put(item("o0", "Product 0", 4)), placed.put(item("o1", "Product 0", 6))], dynamo)
    assert dynamo.tables["AggregateTable"]["Product 0",][REVISION] == {"N": "2"}
