"""Tests for the counter audit: findings, repairs, live traffic, bounded memory, and resuming from a cursor."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import effects, tables, views
from chalicelib.amounts import Amount
from chalicelib.counting import entry_item, ledger
from chalicelib.effects import Scan
from chalicelib.jobs import audit
from chalicelib.jobs.audit import checksums, counter_audit
from chalicelib.jobs.audit.checksums import BucketChecksums, bucket
from chalicelib.views import CounterKey
from tests.doubles import NOW, run
from tests.orders_and_stream import OrdersAndStream, example
from tests.streams import item

Hook = Callable[[effects.Effect], None]


def audited(shop: OrdersAndStream, before_each: Hook | None = None, **options: Any) -> dict[str, Any]:
    work = audit.request(options)
    run(work, shop.dynamo, before_each=before_each)
    answer = work.to_json(0)
    assert answer["done"]
    return answer


def found(answer: dict[str, Any]) -> dict[str, int]:
    return {name: answer["counters"][name] for name in ("drifted", "unverified")}


NOTHING = {"drifted": 0, "unverified": 0}


def day_of(shop: OrdersAndStream, product: str) -> str:
    return next(day for of, day in shop.dynamo.tables[tables.TREND] if of == product)


# --- Findings and repairs -------------------------------------------------------------------------------


def test_a_correct_table_is_clean_and_unchanged():
    shop = example()
    before = shop.state()
    answer = audited(shop)
    assert (found(answer), answer["verdict"], answer["counters"]["checked"]) == (NOTHING, "clean", 4)
    assert shop.state() == before


def too_much(shop: OrdersAndStream) -> None:
    shop.counter("Notebook")["totalQuantity"] = {"N": "13"}


def no_whole_number(shop: OrdersAndStream) -> None:
    shop.counter("Notebook")["totalQuantity"] = {"N": "12.5"}


def no_number(shop: OrdersAndStream) -> None:
    shop.counter("Notebook")["totalQuantity"] = {"S": "12"}


def revision_is_text(shop: OrdersAndStream) -> None:
    shop.counter("Notebook")["revision"] = {"S": "two"}


def revision_is_no_whole_number(shop: OrdersAndStream) -> None:
    too_much(shop)
    shop.counter("Notebook")["revision"] = {"N": "1.5"}


def revision_is_too_large(shop: OrdersAndStream) -> None:
    too_much(shop)
    shop.counter("Notebook")["revision"] = {"N": "9" * 38}


def amount_of_no_order_is_text(shop: OrdersAndStream) -> None:
    shop.counter("Notebook")["somethingElse"] = {"S": "12"}


def not_there(shop: OrdersAndStream) -> None:
    del shop.dynamo.tables[tables.TOTALS][("Notebook",)]


def of_no_order(shop: OrdersAndStream) -> None:
    shop.dynamo.tables[tables.TOTALS][("Ghost",)] = {"product": {"S": "Ghost"}, "totalQuantity": {"N": "4"}}


def wrong_hour(shop: OrdersAndStream) -> None:
    counter = shop.counter("Notebook", day_of(shop, "Notebook"))
    hour = next(name for name in counter if name.startswith("h"))
    counter["h23" if hour != "h23" else "h22"] = counter.pop(hour)


def entry_lost(shop: OrdersAndStream) -> None:
    """Delete the entry of an archived order, so that only the counters are wrong."""
    shop.remove("a", expired=True)
    shop.deliver()
    del shop.dynamo.tables[tables.LEDGER][("a",)]


def entry_doubled(shop: OrdersAndStream) -> None:
    """Add an entry whose contributions no counter has. Its status is archived, so it needs no order."""
    contributions = {CounterKey(tables.TOTALS, ("Pen",)): {"totalQuantity": 1, "orderCount": 1}}
    shop.dynamo.tables[tables.LEDGER][("x",)] = entry_item.to_item(
        ledger.Entry("x", 1, "v", ledger.Status.ARCHIVED, "2026-11-23T00:00:00Z", contributions)
    )


STORED_EXPECTED: list[tuple[Callable[[OrdersAndStream], None], str, dict[str, Any], dict[str, int]]] = [
    (too_much, "Notebook", {"totalQuantity": 13}, {"totalQuantity": 12}),
    (no_whole_number, "Notebook", {"totalQuantity": "12.5"}, {"totalQuantity": 12}),
    (no_number, "Notebook", {"totalQuantity": "not a number"}, {"totalQuantity": 12}),
    (not_there, "Notebook", {"totalQuantity": 0, "orderCount": 0}, {"totalQuantity": 12, "orderCount": 2}),
    (of_no_order, "Ghost", {"totalQuantity": 4}, {"totalQuantity": 0}),
    (entry_doubled, "Pen", {"totalQuantity": 2, "orderCount": 1}, {"totalQuantity": 3, "orderCount": 2}),
]


@pytest.mark.parametrize(
    ("damage", "product", "stored", "expected"), STORED_EXPECTED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_wrong_counter_is_reported_with_stored_and_expected_amounts(
    damage: Callable[[OrdersAndStream], None], product: str, stored: dict[str, Any], expected: dict[str, int]
):
    shop = example()
    damage(shop)
    before = shop.state()
    answer = audited(shop)
    (shown,) = answer["counters"]["findings"]
    assert (shown["product"], shown["stored"], shown["expected"]) == (product, stored, expected)
    assert (found(answer), answer["verdict"], answer["driftedProducts"]) == ({**NOTHING, "drifted": 1}, "drifted", 1)
    assert shop.state() == before, "read-only"


ALL_DAMAGE = [
    too_much, no_whole_number, no_number, revision_is_text, revision_is_no_whole_number, revision_is_too_large,
    amount_of_no_order_is_text, not_there, of_no_order, wrong_hour, entry_lost, entry_doubled,
]  # fmt: skip
NO_NUMBER = [no_number, revision_is_text]


@pytest.mark.parametrize("damage", NO_NUMBER)
def test_a_repair_fixes_a_damaged_counter_and_the_next_one_counts_the_orders_that_it_blocked(
    damage: Callable[[OrdersAndStream], None],
):
    shop = example()
    damage(shop)
    shop.put(item("x"), item("y", "Pen"), item("a", quantity=50))
    shop.deliver()
    assert shop.dynamo.tables[tables.TOTALS]["Pen",]["totalQuantity"] == {"N": "7"}
    assert audited(shop)["verdict"] == "drifted"
    first, second = audited(shop, repair=True), audited(shop, repair=True)
    assert (first["verdict"], first["orders"]["uncountable"], first["counters"]["repaired"]) == ("drifted", 2, 1)
    assert (second["verdict"], second["orders"]["uncountable"], second["orders"]["repaired"]) == ("clean", 0, 2)
    assert totals_only(shop.dynamo.counters()) == totals_only(shop.truth())


def totals_only(counters: dict[Any, dict[str, int]]) -> dict[Any, dict[str, int]]:
    return {key: amounts for key, amounts in counters.items() if key[0] == tables.TOTALS}


def archive_with_unreadable_entry(shop: OrdersAndStream) -> None:
    shop.remove("a", expired=True)
    shop.deliver()
    shop.entry_item("a")["contributions"] = {"S": "?"}


def test_wrong_counters_are_unverified_and_not_repaired_while_an_entry_is_unreadable():
    shop = example()
    archive_with_unreadable_entry(shop)
    shop.counter("Pen")["totalQuantity"] = {"N": "99"}
    before = shop.state()
    answer = audited(shop, repair=True)
    assert found(answer) == {**NOTHING, "unverified": 3}
    assert (answer["verdict"], answer["orders"]["unreadable"]) == ("drifted", 1)
    assert shop.state() == before


def test_an_entry_that_becomes_readable_again_no_longer_hides_drift():
    shop = example()
    contributions = shop.entry_item("a")["contributions"]
    archive_with_unreadable_entry(shop)
    shop.counter("Pen")["totalQuantity"] = {"N": "99"}
    work = audit.request({})

    def restore(step: effects.Effect) -> None:
        if work.counters.number == 2:
            shop.entry_item("a")["contributions"] = contributions

    run(work, shop.dynamo, before_each=restore)
    assert found(work.to_json(0)) == {**NOTHING, "drifted": 1}


def test_an_unreadable_entry_blocks_repairs_in_every_round(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", 50)
    shop = example()
    archive_with_unreadable_entry(shop)
    before = shop.state()
    answer = audited(shop, repair=True)
    assert found(answer) == {**NOTHING, "unverified": 2}
    assert shop.state() == before


@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_a_repair_sets_a_counter_to_the_sum_of_the_ledger(damage: Callable[[OrdersAndStream], None]):
    shop = example()
    damage(shop)
    answer = audited(shop, repair=True)
    figures = answer["counters"]
    assert figures["drifted"] == figures["repaired"] >= 1
    assert answer["verdict"] == "clean"
    assert shop.dynamo.counters() == sums_of_the_ledger(shop)
    assert found(audited(shop)) == NOTHING


def sums_of_the_ledger(shop: OrdersAndStream) -> dict[Any, dict[str, Amount]]:
    sums: dict[Any, dict[str, Amount]] = {}
    for (order_id,) in shop.dynamo.tables[tables.LEDGER]:
        for counter, amounts in shop.dynamo.entry(order_id).contributions.items():
            held = sums.setdefault((counter.table, counter.key), {})
            for name, amount in amounts.items():
                held[name] = held.get(name, 0) + amount
    return sums


def test_a_repaired_counter_can_be_added_to():
    shop = example()
    no_number(shop)
    audited(shop, repair=True)
    shop.put(item("z", quantity=100))
    shop.deliver()
    assert shop.dynamo.totals()["Notebook"] == (112, 3)
    assert audited(shop)["verdict"] == "clean"


def test_a_repair_changes_the_revision_and_the_time_stamp():
    shop = example()
    not_there(shop)
    too_many = shop.counter("Pen")
    too_many["orderCount"] = {"N": "9"}
    revision = int(too_many["revision"]["N"])
    audited(shop, repair=True)
    assert shop.counter("Pen")["revision"] == {"N": str(revision + 1)}
    assert int(shop.counter("Notebook")["revision"]["N"]) >= NOW
    assert shop.counter("Notebook")["updatedAt"]["S"] > "2026"


def test_contributions_to_a_table_without_a_view_are_ignored(monkeypatch: pytest.MonkeyPatch):
    shop = example()
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    shop.dynamo.tables[tables.TREND].clear()
    before = shop.state()
    answer = audited(shop, repair=True)
    assert (found(answer), answer["verdict"]) == (NOTHING, "clean")
    too_much(shop)  # Drift makes the audit start a round, which reads the ledger again.
    answer = audited(shop, repair=True)
    assert (found(answer), answer["verdict"]) == ({**NOTHING, "drifted": 1}, "clean")
    assert shop.state()[tables.LEDGER] == before[tables.LEDGER]
    assert not shop.state()[tables.TREND]


# --- Changes in flight ---------------------------------------------------------------------------

CHANGES: dict[str, Callable[[OrdersAndStream], None]] = {
    "placed": lambda shop: shop.put(item("new", "Pen")),
    "amended": lambda shop: shop.put(item("a", quantity=8)),
    "moved": lambda shop: shop.put(item("a", "Pen", 8)),
    "moved and back": lambda shop: there_and_back(shop),
    "cancelled": lambda shop: shop.remove("a"),
    "a new product": lambda shop: shop.put(item("new", "Étui")),
}


def there_and_back(shop: OrdersAndStream) -> None:
    shop.put(item("a", "Pen"))
    shop.deliver()
    shop.put(item("a"))


def at_request(number: int, do: Callable[[], None]) -> Hook:
    count = iter(range(1_000_000))

    def hook(step: effects.Effect) -> None:
        if next(count) == number:
            do()

    return hook


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, too_much, not_there, of_no_order, wrong_hour])
@pytest.mark.parametrize("number", range(60))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_order_that_changes_at_any_moment_is_not_drift_and_hides_none(
    change: Callable[[OrdersAndStream], None],
    number: int,
    damage: Callable[[OrdersAndStream], None] | None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(counter_audit, "PAGE_ITEMS", 2)  # Small pages make many points at which the order can change.
    shop = example()
    if damage:
        damage(shop)

    def happen() -> None:
        change(shop)
        shop.deliver()

    answer = audited(shop, at_request(number, happen), repair=True)
    assert answer["verdict"] == "clean"
    assert answer["counters"]["unverified"] == 0
    assert answer["counters"]["drifted"] == (damage is not None)
    shop.deliver()
    assert shop.dynamo.counters() == shop.truth()


def test_a_counter_that_always_changes_is_unverified_and_the_others_are_audited():
    shop = example()
    too_much(shop)
    numbers = iter(range(1_000_000))

    def order(step: effects.Effect) -> None:
        shop.put(item(f"pen{next(numbers)}", "Pen", 1))
        shop.deliver()

    answer = audited(shop, order)
    assert found(answer) == {"drifted": 1, "unverified": 2}
    assert [each["product"] for each in answer["counters"]["findings"]] == ["Notebook"]


def test_drift_that_is_found_twice_is_reported_although_the_counter_changed_in_between():
    shop = example()
    too_much(shop)
    work = audit.request({})
    moved_in = set()

    def order(step: effects.Effect) -> None:
        number = work.counters.number
        if work.counters.table == tables.LEDGER and number in (1, 3) and number not in moved_in:
            moved_in.add(number)
            shop.put(item(f"pass{number}"))
            shop.deliver()

    run(work, shop.dynamo, before_each=order)
    assert found(work.to_json(0)) == {"drifted": 1, "unverified": 0}


@pytest.mark.parametrize("hidden", [{1: "new"}, {2: "new"}, {1: "new", 2: "other"}, {1: "new", 2: "other", 3: "new"}])
def test_a_partly_visible_transaction_is_not_drift(hidden: dict[int, str]):
    """In some passes, the counters include an order that the ledger does not show yet."""
    shop = example()
    shop.put(item("new"), item("other", quantity=9))
    shop.deliver()
    entries = shop.dynamo.tables[tables.LEDGER]
    work = audit.request({"repair": True})

    def hide(step: effects.Effect) -> None:
        order_id = hidden.get(work.counters.number) if work.counters.table == tables.LEDGER else None
        shop.dynamo.tables[tables.LEDGER] = {key: entry for key, entry in entries.items() if key != (order_id,)}

    run(work, shop.dynamo, before_each=hide)
    assert found(work.to_json(0)) == NOTHING
    assert shop.dynamo.corrections == 0


def test_a_counter_that_changes_just_before_its_repair_is_repaired_after_the_next_pass():
    shop = example()
    too_much(shop)
    orders = iter(["one", "two"])
    steps: list[effects.Effect] = []
    after_repairs = []

    def order(step: effects.Effect) -> None:
        if steps and isinstance(steps[-1], effects.ConditionalUpdate):
            after_repairs.append(shop.dynamo.totals()["Notebook"][0])
        if isinstance(step, effects.ConditionalUpdate) and (order_id := next(orders, None)):
            shop.put(item(order_id))
            shop.deliver()
        steps.append(step)

    answer = audited(shop, order, repair=True)
    assert (answer["counters"]["drifted"], answer["counters"]["repaired"]) == (1, 1)
    assert after_repairs == [18, 23, 22]  # Two repairs fail, because a new order, which adds 5, is counted before each.
    assert shop.dynamo.counters() == shop.truth()


def test_a_repair_that_the_sdk_sends_twice_repairs_once():
    shop = example()
    too_much(shop)

    def twice(step: effects.Effect) -> None:
        if isinstance(step, effects.ConditionalUpdate):
            shop.dynamo.update(step)  # The first request's response is lost. The SDK sends it again.

    answer = audited(shop, twice, repair=True)
    assert (answer["counters"]["repaired"], answer["verdict"]) == (1, "clean")
    assert shop.dynamo.counters() == shop.truth()


# --- Bounds, partitions and cursors ------------------------------------------------------------------


def big_shop(monkeypatch: pytest.MonkeyPatch) -> OrdersAndStream:
    """Return a shop with 40 products. Five totals are wrong, two are missing, and one has no orders."""
    monkeypatch.setattr(counter_audit, "PAGE_ITEMS", 9)
    shop = OrdersAndStream()
    shop.put(*(item(f"o{n}", f"P{n % 40}") for n in range(100)))
    shop.deliver()
    for n in range(5):
        shop.counter(f"P{n}")["orderCount"] = {"N": "77"}
    for n in (10, 11):
        del shop.dynamo.tables[tables.TOTALS][(f"P{n}",)]
    of_no_order(shop)
    return shop


class Watched:
    """Run an audit. Record the most counters that it tracked at once, and how often it scanned the ledger."""

    def __init__(self, shop: OrdersAndStream) -> None:
        self.audit = audit.request({})
        self.most_held = 0
        self.scans_of_the_ledger = 0
        run(self.audit, shop.dynamo, before_each=self._watch)

    def _watch(self, step: effects.Effect) -> None:
        sums = self.audit.counters
        self.most_held = max(self.most_held, len(sums.tracked))
        self.scans_of_the_ledger += isinstance(step, Scan) and step.table == tables.LEDGER and step.start is None


@pytest.mark.parametrize("buckets", [8, 64, 4096])
@pytest.mark.parametrize("most_bytes", [800, 3000])
def test_memory_is_bounded_and_everything_is_found(monkeypatch: pytest.MonkeyPatch, most_bytes: int, buckets: int):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", most_bytes)
    monkeypatch.setattr(checksums, "BUCKETS", buckets)
    watched = Watched(shop)
    answer = watched.audit.to_json(0)
    assert (found(answer), answer["counters"]["checked"]) == ({**NOTHING, "drifted": 8}, 81)
    per_bucket = 81 / buckets + 9
    assert watched.most_held <= max(most_bytes / 105, per_bucket)


def test_a_single_bucket_that_exceeds_the_memory_is_still_audited(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", 800)
    monkeypatch.setattr(checksums, "BUCKETS", 1)
    assert found(audited(shop, repair=True)) == {**NOTHING, "drifted": 8}
    assert shop.dynamo.counters() == shop.truth()


def test_the_ledger_is_read_once_for_checksums_and_twice_in_a_round_to_confirm_drift(monkeypatch: pytest.MonkeyPatch):
    clean = Watched(example())
    shop = big_shop(monkeypatch)
    drifted = Watched(shop)
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", 500)
    in_rounds = Watched(shop)
    assert clean.scans_of_the_ledger == 2  # The entry audit takes one scan, the checksums one.
    assert drifted.scans_of_the_ledger == 4  # Counters of flagged buckets take two more.
    assert in_rounds.scans_of_the_ledger in (6, 8, 10)
    assert in_rounds.most_held <= drifted.most_held / 2


@pytest.mark.slow
def test_checksums_flag_every_bucket_with_a_change(monkeypatch: pytest.MonkeyPatch):
    """An order moves to another product, in another bucket or in the same one."""
    monkeypatch.setattr(checksums, "BUCKETS", 64)
    shop = big_shop(monkeypatch)
    for number in range(0, 60, 2):
        for move in (lambda: shop.put(item("o50", "P51")), lambda: shop.put(item("o50", "P10"))):

            def happen() -> None:
                move()  # noqa: B023 (It is called only within this iteration.)
                shop.deliver()

            answer = audited(shop, at_request(30 + number, happen))
            assert found(answer) == {**NOTHING, "drifted": 8}


def flagged_after(*added: tuple[CounterKey, dict[str, int], int]) -> list[int]:
    sums = BucketChecksums()
    for each in added:
        sums.add(*each)
    return sums.flagged(checksums.BUCKETS)


def test_checksums_flag_every_single_wrong_amount(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checksums, "BUCKETS", 4)
    for wrong in (1, -1, 2**61 - 2, 10**15):
        stored = [(total(n), {"totalQuantity": n + (wrong if n == 7 else 0), "orderCount": 1}, 1) for n in range(50)]
        contributed = [(total(n), {"totalQuantity": n, "orderCount": 1}, -1) for n in range(50)]
        assert flagged_after(*stored, *contributed) == [bucket(total(7))]
        assert flagged_after(*stored[8:], *contributed[8:]) == []


def total(n: int) -> CounterKey:
    return CounterKey(tables.TOTALS, (f"P{n}",))


def test_checksums_flag_wrong_amounts_of_one_counter_that_add_up_to_nothing():
    stored = total(7), {"totalQuantity": 5, "orderCount": 1}, 1
    assert flagged_after(stored, (total(7), {"totalQuantity": 4, "orderCount": 2}, -1)) == [bucket(total(7))]


def test_checksums_flag_wrong_amounts_of_two_counters_that_add_up_to_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checksums, "BUCKETS", 1)
    assert flagged_after((total(7), {"totalQuantity": 1}, 1), (total(8), {"totalQuantity": 1}, -1)) == [0]


def test_a_counter_that_changes_in_the_first_pass_is_checked_again(monkeypatch: pytest.MonkeyPatch):
    """One order replaces another with the same quantity, so only the counter's revision changes."""
    shop = OrdersAndStream()
    shop.put(item("a"), item("b", "Pen"))
    shop.deliver()
    work = audit.request({})
    moved: list[bool] = []

    def move(step: effects.Effect) -> None:
        if work.counters.table == tables.LEDGER and not moved:
            moved.append(True)
            shop.put(item("c"))
            shop.remove("a")
            shop.deliver()

    run(work, shop.dynamo, before_each=move)
    assert found(work.to_json(0)) == NOTHING
    assert work.counters.number == 2


