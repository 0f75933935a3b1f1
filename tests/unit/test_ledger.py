"""Tests for the ledger's state machine: every status with every event, then each invariant of docs/design.md by name.

The invariants tested here are entry-matches-counters, older-record-is-ignored, table-decides, cuts-do-not-matter,
delivered-is-remembered, unknown-views-are-kept and position-catches-up.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import orders, timestamps, views
from chalicelib.amounts import Amount
from chalicelib.counting import entry_item, ledger, stream
from chalicelib.counting.ledger import (
    TRANSITIONS,
    Change,
    ChangeRecord,
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


def record(
    number: int, image: dict[str, Any] | None, *, expired: bool = False, is_insert: bool = False
) -> ChangeRecord:
    return ChangeRecord("o", f"2026/{number:040}", STARTED + number, image, expired, is_insert)


RECORDS = {
    ledger.VALID: record(9, item("o", "Pen", 2)),
    ledger.INVALID: record(9, item("o", "Pen", 0)),
    ledger.REMOVED: record(9, None),
    ledger.EXPIRED: record(9, None, expired=True),
}
INSERTED = apply(absent("o"), record(1, item("o")))
STORED = entry_item.to_item(INSERTED)
ENTRIES = {
    Status.ABSENT: absent("o"),
    Status.COUNTED: INSERTED,
    Status.REJECTED: apply(absent("o"), record(1, item("o", quantity="five"))),
    Status.CANCELLED: apply(INSERTED, record(2, None)),
    Status.ARCHIVED: apply(INSERTED, record(2, None, expired=True)),
    Status.UNREADABLE: entry_item.from_item("o", {**STORED, "contributions": {"S": "["}}),
}
READABLE_ENTRIES = {status: entry for status, entry in ENTRIES.items() if status is not Status.UNREADABLE}


# --- table-decides: every status with every row of the tables ---------------------------------------

EVENTS = [
    *((ledger.INSERT, kind) for kind in (ledger.VALID, ledger.INVALID)),
    *((ledger.LATER_RECORD, kind) for kind in RECORDS),
    *((ledger.RECONCILIATION, kind) for kind in (ledger.VALID, ledger.INVALID, ledger.MISSING)),
    *((ledger.REBUILD, kind) for kind in (ledger.VALID, ledger.INVALID, ledger.MISSING)),
]
RETIRED = {CounterKey("RetiredTable", ("x",)): {"n": 1}}
UNREADABLE_ENTRIES = [
    entry_item.from_item("o", {**STORED, "status": {"S": status}, "contributions": {"S": "?"}})
    for status in ("counted", "rejected", "cancelled", "archived", "?")
]


def variants(entry: Entry) -> Iterator[Entry]:
    """Yield variants of an entry: one for each combination of the fields that the tables use."""
    for ahead, first_seen, retired, reverted in itertools.product(
        (False, True), (entry.first_seen, timestamps.from_epoch(STARTED + 5000)), ({}, RETIRED), ({}, {PEN: FIVE})
    ):
        yield entry._replace(
            ahead_of_stream=ahead,
            first_seen=first_seen,
            contributions={**entry.contributions, **retired},
            reverted=reverted,
        )


def after_event(entry: Entry, source: str, kind: str) -> Entry:
    """Return the entry after an event that happens nine seconds after the stream's start."""
    if source in (ledger.INSERT, ledger.LATER_RECORD):
        return apply(entry, RECORDS[kind]._replace(is_insert=source == ledger.INSERT))
    return ledger.reconcile(entry, RECORDS[kind].image if kind in RECORDS else None, STARTED + 9)


