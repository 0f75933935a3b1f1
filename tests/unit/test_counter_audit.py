"""The audit's second proof, law by law: every counter is the sum of the ledger, whatever is in flight."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import effects, tables, views
from chalicelib.counting import entry_item, ledger
from chalicelib.effects import Scan
from chalicelib.jobs import audit
from chalicelib.jobs.audit import checksums, counter_audit
from chalicelib.jobs.audit.checksums import BucketChecksums, bucket
from chalicelib.jobs.audit.counter_audit import Phase
from chalicelib.views import CounterKey
from tests.doubles import run
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


# --- What is found -------------------------------------------------------------------------------


def test_where_all_adds_up_nothing_is_found():
    shop = example()
    before = shop.state()
    answer = audited(shop)
    assert (found(answer), answer["verdict"], answer["counters"]["checked"]) == (NOTHING, "clean", 4)
    assert shop.state() == before


def test_the_item_that_tells_of_the_streams_lag_is_no_counter():
    shop = example()
    shop.dynamo.tables[tables.TREND][(" ", "freshness")] = {
        "product": {"S": " "},
        "day": {"S": "freshness"},
        "lagSeconds": {"N": "1.5"},
    }
    assert found(audited(shop)) == NOTHING


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
    """One without an order, so that nothing but the counters tells of it."""
    shop.remove("a", expired=True)
    shop.deliver()
    del shop.dynamo.tables[tables.LEDGER][("a",)]


def entry_doubled(shop: OrdersAndStream) -> None:
    """One that claims what no counter holds: of an archived order, so that OrdersTable knows nothing of it."""
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
def test_a_wrong_counter_is_found_with_its_evidence(
    damage: Callable[[OrdersAndStream], None], product: str, stored: dict[str, Any], expected: dict[str, int]
):
    shop = example()
    damage(shop)
    before = shop.state()
    answer = audited(shop)
    (shown,) = answer["counters"]["findings"]
    assert (shown["product"], shown["stored"], shown["expected"]) == (product, stored, expected)
    assert shown["orders"]["count"] == expected.get("orderCount", {"Notebook": 2}.get(product, 0))
    assert (found(answer), answer["verdict"], answer["driftedProducts"]) == ({**NOTHING, "drifted": 1}, "drifted", 1)
    assert shop.state() == before, "read-only"


def test_the_orders_concerned_are_named():
    shop = example()
    too_much(shop)
    (shown,) = audited(shop)["counters"]["findings"]
    assert (shown["orders"]["count"], sorted(shown["orders"]["some"])) == (2, ["a", "b"])
    assert shown["difference"] == {"totalQuantity": 1}


ALL_DAMAGE = [
    too_much, no_whole_number, no_number, revision_is_text, revision_is_no_whole_number, revision_is_too_large,
    amount_of_no_order_is_text, not_there, of_no_order, wrong_hour, entry_lost, entry_doubled,
]  # fmt: skip
NO_NUMBER = [no_number, revision_is_text]


@pytest.mark.parametrize("damage", NO_NUMBER)
def test_a_counter_that_is_no_number_holds_up_only_its_own_orders_and_one_repair_counts_them(
    damage: Callable[[OrdersAndStream], None],
):
    shop = example()
    damage(shop)
    shop.put(item("x"), item("y", "Pen"), item("a", quantity=50))
    shop.deliver()
    assert shop.dynamo.tables[tables.TOTALS]["Pen",]["totalQuantity"] == {"N": "7"}
    assert audited(shop)["verdict"] == "drifted"
    answer = audited(shop, repair=True)
    assert (answer["verdict"], answer["orders"]["uncountable"], answer["orders"]["repaired"]) == ("clean", 0, 2)
    assert totals_only(shop.dynamo.counters()) == totals_only(shop.truth())


def totals_only(counters: dict[Any, dict[str, int]]) -> dict[Any, dict[str, int]]:
    return {key: amounts for key, amounts in counters.items() if key[0] == tables.TOTALS}


def test_a_job_that_stops_between_the_proofs_goes_on_with_the_orders_that_were_refused():
    shop = example()
    no_number(shop)
    shop.put(item("x"))
    shop.deliver()
    event: dict[str, Any] = {"repair": True}
    pieces = 0
    while True:
        work = audit.request(event)
        run(work, shop.dynamo, checkpoints=1)
        answer = work.to_json(0)
        pieces += 1
        if answer["done"]:
            break
        event = {"cursor": answer["cursor"]}
    assert pieces > 5
    assert (answer["verdict"], answer["orders"]["repaired"]) == ("clean", 1)
    assert shop.dynamo.totals()["Notebook"] == (17, 3)


def archive_with_unreadable_entry(shop: OrdersAndStream) -> None:
    shop.remove("a", expired=True)
    shop.deliver()
    shop.entry_item("a")["contributions"] = {"S": "?"}


def test_a_counter_is_neither_drift_nor_mended_while_an_entry_cannot_be_read():
    shop = example()
    archive_with_unreadable_entry(shop)
    shop.counter("Pen")["totalQuantity"] = {"N": "99"}
    before = shop.state()
    answer = audited(shop, repair=True)
    assert found(answer) == {**NOTHING, "unverified": 3}
    assert (answer["verdict"], answer["orders"]["unreadable"]) == ("drifted", 1)
    assert answer["advice"] == audit.ADVICE["not repaired"]
    assert shop.state() == before


def test_a_proof_of_many_counters_also_leaves_them_alone_while_an_entry_cannot_be_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", 50)
    shop = example()
    archive_with_unreadable_entry(shop)
    before = shop.state()
    answer = audited(shop, repair=True)
    assert found(answer) == {**NOTHING, "unverified": 2}
    assert shop.state() == before


@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_what_is_wrong_is_mended_to_the_sum_of_the_ledger_and_looked_at_again(
    damage: Callable[[OrdersAndStream], None],
):
    shop = example()
    damage(shop)
    answer = audited(shop, repair=True)
    figures = answer["counters"]
    assert figures["drifted"] == figures["repaired"] >= 1
    assert answer["verdict"] == "clean"
    assert shop.dynamo.counters() == sums_of_the_ledger(shop)
    assert found(audited(shop)) == NOTHING


def sums_of_the_ledger(shop: OrdersAndStream) -> dict[Any, dict[str, int]]:
    sums: dict[Any, dict[str, int]] = {}
    for (order_id,) in shop.dynamo.tables[tables.LEDGER]:
        for counter, amounts in shop.dynamo.entry(order_id).contributions.items():
            held = sums.setdefault((counter.table, counter.key), {})
            for name, amount in amounts.items():
                held[name] = held.get(name, 0) + amount
    return sums


def test_a_mended_counter_can_be_added_to_like_any_other():
    shop = example()
    no_number(shop)
    audited(shop, repair=True)
    shop.put(item("z", quantity=100))
    shop.deliver()
    assert shop.dynamo.totals()["Notebook"] == (112, 3)
    assert audited(shop)["verdict"] == "clean"


def test_a_correction_shows_like_any_other_change():
    shop = example()
    not_there(shop)
    too_many = shop.counter("Pen")
    too_many["orderCount"] = {"N": "9"}
    revision = int(too_many["revision"]["N"])
    audited(shop, repair=True)
    assert shop.counter("Pen")["revision"] == {"N": str(revision + 1)}
    assert shop.counter("Notebook")["revision"] == {"N": "1"}
    assert shop.counter("Notebook")["updatedAt"]["S"] > "2026"


def test_contributions_to_a_table_without_a_view_are_counted_and_left_alone(monkeypatch: pytest.MonkeyPatch):
    shop = example()
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    shop.dynamo.tables[tables.TREND].clear()
    answer = audited(shop, repair=True)
    assert (found(answer), answer["counters"]["retired"], answer["verdict"]) == (NOTHING, 3, "clean")


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


@pytest.mark.parametrize("damage", [None, too_much, not_there, of_no_order, wrong_hour])
@pytest.mark.parametrize("number", range(60))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_at_any_point_neither_is_drift_nor_hides_it_nor_harms_the_mending(
    change: Callable[[OrdersAndStream], None],
    number: int,
    damage: Callable[[OrdersAndStream], None] | None,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(counter_audit, "PAGE_ITEMS", 2)  # So that there are many points.
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


def test_a_counter_that_never_stops_moving_is_unsettled_and_all_others_are_proven():
    shop = example()
    too_much(shop)
    numbers = iter(range(1_000_000))

    def order(step: effects.Effect) -> None:
        shop.put(item(f"pen{next(numbers)}", "Pen", 1))
        shop.deliver()

    answer = audited(shop, order)
    assert found(answer) == {"drifted": 1, "unverified": 2}
    moving = answer["counters"]["moving"]
    assert {each["product"] for each in moving} == {"Pen"}
    assert all(low <= 0 <= high < 20 for each in moving for low, high in each["between"].values())
    assert [each["product"] for each in answer["counters"]["findings"]] == ["Notebook"]


def test_drift_that_was_seen_before_its_counter_moved_is_told_when_it_is_seen_again():
    shop = example()
    too_much(shop)
    work = audit.request({})
    moved_in = set()

    def order(step: effects.Effect) -> None:
        number = work._counters.number
        if work._counters.phase is Phase.SUM and number % 2 == 0 and number not in moved_in:
            moved_in.add(number)
            shop.put(item(f"pass{number}"))
            shop.deliver()

    run(work, shop.dynamo, before_each=order)
    assert found(work.to_json(0)) == {"drifted": 1, "unverified": 0}


def test_a_transaction_of_which_only_a_part_is_visible_is_no_drift():
    """The counters have it already and the ledger has not, for the time of one pass."""
    shop = example()
    shop.put(item("new"))
    shop.deliver()
    hidden = shop.dynamo.tables[tables.LEDGER]
    work = audit.request({"repair": True})

    def hide(step: effects.Effect) -> None:
        first_pass = work._counters.number == 1 and work._counters.phase is Phase.SUM
        visible = {key: entry for key, entry in hidden.items() if key != ("new",)} if first_pass else hidden
        shop.dynamo.tables[tables.LEDGER] = visible

    run(work, shop.dynamo, before_each=hide)
    assert found(work.to_json(0)) == NOTHING
    assert shop.dynamo.corrections == 0


def test_a_counter_that_moves_just_before_it_is_corrected_is_corrected_in_the_next_pass():
    shop = example()
    too_much(shop)
    orders = iter(["one", "two"])

    def order(step: effects.Effect) -> None:
        if isinstance(step, effects.ConditionalUpdate) and (order_id := next(orders, None)):
            shop.put(item(order_id))
            shop.deliver()

    answer = audited(shop, order, repair=True)
    assert (answer["counters"]["drifted"], answer["counters"]["repaired"]) == (1, 1)
    assert shop.dynamo.corrections == 3
    assert shop.dynamo.counters() == shop.truth()


def test_a_correction_whose_answer_is_lost_and_that_is_made_again_corrects_once():
    shop = example()
    too_much(shop)

    def twice(step: effects.Effect) -> None:
        if isinstance(step, effects.ConditionalUpdate):
            shop.dynamo.update(step)  # As the SDK does; the job gets the answer to its second try.

    answer = audited(shop, twice, repair=True)
    assert (answer["counters"]["repaired"], answer["verdict"]) == (1, "clean")
    assert shop.dynamo.counters() == shop.truth()


# --- Bounds, partitions and cursors ------------------------------------------------------------------


def big_shop(monkeypatch: pytest.MonkeyPatch) -> OrdersAndStream:
    """Forty products, of which five are wrong, two are missing and one is of no order."""
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
    """An audit of which the most that it held is watched."""

    def __init__(self, shop: OrdersAndStream) -> None:
        self.audit = audit.request({})
        self.most_held = 0
        self.scans_of_the_ledger = 0
        run(self.audit, shop.dynamo, before_each=self._watch)

    def _watch(self, step: effects.Effect) -> None:
        sums = self.audit._counters
        self.most_held = max(self.most_held, len(sums._held) + len(sums._open))
        self.scans_of_the_ledger += isinstance(step, Scan) and step.table == tables.LEDGER and step.start is None


@pytest.mark.parametrize("buckets", [1, 8, 4096])
@pytest.mark.parametrize("most_bytes", [800, 3000])
def test_what_is_held_is_bounded_and_everything_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch, most_bytes: int, buckets: int
):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", most_bytes)
    monkeypatch.setattr(checksums, "BUCKETS", buckets)
    watched = Watched(shop)
    answer = watched.audit.to_json(0)
    assert (found(answer), answer["counters"]["checked"]) == ({**NOTHING, "drifted": 8}, 81)
    assert watched.most_held <= most_bytes / 40 + 9


def test_what_the_sieve_lets_through_needs_no_pass_of_its_own(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    watched = Watched(shop)
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", 1500)
    sieved = Watched(shop)
    monkeypatch.setattr(checksums, "BUCKETS", 1)
    sliced = Watched(shop)
    # One for the first proof, two for what is wrong, one for the sieve.
    assert watched.scans_of_the_ledger == 3
    assert sieved.scans_of_the_ledger == 4
    assert sliced.scans_of_the_ledger > 10
    assert sieved.most_held < watched.most_held / 2


@pytest.mark.slow
def test_the_sieve_lets_nothing_through_that_moves(monkeypatch: pytest.MonkeyPatch):
    """Also where one amount goes from one counter of a bucket to another one."""
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", 1500)
    monkeypatch.setattr(checksums, "BUCKETS", 64)
    shop = big_shop(monkeypatch)
    for number in range(0, 60, 2):
        for move in (lambda: shop.put(item("o50", "P51")), lambda: shop.put(item("o50", "P10"))):

            def happen() -> None:
                move()  # noqa: B023 - it is called in this turn of the loop
                shop.deliver()

            answer = audited(shop, at_request(30 + number, happen))
            assert found(answer) == {**NOTHING, "drifted": 8}


def test_every_single_wrong_amount_is_caught_by_the_sieve(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checksums, "BUCKETS", 4)
    for wrong in (1, -1, 2**61 - 2, 10**15, Decimal("0.5"), Decimal("1E+100")):
        screen = BucketChecksums()
        for n in range(50):
            counter = CounterKey(tables.TOTALS, (f"P{n}",))
            screen.add(counter, {"totalQuantity": n + (wrong if n == 7 else 0), "orderCount": 1}, 1)
            screen.add(counter, {"totalQuantity": n, "orderCount": 1}, -1)
        assert screen.open_buckets() == [bucket(CounterKey(tables.TOTALS, ("P7",)))]


P7 = CounterKey(tables.TOTALS, ("P7",))


def test_what_is_no_whole_number_is_caught_by_the_sieve_also_where_nothing_should_be():
    screen = BucketChecksums()
    screen.add(P7, {"totalQuantity": Decimal("0.5")}, 1)
    assert screen.open_buckets() == [bucket(P7)]


def test_wrong_amounts_that_cancel_each_other_are_caught_by_the_sieve(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checksums, "BUCKETS", 1)
    screen = BucketChecksums()
    screen.add(P7, {"totalQuantity": 5, "orderCount": 1}, 1)
    screen.add(P7, {"totalQuantity": 4, "orderCount": 2}, -1)
    assert screen.open_buckets() == [0]


def test_a_counter_that_moves_is_not_let_through_though_its_sum_is_right():
    for begun, ended in ((3, 4), (None, 0), (0, None)):
        screen = BucketChecksums()
        if begun is not None:
            screen.begin(P7, begun)
        if ended is not None:
            screen.end(P7, ended)
        assert screen.open_buckets() == [bucket(P7)]


def test_contributions_without_a_view_are_counted_once_where_there_is_a_sieve(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", 500)
    monkeypatch.delitem(views.VIEWS, tables.TREND)
    assert audited(shop)["counters"]["retired"] == 100
    shop.dynamo.tables[tables.TOTALS].clear()  # So that it takes the ledger to notice that they are too many.
    assert audited(shop)["counters"]["retired"] == 100


def test_counters_that_are_all_missing_are_held_in_partitions_too(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", 800)
    shop.dynamo.tables[tables.TOTALS].clear()
    answer = audited(shop, repair=True)
    assert (answer["counters"]["drifted"], answer["counters"]["repaired"]) == (40, 40)
    assert shop.dynamo.counters() == shop.truth()


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("most_bytes", [1500, 1_000_000])
def test_an_audit_goes_on_from_its_cursor_wherever_it_was_left(
    monkeypatch: pytest.MonkeyPatch, repair: bool, most_bytes: int
):
    monkeypatch.setattr(checksums, "BUCKETS", 64)
    whole, parts = big_shop(monkeypatch), big_shop(monkeypatch)
    monkeypatch.setattr(counter_audit, "HELD_MAX_BYTES", most_bytes)
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
    assert parts.state() == whole.state() or repair  # Corrections are stamped at other times.
    assert parts.dynamo.counters() == whole.dynamo.counters()


@pytest.mark.slow
def test_cursor_and_answer_stay_far_below_what_lambda_takes(monkeypatch: pytest.MonkeyPatch):
    """At the most that is held of counters with the longest names, each of them wrong."""
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
    assert 1_000_000 < largest < 4_000_000


def hash_like(n: int) -> str:
    """1,020 letters that do not compress well."""
    return "".join(hashlib.sha512(f"{n} {part}".encode()).hexdigest() for part in range(8))[:1020]


# --- Anything at all -----------------------------------------------------------------------------

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
def test_whatever_is_wrong_and_whatever_happens_meanwhile_it_ends_clean(
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
    answer = audited(shop, repair=True)  # What a change has kept the first from settling.
    assert answer["verdict"] == "clean"
    assert shop.dynamo.counters() == {key: amounts for key, amounts in sums_of_the_ledger(shop).items() if amounts}
    assert {o: shop.dynamo.entry(o).contributions != {} for o in shop.stream.items} == {
        o: image["Product"]["S"] != "" and image["Quantity"]["N"] != "0" for o, image in shop.stream.items.items()
    }
    before_last = shop.state()
    last = audited(shop, repair=True)
    assert (last["verdict"], last["orders"]["repaired"], last["counters"]["repaired"]) == ("clean", 0, 0)
    assert shop.state() == before_last