def test_counters_that_are_all_missing_are_repaired_in_rounds(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", 1000)
    shop.dynamo.tables[tables.TOTALS].clear()
    answer = audited(shop, repair=True)
    assert (answer["counters"]["drifted"], answer["counters"]["repaired"]) == (40, 40)
    assert shop.dynamo.counters() == shop.truth()


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("most_bytes", [500, 1_000_000])
def test_an_audit_continues_from_its_cursor_at_every_checkpoint(
    monkeypatch: pytest.MonkeyPatch, repair: bool, most_bytes: int
):
    monkeypatch.setattr(checksums, "BUCKETS", 64)
    whole, parts = big_shop(monkeypatch), big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "TRACKED_MAX_BYTES", most_bytes)
    expected = audited(whole, repair=repair)
    event: dict[str, Any] = {"repair": repair}
    for _ in range(10_000):
        work = audit.request(event)
        run(work, parts.dynamo, checkpoints=1)
        answer = work.to_json(0)
        if answer["done"]:
            break
        event = {"cursor": answer["cursor"]}
    assert answer == expected
    assert parts.state() == whole.state() or repair  # Repairs write the current time, which differs.
    assert parts.dynamo.counters() == whole.dynamo.counters()


@pytest.mark.slow
def test_a_cursor_stays_far_below_what_lambda_accepts(monkeypatch: pytest.MonkeyPatch):
    """All counters are wrong and have the longest possible names."""
    shop = OrdersAndStream()
    shop.dynamo.tables[tables.TOTALS] = {
        (name,): {"product": {"S": name}, "totalQuantity": {"N": "1"}}
        for name in (f"{n:04}" + hash_like(n) for n in range(3000))
    }
    monkeypatch.setattr(counter_audit, "PAGE_ITEMS", 500)
    largest = 0
    event: dict[str, Any] = {}
    for _ in range(10_000):
        work = audit.request(event)
        run(work, shop.dynamo, checkpoints=3)
        answer = work.to_json(0)
        largest = max(largest, len(answer["cursor"] or ""))
        if answer["done"]:
            break
        event = {"cursor": answer["cursor"]}
    assert answer["counters"]["drifted"] == 3000
    assert 500_000 < largest < 1_500_000