def expected(entry: Entry, source: str, kind: str) -> Entry | None:
    """Return the entry after an event according to docs/design.md, or None if the entry does not change."""
    now = STARTED + 9
    seen = entry.status in (Status.COUNTED, Status.REJECTED, Status.UNREADABLE)
    by_record = source in (ledger.INSERT, ledger.LATER_RECORD)
    first_seen = timestamps.from_epoch(now)
    if source == ledger.LATER_RECORD and (seen or entry.ahead_of_stream):
        first_seen = min(first_seen, entry.first_seen)
    elif not by_record and seen:
        first_seen = entry.first_seen or first_seen
    status, contributions, problems, expires_at, reverted = {
        ledger.VALID: (
            Status.COUNTED, *views.contributions(orders.Order("o", "Pen", 2, first_seen)), None, {},
        ),
        ledger.INVALID: (
            Status.REJECTED, {}, {"quantity": "must be a whole number from 1 to 1000000000"}, None, {},
        ),
        ledger.REMOVED: (Status.CANCELLED, {}, {}, now + ledger.TOMBSTONE_SECONDS, {}),
        ledger.EXPIRED: (Status.ARCHIVED, entry.reverted or entry.contributions, {}, None, {}),
        ledger.MISSING: (Status.CANCELLED, {}, {}, now + ledger.TOMBSTONE_SECONDS, entry.contributions),
    }[kind]  # fmt: skip
    if kind == ledger.MISSING:
        stored = entry.stored.get("status", {}).get("S")
        if entry.status in (Status.ABSENT, Status.ARCHIVED) or stored in ("counted", "archived", "?"):
            return None
    if kind != ledger.EXPIRED and not entry.contributions.keys().isdisjoint(RETIRED):
        contributions = {**contributions, **RETIRED}
        expires_at = None
    if (entry.status, entry.contributions, entry.problems) == (status, contributions, problems):
        if not (by_record and entry.ahead_of_stream):
            return None
        expires_at = entry.expires_at
    return Entry(
        "o",
        now if source == ledger.REBUILD else entry.revision + 1,
        RECORDS[ledger.VALID].position if by_record else entry.position,
        status,
        first_seen,
        contributions,
        problems,
        expires_at,
        not by_record,
        reverted,
    )


def test_the_events_cover_every_row_of_the_tables():
    assert {source for source, _ in EVENTS} == set(ledger.SOURCES)
    assert {kind for _, kind in EVENTS} == set(TRANSITIONS)


def test_every_status_is_a_starting_point():
    assert list(ENTRIES) == list(Status)
    assert all(entry.status is status for status, entry in ENTRIES.items())


@pytest.mark.parametrize(("source", "kind"), EVENTS)
def test_every_entry_changes_as_the_rows_of_its_event_say(source: str, kind: str):
    starts = UNREADABLE_ENTRIES if source == ledger.REBUILD else READABLE_ENTRIES.values()
    for before in itertools.chain.from_iterable(map(variants, starts)):
        after = after_event(before, source, kind)
        assert (None if after is before else after) == expected(before, source, kind), before


def test_a_tombstone_is_kept_for_28_days():
    tombstone = apply(absent("o"), record(3, None))
    assert tombstone.expires_at == STARTED + 3 + 28 * 24 * 60 * 60


def test_a_rejected_order_has_its_problems():
    rejected = apply(absent("o"), record(1, item("o", "", 0)))
    assert set(rejected.problems) == {"product", "quantity"}


# --- older-record-is-ignored, and the revisions behind entry-matches-counters ---------------------


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_is_not_newer_changes_nothing(kind: str, number: int):
    before = apply(absent("o"), record(5, item("o")))
    assert apply(before, RECORDS[kind]._replace(position=record(number, None).position)) is before


def test_each_change_raises_the_revision_by_one():
    first = ledger.change(absent("o"), apply(absent("o"), record(1, item("o"))))
    assert first is not None
    assert first.after.revision == 1
    second = ledger.change(first.after, ledger.apply_all(first.after, [record(2, item("o", "Pen")), record(3, None)]))
    assert second is not None
    assert second.after.revision == 2


# --- Increments -----------------------------------------------------------------------------------


def test_a_changed_quantity_adds_the_difference():
    assert ledger.deltas({NOTEBOOK: FIVE}, {NOTEBOOK: {"totalQuantity": 7, "orderCount": 1}}) == {
        NOTEBOOK: {"totalQuantity": 2, "orderCount": 0}
    }


def test_a_changed_product_moves_the_quantity_to_the_new_counter():
    assert ledger.deltas({NOTEBOOK: FIVE}, {PEN: FIVE}) == {
        NOTEBOOK: {"totalQuantity": -5, "orderCount": -1},
        PEN: FIVE,
    }


