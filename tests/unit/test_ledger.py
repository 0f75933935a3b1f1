"""The laws of chalicelib/counting/ledger.py, one by one, and its table of rules, row by row."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import orders, timestamps, views
from chalicelib.counting import entry_item, ledger, stream
from chalicelib.counting.ledger import (
    TRANSITIONS,
    Change,
    ChangeKind,
    ChangeRecord,
    ContributionRule,
    Entry,
    Status,
    absent,
    apply,
)
from chalicelib.views import CounterKey
from tests.doubles import FakeDynamoDB, deliver
from tests.streams import STARTED, TTL, Stream, every_way, item

NOTEBOOK = CounterKey("AggregateTable", ("Notebook",))
PEN = CounterKey("AggregateTable", ("Pen",))
FIVE = {"totalQuantity": 5, "orderCount": 1}


def record(number: int, image: dict[str, Any] | None, *, expired: bool = False, first: bool = False) -> ChangeRecord:
    return ChangeRecord("o", f"2026/{number:040}", STARTED + number, image, expired, first)


NEWS_AS_RECORDS = {
    ChangeKind.VALID: record(9, item("o", "Pen", 2)),
    ChangeKind.INVALID: record(9, item("o", "Pen", 0)),
    ChangeKind.REMOVED: record(9, None),
    ChangeKind.EXPIRED: record(9, None, expired=True),
}


def entries_to_start_from() -> dict[str, Entry]:
    valid, invalid = record(1, item("o")), record(1, item("o", quantity="five"))
    counted = apply(absent("o"), valid)
    return {
        "absent": absent("o"),
        "counted": counted,
        "rejected": apply(absent("o"), invalid),
        "cancelled": apply(counted, record(2, None)),
        "archived": apply(counted, record(2, None, expired=True)),
    }


# --- The table of rules --------------------------------------------------------------------------


def test_every_kind_of_news_has_a_rule():
    assert set(TRANSITIONS) == set(ChangeKind) == set(NEWS_AS_RECORDS)


@pytest.mark.parametrize("before", entries_to_start_from().values(), ids=entries_to_start_from().keys())
@pytest.mark.parametrize("news", ChangeKind, ids=lambda news: news.name)
def test_a_newer_record_does_what_its_rule_says(news: ChangeKind, before: Entry):
    rule = TRANSITIONS[news]
    told = apply(before, NEWS_AS_RECORDS[news])
    if told is before:  # Nothing to write is only where there is nothing to change.
        assert before.status is rule.status
        assert rule.counts is not ContributionRule.THE_ORDER
        return
    assert told.status is rule.status
    expected = {
        ContributionRule.THE_ORDER: views.contributions(orders.Order("o", "Pen", 2, told.first_seen)),
        ContributionRule.NOTHING: {},
        ContributionRule.AS_BEFORE: before.contributions,
    }
    assert told.contributions == expected[rule.counts]
    assert (told.expires_at is not None) == rule.tombstone
    assert told.position == NEWS_AS_RECORDS[news].position


def test_a_tombstone_is_kept_for_seven_days():
    tombstone = apply(absent("o"), record(3, None))
    assert tombstone.expires_at == STARTED + 3 + 7 * 24 * 60 * 60


def test_a_rejected_order_says_why():
    rejected = apply(absent("o"), record(1, item("o", "", 0)))
    assert set(rejected.problems) == {"product", "quantity"}


# --- Law 1 and law 2 -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("news", ChangeKind, ids=lambda news: news.name)
def test_a_record_that_is_not_newer_changes_nothing(news: ChangeKind, number: int):
    before = apply(absent("o"), record(5, item("o")))
    assert apply(before, NEWS_AS_RECORDS[news]._replace(position=record(number, None).position)) is before


def test_each_change_raises_the_revision_by_one():
    first = ledger.change(absent("o"), apply(absent("o"), record(1, item("o"))))
    assert first is not None
    assert first.after.revision == 1
    second = ledger.change(first.after, ledger.apply_all(first.after, [record(2, item("o", "Pen")), record(3, None)]))
    assert second is not None
    assert second.after.revision == 2


# --- Deltas --------------------------------------------------------------------------------------


def test_a_changed_quantity_moves_by_the_difference():
    assert ledger.deltas({NOTEBOOK: FIVE}, {NOTEBOOK: {"totalQuantity": 7, "orderCount": 1}}) == {
        NOTEBOOK: {"totalQuantity": 2, "orderCount": 0}
    }


def test_a_changed_product_moves_the_quantity_from_one_to_the_other():
    assert ledger.deltas({NOTEBOOK: FIVE}, {PEN: FIVE}) == {
        NOTEBOOK: {"totalQuantity": -5, "orderCount": -1},
        PEN: FIVE,
    }


def test_a_counter_that_keeps_its_amounts_is_left_alone():
    assert ledger.deltas({NOTEBOOK: FIVE, PEN: FIVE}, {NOTEBOOK: FIVE}) == {
        PEN: {"totalQuantity": -5, "orderCount": -1}
    }


# --- Law 4: it makes no difference where a stream is cut ------------------------------------------


def story(*steps: tuple[str, Any], view_type: str = "NEW_AND_OLD_IMAGES") -> Stream:
    """A stream on which the steps have been done to orders; one that cannot be done is left out."""
    told = Stream(view_type=view_type)
    for action, subject in steps:
        if action == "put":
            if told.items.get(subject["OrderID"]["S"]) != subject:  # A write that changes nothing has no record.
                told.put(subject)
        elif subject in told.items:
            told.remove(subject, expired=action == "expire")
    return told


STORIES: dict[str, list[tuple[str, Any]]] = {
    "placed": [("put", item("a"))],
    "amended": [("put", item("a")), ("put", item("a", quantity=7))],
    "there and back": [("put", item("a")), ("put", item("a", quantity=7)), ("put", item("a"))],
    "moved": [("put", item("a")), ("put", item("a", "Pen")), ("put", item("b"))],
    "cancelled": [("put", item("a")), ("remove", "a")],
    "placed anew": [("put", item("a")), ("remove", "a"), ("put", item("a", "Pen", 3))],
    "archived": [("put", item("a")), ("expire", "a")],
    "archived, then placed anew": [("put", item("a")), ("expire", "a"), ("put", item("a", "Pen", 3))],
    "invalid, then repaired": [("put", item("a", "", 5)), ("put", item("a"))],
    "made invalid": [("put", item("a")), ("put", item("a", quantity=-1)), ("put", item("b", "Pen"))],
    "invalid and archived": [("put", item("a", quantity="5")), ("expire", "a")],
    "something else of it changed": [("put", item("a")), ("put", item("a", Note={"S": "soon"}))],
    "two of one product": [("put", item("a")), ("put", item("b")), ("remove", "a")],
}


@pytest.mark.parametrize("view_type", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
@pytest.mark.parametrize("steps", STORIES.values(), ids=STORIES.keys())
def test_a_story_comes_to_the_same_however_it_is_delivered(steps: list[tuple[str, Any]], view_type: str):
    told = story(*steps, view_type=view_type)
    assert_every_way_comes_to_the_same(told)


PRODUCTS = st.sampled_from(["Notebook", "Pen", "Étui"])
STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        st.builds(item, st.sampled_from("abc"), PRODUCTS | st.just(""), st.sampled_from([1, 2, 1000, 0, "2"])),
    ),
    st.tuples(st.sampled_from(["remove", "expire"]), st.sampled_from("abc")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=7), st.sampled_from(["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]))
def test_any_story_comes_to_the_same_however_it_is_delivered(steps: list[tuple[str, Any]], view_type: str):
    assert_every_way_comes_to_the_same(story(*steps, view_type=view_type))


def assert_every_way_comes_to_the_same(told: Stream) -> None:
    expected = None
    for way, batches in every_way(told.records):
        dynamo = FakeDynamoDB()
        for batch in batches:
            deliver(batch, dynamo)
        told_of = {order_id: item for (order_id,), item in dynamo.tables["LedgerTable"].items()}
        result = (
            dynamo.counters(),
            {o: (e["status"], e.get("contributions"), e.get("problems")) for o, e in told_of.items()},
        )
        expected = expected or result
        assert result == expected, way
        assert dynamo.counters() == sums_of_the_ledger(dynamo), way
    assert expected is None or expected[0] == what_a_person_would_count(told)


def sums_of_the_ledger(dynamo: FakeDynamoDB) -> dict[Any, dict[str, int]]:
    sums: dict[Any, dict[str, int]] = {}
    for (order_id,) in dynamo.tables["LedgerTable"]:
        for counter, amounts in dynamo.entry(order_id).contributions.items():
            for name, amount in amounts.items():
                held = sums.setdefault((counter.table, counter.key), {})
                held[name] = held.get(name, 0) + amount
    return sums


def what_a_person_would_count(told: Stream) -> dict[Any, dict[str, int]]:
    """The counters by another way: the orders that are there, and those that were when TTL took them."""
    there: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for each in told.records:
        order_id, change = each["dynamodb"]["Keys"]["OrderID"]["S"], each["dynamodb"]
        if each["eventName"] == "INSERT":
            seen[order_id] = timestamps.from_epoch(change["ApproximateCreationDateTime"])
        if "NewImage" in change:
            there[order_id] = change["NewImage"]
        elif each.get("userIdentity") != TTL:
            there.pop(order_id, None)
    counted: dict[Any, dict[str, int]] = {}
    for order_id, image in there.items():
        product, quantity = image["Product"].get("S"), int(image["Quantity"].get("N", "0"))
        if not product or quantity < 1:
            continue
        order = orders.Order(order_id, product, quantity, seen[order_id])
        for counter, amounts in views.contributions(order).items():
            held = counted.setdefault((counter.table, counter.key), {})
            for name, amount in amounts.items():
                held[name] = held.get(name, 0) + amount
    return counted


# --- Law 5: what comes and goes within a batch is written too -------------------------------------


def test_an_older_record_that_turns_up_late_is_no_news_though_the_batch_ended_where_it_began():
    told = story(*STORIES["there and back"])
    dynamo = FakeDynamoDB()
    deliver(told.records[:1], dynamo)
    deliver(told.records[1:], dynamo)
    deliver([told.records[1]], dynamo)  # An overlapping invocation had got no further, and is late.
    assert dynamo.totals() == {"Notebook": (5, 1)}


def test_a_record_that_leaves_the_contributions_as_they_were_writes_nothing():
    told = story(*STORIES["something else of it changed"])
    dynamo = FakeDynamoDB()
    deliver(told.records[:1], dynamo)
    work = deliver(told.records[1:], dynamo)
    assert work.counts.transactions == 0
    assert work.counts.unchanged == 1


def test_a_cancelled_order_that_was_never_counted_leaves_a_tombstone_against_its_older_records():
    told = story(*STORIES["cancelled"])
    dynamo = FakeDynamoDB()
    deliver(told.records, dynamo)
    deliver(told.records[:1], dynamo)
    assert dynamo.totals() == {}
    assert dynamo.entry("a").status is Status.CANCELLED


# --- Law 6: views that this version of the app does not have --------------------------------------


def test_contributions_to_a_table_without_a_view_stay_through_everything():
    elsewhere = CounterKey("RetiredTable", ("x",))
    counted = apply(absent("o"), record(1, item("o")))
    counted = counted._replace(contributions={**counted.contributions, elsewhere: {"n": 1}})
    for news in ChangeKind:
        told = apply(counted, NEWS_AS_RECORDS[news])
        assert told.contributions[elsewhere] == {"n": 1}
        assert elsewhere not in ledger.deltas(counted.contributions, told.contributions)


def test_a_tombstone_outlives_its_time_as_long_as_a_table_without_a_view_holds_something_for_it():
    elsewhere = {CounterKey("RetiredTable", ("x",)): {"n": 1}}
    counted = apply(absent("o"), record(1, item("o")))
    counted = counted._replace(contributions={**counted.contributions, **elsewhere})
    tombstone = apply(counted, record(2, None))
    assert (tombstone.contributions, tombstone.expires_at) == (elsewhere, None)


def test_a_cancelled_order_gives_up_what_it_had_added_to_a_view_that_has_returned():
    left_over = Entry("o", 2, "v", Status.CANCELLED, "2026-11-23T00:00:00Z", {PEN: FIVE})
    given_up = ledger.reconcile(left_over, None, STARTED)
    assert (given_up.status, given_up.contributions) == (Status.CANCELLED, {})
    assert given_up.expires_at == STARTED + ledger.TOMBSTONE_SECONDS
    assert ledger.reconcile(given_up, None, STARTED + 9) is given_up


# --- Streams that follow one another -------------------------------------------------------------


def test_a_stream_switched_on_again_goes_on_from_the_old_one_whatever_its_sequence_numbers():
    first, second = Stream("2026-11-23T10:00:00.000"), Stream("2026-11-23T11:00:00.000")
    first.put(item("other"))
    first.put(item("a"))
    second.items = dict(first.items)
    second.put(item("a", quantity=7))  # The first number of its stream, below the one that placed the order.
    dynamo = FakeDynamoDB()
    for batch in ([first.records[1]], second.records, [first.records[1]]):
        deliver(batch, dynamo)
    assert dynamo.totals() == {"Notebook": (7, 1)}


def test_sequence_numbers_are_compared_as_numbers():
    assert stream.position("arn/stream/x", "9") < stream.position("arn/stream/x", "10")


# --- As the item says: without records ------------------------------------------------------------


def test_an_item_says_what_its_newest_record_would():
    for before in entries_to_start_from().values():
        by_record = apply(before, record(9, item("o", "Pen", 2)))
        by_item = ledger.reconcile(before, item("o", "Pen", 2), STARTED + 9)
        assert by_item == by_record._replace(position=before.position, ahead_of_stream=True)


def test_an_entry_that_agrees_with_its_item_stays_the_very_same():
    counted = entries_to_start_from()["counted"]
    assert ledger.reconcile(counted, item("o"), STARTED + 99) is counted


def test_a_slow_clock_does_not_move_an_order_into_an_earlier_hour():
    counted = entries_to_start_from()["counted"]
    assert ledger.reconcile(counted, item("o"), STARTED - 3600) is counted
    assert ledger.reconcile(counted, item("o", quantity=6), STARTED - 3600).first_seen == counted.first_seen


def test_the_hour_that_a_backfill_assumed_gives_way_to_that_of_the_first_record():
    backfilled = ledger.reconcile(absent("o"), item("o"), STARTED + 5000)
    assert apply(backfilled, record(1, item("o", quantity=6))).first_seen == timestamps.from_epoch(STARTED + 1)


def test_the_time_of_placing_holds_against_a_backfill_whose_clock_was_slow():
    backfilled = ledger.reconcile(absent("o"), item("o"), STARTED - 3600)
    placed = apply(backfilled, record(1, item("o"), first=True))
    assert placed.first_seen == timestamps.from_epoch(STARTED + 1)


# --- Law 7: records that a backfill was ahead of --------------------------------------------------


def test_a_record_that_a_backfill_was_ahead_of_is_noted_though_it_changes_nothing():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    ahead = ledger.reconcile(counted, item("o", "Pen", 6), STARTED + 9)
    caught_up = apply(ahead, record(3, item("o", "Pen", 6)))
    assert (caught_up.position, caught_up.contributions) == (record(3, None).position, ahead.contributions)
    assert caught_up.revision == ahead.revision + 1  # Law 1: no other write may take it for what it was.
    assert Change(ahead, caught_up).only_advances_position
    assert entry_item.from_item("o", entry_item.to_item(ahead)) == ahead
    assert apply(caught_up, record(4, item("o", "Pen", 6))) is caught_up


def test_a_record_that_changed_nothing_cannot_come_back_for_news_after_a_backfill():
    # A note is written to the order, which counts for nothing; then its quantity. The backfill comes before the stream.
    placed, noted, amended = (record(n, item("o", "Pen", quantity)) for n, quantity in ((1, 5), (2, 5), (3, 6)))
    entry = ledger.apply_all(absent("o"), [placed, noted])
    entry = ledger.reconcile(entry, item("o", "Pen", 6), STARTED + 9)
    entry = apply(entry, amended)
    assert apply(entry, noted) is entry


def test_an_order_that_was_cancelled_without_a_record_is_counted_again_if_it_was_dynamodbs_ttl_that_took_it():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    reverted = ledger.reconcile(counted, None, STARTED + 9)
    assert (reverted.status, reverted.contributions) == (Status.CANCELLED, {})
    assert entry_item.from_item("o", entry_item.to_item(reverted)) == reverted
    archived = apply(reverted, record(2, None, expired=True))
    assert (archived.status, archived.contributions) == (Status.ARCHIVED, counted.contributions)
    assert not archived.reverted


def test_an_order_that_was_cancelled_without_a_record_stays_so_if_the_record_says_the_same():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    cancelled = apply(ledger.reconcile(counted, None, STARTED + 9), record(2, None))
    assert (cancelled.status, cancelled.contributions, cancelled.reverted) == (Status.CANCELLED, {}, {})


def test_an_order_that_comes_back_after_such_a_cancellation_counts_for_what_it_says_then():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    cancelled = ledger.reconcile(counted, None, STARTED + 9)
    back = ledger.reconcile(cancelled, item("o", "Pen", 7), STARTED + 9)
    archived = apply(back, record(5, None, expired=True))
    assert archived.contributions == back.contributions


# --- The item ------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", entries_to_start_from().values(), ids=entries_to_start_from().keys())
def test_an_entry_survives_being_an_item(entry: Entry):
    assert entry_item.from_item("o", entry_item.to_item(entry)) == entry or entry.status is Status.ABSENT
    assert entry_item.from_item("o", None) == absent("o")


COUNTED = entry_item.to_item(apply(absent("o"), record(1, item("o"))))
BROKEN_ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "higher format": ({"format": {"N": "2"}}, "format is 2"),
    "no format": ({"format": {"NULL": True}}, "format is missing or not a whole number"),
    "revision is text": ({"revision": {"S": "1"}}, "revision is missing or not a whole number"),
    "revision is no whole number": ({"revision": {"N": "1.5"}}, "revision is missing or not a whole number"),
    "revision is 0": ({"revision": {"N": "0"}}, "revision is 0"),
    "unknown status": ({"status": {"S": "lost"}}, "status is not one of"),
    "status that is never stored": ({"status": {"S": "absent"}}, "status is not one of"),
    "firstSeen is not a time": ({"firstSeen": {"S": "yesterday"}}, "firstSeen is not a time"),
    "position is a number": ({"position": {"N": "1"}}, "position is missing or not a string"),
    "expiresAt is text": ({"expiresAt": {"S": "soon"}}, "expiresAt is missing or not a whole number"),
    "problems is text": ({"problems": {"S": "none"}}, "problems is not a map"),
    "problem is a number": ({"problems": {"M": {"product": {"N": "1"}}}}, "product is missing or not a string"),
    "contributions are a map": ({"contributions": {"M": {}}}, "contributions is missing or not a string"),
    "reverted is no JSON": ({"reverted": {"S": "["}}, "reverted is not a list of contributions"),
}
BROKEN_CONTRIBUTIONS = [
    "", "{", "5", "{}", '"x"', "[5]", "[[]]", '[["AggregateTable",["Pen"]]]', '[["AggregateTable","Pen",{"n":1}]]',
    '[["AggregateTable",["Pen","more"],{"n":1}]]', '[["AggregateTable",[5],{"n":1}]]',
    '[["AggregateTable",["Pen"],[]]]',
    '[["AggregateTable",["Pen"],{"n":1.5}]]', '[["AggregateTable",["Pen"],{"n":true}]]',
    '[["AggregateTable",["Pen"],{"n":NaN}]]', '[["T",["Pen"],{"n":1}],["T",["Pen"],{"n":1}]]', "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize(("change", "why"), BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES)
def test_a_broken_entry_is_unreadable_and_says_why(change: dict[str, Any], why: str):
    entry = entry_item.from_item("o", {**COUNTED, **change})
    assert entry.status is Status.UNREADABLE
    assert entry.unreadable
    assert entry.unreadable.startswith(why)


@pytest.mark.parametrize("text", BROKEN_CONTRIBUTIONS, ids=lambda text: text[:50])
def test_an_entry_with_broken_contributions_is_unreadable(text: str):
    entry = entry_item.from_item("o", {**COUNTED, "contributions": {"S": text}})
    assert entry.unreadable == "contributions is not a list of contributions."


@pytest.mark.parametrize("attribute", ["revision", "status", "firstSeen", "format"])
def test_an_entry_that_lacks_an_attribute_is_unreadable(attribute: str):
    entry = entry_item.from_item("o", {name: value for name, value in COUNTED.items() if name != attribute})
    assert entry.unreadable
    assert attribute in entry.unreadable


@pytest.mark.parametrize("change", [change for change, _ in BROKEN_ENTRIES.values()], ids=BROKEN_ENTRIES)
def test_an_unreadable_entry_is_built_anew_from_the_item_and_keeps_what_can_be_read(change: dict[str, Any]):
    unreadable = entry_item.from_item("o", {**COUNTED, **change})
    rebuilt = ledger.reconcile(unreadable, item("o", "Pen"), STARTED + 100)
    assert (rebuilt.status, rebuilt.ahead_of_stream) == (Status.COUNTED, True)
    assert PEN in rebuilt.contributions
    assert rebuilt.position == ("" if "position" in change else COUNTED["position"]["S"])
    assert rebuilt.first_seen == (
        timestamps.from_epoch(STARTED + 100) if "firstSeen" in change else COUNTED["firstSeen"]["S"]
    )
    change_made = ledger.change(unreadable, rebuilt)
    assert change_made is not None
    assert change_made.deltas == {}, "nobody knows what the counters hold for it"
    assert change_made.after.revision > 1_000_000, "no change that was planned before can fit by accident"


@pytest.mark.parametrize(
    ("status", "rebuilt"),
    [("counted", False), ("rejected", True), ("cancelled", True), ("archived", False), ("?", False)],
)
def test_an_unreadable_entry_without_an_item_is_cancelled_unless_the_order_may_be_archived(status: str, rebuilt: bool):
    unreadable = entry_item.from_item("o", {**COUNTED, "status": {"S": status}, "contributions": {"S": "?"}})
    told = ledger.reconcile(unreadable, None, STARTED)
    assert (told.status is Status.CANCELLED) == rebuilt
    assert (told is unreadable) != rebuilt


# --- What people are told ------------------------------------------------------------------------


def test_an_order_counts_as_counted_when_the_ledger_has_what_its_item_says():
    counted = entries_to_start_from()["counted"]
    assert ledger.order_status(counted, item("o")) == {"counted": True}
    assert ledger.order_status(counted, item("o", quantity=6)) == {"counted": False}
    assert ledger.order_status(absent("o"), item("o")) == {"counted": False}
    broken = ledger.order_status(entry_item.from_item("o", {**COUNTED, "revision": {"S": "x"}}), item("o"))
    assert broken == {
        "counted": False,
        "ledgerProblem": "The ledger entry cannot be read: revision is missing or not a whole number."
        " An audit with repair rebuilds it.",
    }
    assert ledger.order_status(absent("o"), item("o", quantity=0)) == {
        "counted": False,
        "rejected": {"quantity": "must be a whole number from 1 to 1000000000"},
    }