@pytest.mark.parametrize("table", [tables.TOTALS, tables.TREND])
def test_a_full_cursor_of_usual_counters_fits_into_an_item_of_dynamodb(table: str):
    """The cursor has the most counters that a round tracks, and a checksum for every bucket."""
    work = audit.request({})
    state = work.counters
    for at in range(checksums.BUCKETS):
        state.checksums.add(CounterKey(tables.TOTALS, (f"{at}",)), {"totalQuantity": 1})
    n = size = 0
    while size < counter_audit.TRACKED_MAX_BYTES:
        n += 1
        key = (f"Product {n}",) if table == tables.TOTALS else (f"Product {n}", "2026-11-23")
        names = ["totalQuantity", "orderCount"] if table == tables.TOTALS else [f"h{hour:02}" for hour in range(24)]
        residual: dict[str, Amount] = dict.fromkeys(names, 0 if n % 2 else n % 97)
        stored: dict[str, Amount] = {name: n * 1000 + amount for name, amount in residual.items()}
        wrong = {name: amount for name, amount in residual.items() if amount}
        expected: dict[str, Amount] = dict.fromkeys(names, n * 1000)
        tracked = counter_audit.TrackedCounter(f"{n * 7}", expected, stored, f"{n * 7}", wrong)
        state.tracked[CounterKey(table, key)] = tracked
        size += counter_audit._bytes(CounterKey(table, key), tracked)
    cursor = work.to_json(0)["cursor"]
    assert 150_000 < len(cursor) < 400_000
    assert audit.request({"cursor": cursor}) == work