def test_a_counter_with_unchanged_amounts_gets_no_increment():
    assert ledger.deltas({NOTEBOOK: FIVE, PEN: FIVE}, {NOTEBOOK: FIVE}) == {
        PEN: {"totalQuantity": -5, "orderCount": -1}
    }


# --- cuts-do-not-matter ---------------------------------------------------------------------------


def stream_of(*steps: tuple[str, Any], view_type: str = "NEW_AND_OLD_IMAGES") -> Stream:
    """Return the stream of these steps. A step that changes nothing adds no record."""
    table_stream = Stream(view_type=view_type)
    for action, subject in steps:
        if action == "put":
            if table_stream.items.get(subject["OrderID"]["S"]) != subject:
                table_stream.put(subject)
        elif subject in table_stream.items:
            table_stream.remove(subject, expired=action == "expire")
    return table_stream


SCENARIOS: dict[str, list[tuple[str, Any]]] = {
    "placed": [("put", item("a"))],
    "amended": [("put", item("a")), ("put", item("a", quantity=7))],
    "changed and changed back": [("put", item("a")), ("put", item("a", quantity=7)), ("put", item("a"))],
    "moved to another product": [("put", item("a")), ("put", item("a", "Pen")), ("put", item("b"))],
    "cancelled": [("put", item("a")), ("remove", "a")],
    "placed again": [("put", item("a")), ("remove", "a"), ("put", item("a", "Pen", 3))],
    "archived": [("put", item("a")), ("expire", "a")],
    "archived, then placed again": [("put", item("a")), ("expire", "a"), ("put", item("a", "Pen", 3))],
    "invalid, then corrected": [("put", item("a", "", 5)), ("put", item("a"))],
    "made invalid": [("put", item("a")), ("put", item("a", quantity=-1)), ("put", item("b", "Pen"))],
    "invalid and archived": [("put", item("a", quantity="5")), ("expire", "a")],
    "another attribute changed": [("put", item("a")), ("put", item("a", Note={"S": "soon"}))],
    "two of one product": [("put", item("a")), ("put", item("b")), ("remove", "a")],
}