def hash_like(n: int) -> str:
    """Return 1,020 letters that do not compress well."""
    return "".join(hashlib.sha512(f"{n} {part}".encode()).hexdigest() for part in range(8))[:1020]


# --- Random damage and traffic -------------------------------------------------------------------

PRODUCTS = st.sampled_from(["Notebook", "Pen", "Étui"])
ORDER_IDS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("put"), st.builds(item, ORDER_IDS, PRODUCTS | st.just(""), st.sampled_from([1, 5, 0]))),
    st.tuples(st.just("remove"), ORDER_IDS),
    st.tuples(st.just("deliver"), st.none()),
)
DAMAGE = st.one_of(
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("entry"), ORDER_IDS),
    st.tuples(st.just("counter"), st.tuples(st.sampled_from([tables.TOTALS, tables.TREND]), st.integers(0, 9))),
    st.tuples(st.just("no counter"), st.tuples(st.sampled_from([tables.TOTALS, tables.TREND]), st.integers(0, 9))),
    st.tuples(st.just("ghost"), PRODUCTS),
)


def do(shop: OrdersAndStream, step: tuple[str, Any]) -> None:
    action, what = step
    match action:
        case "put":
            shop.put(what)
        case "remove":
            shop.remove(what)
        case "deliver":
            shop.deliver()
        case "lose":
            shop.lose()
        case "entry":
            shop.dynamo.tables[tables.LEDGER].pop((what,), None)
        case "ghost":
            shop.dynamo.tables[tables.TREND][(what, "1999-01-01")] = {
                **effects.key(tables.TREND, (what, "1999-01-01")),
                "total": {"N": "3"},
            }
        case _:
            table, index = what
            keys = sorted(shop.dynamo.tables[table])
            if keys and action == "no counter":
                del shop.dynamo.tables[table][keys[index % len(keys)]]
            elif keys:
                shop.dynamo.tables[table][keys[index % len(keys)]]["total"] = {"N": "1000"}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEPS, max_size=10),
    st.lists(DAMAGE, max_size=4),
    st.lists(st.tuples(st.integers(0, 60), STEPS), max_size=4),
)
def test_any_damage_is_repaired_during_any_traffic(
    before: list[Any], damage: list[Any], meanwhile: list[tuple[int, Any]]
):
    shop = OrdersAndStream()
    for step in [*before, *damage]:
        do(shop, step)
    number = iter(range(1_000_000))

    def happen(request: effects.Effect) -> None:
        now = next(number)
        for at, step in meanwhile:
            if at == now:
                do(shop, step)
        if isinstance(request, effects.Sleep) and request.seconds:
            shop.deliver()

    audited(shop, happen, repair=True)
    shop.deliver()
    answer = audited(shop, repair=True)  # Traffic may have prevented repairs in the first audit.
    assert answer["verdict"] == "clean"
    assert shop.dynamo.counters() == {key: amounts for key, amounts in sums_of_the_ledger(shop).items() if amounts}
    assert {o: shop.dynamo.entry(o).contributions != {} for o in shop.stream.items} == {
        o: image["Product"]["S"] != "" and image["Quantity"]["N"] != "0" for o, image in shop.stream.items.items()
    }
    before_last = shop.state()
    last = audited(shop, repair=True)
    assert (last["verdict"], last["orders"]["repaired"], last["counters"]["repaired"]) == ("clean", 0, 0)
    assert shop.state() == before_last