@pytest.mark.parametrize("view_type", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
@pytest.mark.parametrize("steps", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_every_delivery_of_a_scenario_has_the_same_result(steps: list[tuple[str, Any]], view_type: str):
    assert_every_delivery_has_the_same_result(stream_of(*steps, view_type=view_type))


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
def test_every_delivery_of_random_steps_has_the_same_result(steps: list[tuple[str, Any]], view_type: str):
    assert_every_delivery_has_the_same_result(stream_of(*steps, view_type=view_type))


def assert_every_delivery_has_the_same_result(table_stream: Stream) -> None:
    expected = None
    for way, batches in every_way(table_stream.records):
        dynamo = FakeDynamoDB()
        for batch in batches:
            deliver(batch, dynamo)
        entries = {order_id: item for (order_id,), item in dynamo.tables["LedgerTable"].items()}
        result = (
            dynamo.counters(),
            {o: (e["status"], e.get("contributions"), e.get("problems")) for o, e in entries.items()},
        )
        expected = expected or result
        assert result == expected, way
        assert dynamo.counters() == sums_of_contributions(dynamo), way
    assert expected is None or expected[0] == expected_counters(table_stream)


def sums_of_contributions(dynamo: FakeDynamoDB) -> dict[Any, dict[str, Amount]]:
    """Return the sum of all entries' contributions, by counter."""
    sums: dict[Any, dict[str, Amount]] = {}
    for (order_id,) in dynamo.tables["LedgerTable"]:
        for counter, amounts in dynamo.entry(order_id).contributions.items():
            total = sums.setdefault((counter.table, counter.key), {})
            for name, amount in amounts.items():
                total[name] = total.get(name, 0) + amount
    return sums


def expected_counters(table_stream: Stream) -> dict[Any, dict[str, Amount]]:
    """Compute the counters without the ledger, from all orders that exist or were archived."""
    images: dict[str, Any] = {}
    inserted_at: dict[str, str] = {}
    for each in table_stream.records:
        order_id, change = each["dynamodb"]["Keys"]["OrderID"]["S"], each["dynamodb"]
        if each["eventName"] == "INSERT":
            inserted_at[order_id] = timestamps.from_epoch(change["ApproximateCreationDateTime"])
        if "NewImage" in change:
            images[order_id] = change["NewImage"]
        elif each.get("userIdentity") != TTL:
            images.pop(order_id, None)
    counters: dict[Any, dict[str, Amount]] = {}
    for order_id, image in images.items():
        product, quantity = image["Product"].get("S"), int(image["Quantity"].get("N", "0"))
        if not product or quantity < 1:
            continue
        order = orders.Order(order_id, product, quantity, inserted_at[order_id])
        for counter, amounts in views.contributions(order).contributions.items():
            total = counters.setdefault((counter.table, counter.key), {})
            for name, amount in amounts.items():
                total[name] = total.get(name, 0) + amount
    return counters


# --- delivered-is-remembered ----------------------------------------------------------------------


def test_an_old_record_stays_old_after_a_batch_whose_changes_cancel_out():
    table_stream = stream_of(*SCENARIOS["changed and changed back"])
    dynamo = FakeDynamoDB()
    deliver(table_stream.records[:1], dynamo)
    deliver(table_stream.records[1:], dynamo)
    deliver([table_stream.records[1]], dynamo)  # An overlapping invocation delivers this record late.
    assert dynamo.totals() == {"Notebook": (5, 1)}


def test_a_record_that_changes_nothing_writes_nothing():
    table_stream = stream_of(*SCENARIOS["another attribute changed"])
    dynamo = FakeDynamoDB()
    deliver(table_stream.records[:1], dynamo)
    work = deliver(table_stream.records[1:], dynamo)
    assert work.counts.transactions == 0
    assert work.counts.unchanged == 1


def test_an_order_cancelled_before_it_was_counted_leaves_a_tombstone():
    table_stream = stream_of(*SCENARIOS["cancelled"])
    dynamo = FakeDynamoDB()
    deliver(table_stream.records, dynamo)
    deliver(table_stream.records[:1], dynamo)
    assert dynamo.totals() == {}
    assert dynamo.entry("a").status is Status.CANCELLED


# --- unknown-views-are-kept -----------------------------------------------------------------------


def test_no_kind_of_change_touches_contributions_to_a_table_without_a_view():
    elsewhere = CounterKey("RetiredTable", ("x",))
    counted = apply(absent("o"), record(1, item("o")))
    counted = counted._replace(contributions={**counted.contributions, elsewhere: {"n": 1}})
    for kind in RECORDS:
        after = apply(counted, RECORDS[kind])
        assert after.contributions[elsewhere] == {"n": 1}
        assert elsewhere not in ledger.deltas(counted.contributions, after.contributions)


def test_a_tombstone_with_contributions_to_a_table_without_a_view_does_not_expire():
    elsewhere = {CounterKey("RetiredTable", ("x",)): {"n": 1}}
    counted = apply(absent("o"), record(1, item("o")))
    counted = counted._replace(contributions={**counted.contributions, **elsewhere})
    tombstone = apply(counted, record(2, None))
    assert (tombstone.contributions, tombstone.expires_at) == (elsewhere, None)


def test_reconciling_a_cancelled_order_removes_its_contributions_to_a_view_that_returned():
    cancelled = Entry("o", 2, "v", Status.CANCELLED, "2026-11-23T00:00:00Z", {PEN: FIVE})
    reconciled = ledger.reconcile(cancelled, None, STARTED)
    assert (reconciled.status, reconciled.contributions) == (Status.CANCELLED, {})
    assert reconciled.expires_at == STARTED + ledger.TOMBSTONE_SECONDS
    assert ledger.reconcile(reconciled, None, STARTED + 9) is reconciled


# --- A stream that was switched off and on --------------------------------------------------------------


def test_a_new_streams_records_are_newer_whatever_their_sequence_numbers():
    first, second = Stream("2026-11-23T10:00:00.000"), Stream("2026-11-23T11:00:00.000")
    first.put(item("other"))
    first.put(item("a"))
    second.items = dict(first.items)
    second.put(item("a", quantity=7))  # The REMOVE has a lower sequence number than the INSERT.
    dynamo = FakeDynamoDB()
    for batch in ([first.records[1]], second.records, [first.records[1]]):
        deliver(batch, dynamo)
    assert dynamo.totals() == {"Notebook": (7, 1)}


def test_sequence_numbers_are_compared_as_numbers():
    assert stream.position("arn/stream/x", "9") < stream.position("arn/stream/x", "10")


# --- Reconciling with the item, without a record --------------------------------------------------


def test_reconciling_with_an_item_changes_what_its_newest_record_would():
    for before in READABLE_ENTRIES.values():
        by_record = apply(before, record(9, item("o", "Pen", 2)))
        by_item = ledger.reconcile(before, item("o", "Pen", 2), STARTED + 9)
        assert by_item == by_record._replace(position=before.position, ahead_of_stream=True)


def test_an_entry_that_matches_its_item_is_returned_unchanged():
    assert ledger.reconcile(INSERTED, item("o"), STARTED + 99) is INSERTED


def test_a_backfill_with_a_slow_clock_keeps_an_orders_hour():
    assert ledger.reconcile(INSERTED, item("o"), STARTED - 3600) is INSERTED
    assert ledger.reconcile(INSERTED, item("o", quantity=6), STARTED - 3600).first_seen == INSERTED.first_seen


def test_an_earlier_record_corrects_the_hour_that_a_backfill_assumed():
    backfilled = ledger.reconcile(absent("o"), item("o"), STARTED + 5000)
    assert apply(backfilled, record(1, item("o", quantity=6))).first_seen == timestamps.from_epoch(STARTED + 1)


def test_the_insert_corrects_the_hour_from_a_backfill_with_a_slow_clock():
    backfilled = ledger.reconcile(absent("o"), item("o"), STARTED - 3600)
    placed = apply(backfilled, record(1, item("o"), is_insert=True))
    assert placed.first_seen == timestamps.from_epoch(STARTED + 1)


# --- position-catches-up --------------------------------------------------------------------------


def test_a_record_that_catches_up_with_a_backfill_advances_the_position():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    ahead = ledger.reconcile(counted, item("o", "Pen", 6), STARTED + 9)
    caught_up = apply(ahead, record(3, item("o", "Pen", 6)))
    assert (caught_up.position, caught_up.contributions) == (record(3, None).position, ahead.contributions)
    assert caught_up.revision == ahead.revision + 1  # A higher revision makes other planned writes conflict.
    assert Change(ahead, caught_up).only_advances_position
    assert entry_item.from_item("o", entry_item.to_item(ahead)) == ahead
    assert apply(caught_up, record(4, item("o", "Pen", 6))) is caught_up


def test_a_record_that_changed_nothing_stays_old_after_a_backfill():
    # The order gets a note, which no view counts. It then gets a new quantity, which a backfill counts first.
    placed, noted, amended = (record(n, item("o", "Pen", quantity)) for n, quantity in ((1, 5), (2, 5), (3, 6)))
    entry = ledger.apply_all(absent("o"), [placed, noted])
    entry = ledger.reconcile(entry, item("o", "Pen", 6), STARTED + 9)
    entry = apply(entry, amended)
    assert apply(entry, noted) is entry


def test_an_order_cancelled_by_a_repair_is_counted_again_if_its_record_is_an_expiry():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    reverted = ledger.reconcile(counted, None, STARTED + 9)
    assert (reverted.status, reverted.contributions) == (Status.CANCELLED, {})
    assert entry_item.from_item("o", entry_item.to_item(reverted)) == reverted
    archived = apply(reverted, record(2, None, expired=True))
    assert (archived.status, archived.contributions) == (Status.ARCHIVED, counted.contributions)
    assert not archived.reverted


def test_an_order_cancelled_by_a_repair_stays_cancelled_if_its_record_is_a_removal():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    cancelled = apply(ledger.reconcile(counted, None, STARTED + 9), record(2, None))
    assert (cancelled.status, cancelled.contributions, cancelled.reverted) == (Status.CANCELLED, {}, {})


def test_an_order_cancelled_by_a_repair_and_placed_again_keeps_its_new_contributions():
    counted = apply(absent("o"), record(1, item("o", "Pen", 5)))
    cancelled = ledger.reconcile(counted, None, STARTED + 9)
    placed_again = ledger.reconcile(cancelled, item("o", "Pen", 7), STARTED + 9)
    archived = apply(placed_again, record(5, None, expired=True))
    assert archived.contributions == placed_again.contributions


# --- Stored entries -------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", READABLE_ENTRIES.values(), ids=READABLE_ENTRIES.keys())
def test_an_entry_is_the_same_after_it_was_stored(entry: Entry):
    assert entry_item.from_item("o", entry_item.to_item(entry)) == entry or entry.status is Status.ABSENT
    assert entry_item.from_item("o", None) == absent("o")


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
def test_a_broken_entry_is_unreadable_with_a_reason(change: dict[str, Any], why: str):
    entry = entry_item.from_item("o", {**STORED, **change})
    assert entry.status is Status.UNREADABLE
    assert entry.unreadable
    assert entry.unreadable.startswith(why)


@pytest.mark.parametrize("text", BROKEN_CONTRIBUTIONS, ids=lambda text: text[:50])
def test_an_entry_with_broken_contributions_is_unreadable(text: str):
    entry = entry_item.from_item("o", {**STORED, "contributions": {"S": text}})
    assert entry.unreadable == "contributions is not a list of contributions."


@pytest.mark.parametrize("attribute", ["revision", "status", "firstSeen", "format"])
def test_an_entry_without_an_attribute_is_unreadable(attribute: str):
    entry = entry_item.from_item("o", {name: value for name, value in STORED.items() if name != attribute})
    assert entry.unreadable
    assert attribute in entry.unreadable


@pytest.mark.parametrize("change", [change for change, _ in BROKEN_ENTRIES.values()], ids=BROKEN_ENTRIES)
def test_an_unreadable_entry_is_rebuilt_from_the_item_and_its_readable_attributes(change: dict[str, Any]):
    unreadable = entry_item.from_item("o", {**STORED, **change})
    rebuilt = ledger.reconcile(unreadable, item("o", "Pen"), STARTED + 100)
    assert (rebuilt.status, rebuilt.ahead_of_stream) == (Status.COUNTED, True)
    assert PEN in rebuilt.contributions
    assert rebuilt.position == ("" if "position" in change else STORED["position"]["S"])
    assert rebuilt.first_seen == (
        timestamps.from_epoch(STARTED + 100) if "firstSeen" in change else STORED["firstSeen"]["S"]
    )
    change_made = ledger.change(unreadable, rebuilt)
    assert change_made is not None
    assert change_made.deltas == {}, "its contributions are unknown"
    assert change_made.after.revision > 1_000_000, "a change planned earlier must conflict"


@pytest.mark.parametrize(
    ("status", "rebuilt"),
    [("counted", False), ("rejected", True), ("cancelled", True), ("archived", False), ("?", False)],
)
def test_an_unreadable_entry_without_an_item_is_cancelled_unless_it_may_be_archived(status: str, rebuilt: bool):
    unreadable = entry_item.from_item("o", {**STORED, "status": {"S": status}, "contributions": {"S": "?"}})
    reconciled = ledger.reconcile(unreadable, None, STARTED)
    assert (reconciled.status is Status.CANCELLED) == rebuilt
    assert (reconciled is unreadable) != rebuilt


# --- The status in the API ------------------------------------------------------------------------


def test_an_order_is_counted_if_its_entry_matches_its_item():
    assert ledger.order_status(INSERTED, item("o")) == {"counted": True}
    assert ledger.order_status(INSERTED, item("o", quantity=6)) == {"counted": False}
    assert ledger.order_status(absent("o"), item("o")) == {"counted": False}
    broken = ledger.order_status(entry_item.from_item("o", {**STORED, "revision": {"S": "x"}}), item("o"))
    assert broken == {
        "counted": False,
        "ledgerProblem": "The ledger entry cannot be read: revision is missing or not a whole number."
        " An audit with repair rebuilds it.",
    }
    assert ledger.order_status(absent("o"), item("o", quantity=0)) == {
        "counted": False,
        "rejected": {"quantity": "must be a whole number from 1 to 1000000000"},
    }
