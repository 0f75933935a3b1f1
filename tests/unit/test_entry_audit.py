"""Tests for the entry audit: findings, repairs, live traffic, bounded memory, and resuming from a cursor."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chalicelib import effects, stream_lag, tables, timestamps
from chalicelib.counting import entry_item
from chalicelib.counting.ledger import Status
from chalicelib.jobs import audit, backfill
from chalicelib.jobs.audit import entry_audit, findings
from chalicelib.jobs.audit.findings import Findings
from chalicelib.views import CounterKey
from tests.doubles import FakeDynamoDB, run
from tests.orders_and_stream import OrdersAndStream, example, is_wait
from tests.streams import item

Hook = Callable[[effects.Effect], None]


def audited(shop: OrdersAndStream, before_each: Hook | None = None, **options: Any) -> dict[str, Any]:
    work = audit.request(options)
    run(work, shop.dynamo, before_each=before_each)
    answer = work.to_json(0)
    assert answer["done"]
    return answer


def found(answer: dict[str, Any]) -> dict[str, int]:
    return {name: answer["orders"][name] for name in NOTHING}


NOTHING = {"missing": 0, "differing": 0, "orphaned": 0, "unreadable": 0, "inFlight": 0}


# --- Findings and repairs -------------------------------------------------------------------------------


def test_a_correct_ledger_is_clean_without_waiting():
    shop = example()
    before, started = shop.state(), shop.dynamo.now
    answer = audited(shop)
    assert (found(answer), answer["verdict"], answer["driftedProducts"]) == (NOTHING, "clean", 0)
    assert (answer["orders"]["checked"], answer["orders"]["entries"]) == (4, 5)
    assert (shop.state(), shop.dynamo.now) == (before, started)


def lose_an_order(shop: OrdersAndStream) -> None:
    shop.put(item("lost", "Pen"))
    shop.lose()


def lose_an_amendment(shop: OrdersAndStream) -> None:
    shop.put(item("a", "Pen", 9))
    shop.lose()


def lose_a_cancellation(shop: OrdersAndStream) -> None:
    shop.remove("a")
    shop.lose()


def lose_a_rejection(shop: OrdersAndStream) -> None:
    shop.put(item("a", quantity=-1))
    shop.lose()


def delete_an_entry(shop: OrdersAndStream) -> None:
    del shop.dynamo.tables[tables.LEDGER][("a",)]


def move_to_another_hour(shop: OrdersAndStream) -> None:
    change_contributions(shop, "a", lambda name: {"h01": "h02"}.get(name, name))


def leave_something_with_a_cancelled_order(shop: OrdersAndStream) -> None:
    entry = shop.dynamo.entry("d")._replace(contributions={CounterKey("AggregateTable", ("Pen",)): {"orderCount": 1}})
    shop.dynamo.tables[tables.LEDGER][("d",)] = entry_item.to_item(entry)


def change_contributions(shop: OrdersAndStream, order_id: str, rename: Callable[[str], str]) -> None:
    entry = shop.dynamo.entry(order_id)
    moved = {
        counter: {f"h{(int(name[1:]) + 1) % 24:02}" if name[0] == "h" else name: n for name, n in amounts.items()}
        for counter, amounts in entry.contributions.items()
    }
    shop.dynamo.tables[tables.LEDGER][(order_id,)] = entry_item.to_item(entry._replace(contributions=moved))


def break_an_entry(shop: OrdersAndStream) -> None:
    del shop.entry_item("a")["firstSeen"]


def break_the_contributions_of_an_entry(shop: OrdersAndStream) -> None:
    shop.entry_item("a")["contributions"] = {"S": "[[]]"}


def break_the_revision_of_an_entry(shop: OrdersAndStream) -> None:
    shop.entry_item("a")["revision"] = {"S": "one"}


def write_an_entry_of_a_later_version(shop: OrdersAndStream) -> None:
    shop.entry_item("a")["format"] = {"N": "2"}


def break_the_entry_of_a_cancelled_order(shop: OrdersAndStream) -> None:
    shop.entry_item("d")["expiresAt"] = {"S": "soon"}


def break_the_entry_of_an_order_that_was_amended_unseen(shop: OrdersAndStream) -> None:
    shop.put(item("a", "Pen", 9))
    shop.lose()
    del shop.entry_item("a")["revision"]


DAMAGE = [
    (break_an_entry, "unreadable", "a", "counted"),
    (break_the_contributions_of_an_entry, "unreadable", "a", "counted"),
    (break_the_revision_of_an_entry, "unreadable", "a", "counted"),
    (write_an_entry_of_a_later_version, "unreadable", "a", "counted"),
    (break_the_entry_of_a_cancelled_order, "unreadable", "d", "cancelled"),
    (break_the_entry_of_an_order_that_was_amended_unseen, "unreadable", "a", "counted"),
    (lose_an_order, "missing", "lost", "counted"),
    (delete_an_entry, "missing", "a", "counted"),
    (lose_an_amendment, "differing", "a", "counted"),
    (lose_a_rejection, "differing", "a", "rejected"),
    (move_to_another_hour, "differing", "a", "counted"),
    (lose_a_cancellation, "orphaned", "a", "cancelled"),
    (leave_something_with_a_cancelled_order, "orphaned", "d", "cancelled"),
]


@pytest.mark.parametrize(
    ("damage", "finding", "order_id", "status"), DAMAGE, ids=lambda value: getattr(value, "__name__", "")
)
def test_drift_is_reported_with_details_after_the_grace_period(
    damage: Callable[[OrdersAndStream], None], finding: str, order_id: str, status: str
):
    shop = example()
    damage(shop)
    before, started = shop.state(), shop.dynamo.now
    answer = audited(shop, gracePeriodSeconds=20)
    assert found(answer) == {**NOTHING, finding: 1}
    (shown,) = answer["orders"]["findings"]
    assert (shown["orderId"], shown["finding"], shown["expected"]["status"]) == (order_id, finding, status)
    assert answer["verdict"] == "drifted"
    assert answer["driftedProducts"] >= 1
    assert shop.state() == before, "read-only"
    assert shop.dynamo.now >= started + 20


@pytest.mark.parametrize(
    ("damage", "finding", "order_id", "status"), DAMAGE, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_repair_counts_exactly_what_the_orders_contain(
    damage: Callable[[OrdersAndStream], None], finding: str, order_id: str, status: str
):
    shop = example()
    damage(shop)
    answer = audited(shop, repair=True)
    assert (found(answer), answer["orders"]["repaired"], answer["verdict"]) == ({**NOTHING, finding: 1}, 1, "clean")
    assert shop.dynamo.entry(order_id).status is Status(status)
    assert totals(shop) == totals_in_truth(shop)
    again = audited(shop)
    assert (found(again), again["verdict"]) == (NOTHING, "clean")


@pytest.mark.parametrize("broken", [break_an_entry, break_the_revision_of_an_entry, write_an_entry_of_a_later_version])
def test_an_unreadable_entry_blocks_only_its_own_order_until_it_is_repaired(
    broken: Callable[[OrdersAndStream], None],
):
    shop = example()
    broken(shop)
    shop.put(item("a", "Pen", 20), item("new", "Pen", 100))
    shop.deliver()
    assert shop.dynamo.totals() == {"Notebook": (12, 2), "Pen": (102, 2)}
    work = backfill.request({})
    run(work, shop.dynamo)
    assert list(work.uncountable) == ["a"]
    assert work.uncountable["a"].startswith("Its ledger entry cannot be read: ")
    audited(shop, repair=True)
    assert totals(shop) == totals_in_truth(shop)
    shop.put(item("a", "Pen", 21))
    shop.deliver()
    assert totals(shop) == totals_in_truth(shop)


def test_a_repair_does_not_cancel_an_unreadable_entry_whose_order_ttl_may_have_removed():
    shop = example()
    break_an_entry(shop)
    shop.remove("a", expired=True)
    shop.deliver()
    answer = audited(shop, repair=True)
    assert (answer["verdict"], answer["orders"]["unreadable"], answer["orders"]["repaired"]) == ("drifted", 1, 0)
    assert shop.dynamo.totals()["Notebook"] == (12, 2)


def test_an_unreadable_entry_is_drift_even_if_the_stream_is_behind():
    shop = example()
    break_an_entry(shop)
    write_lag(shop.dynamo, 60, 5, "failing")
    answer = audited(shop)
    assert found(answer) == {**NOTHING, "unreadable": 1}
    assert answer["orders"]["findings"][0]["problem"] == "firstSeen is missing or not a string."


def totals(shop: OrdersAndStream) -> dict[Any, Any]:
    return {key: amounts for key, amounts in shop.dynamo.counters().items() if key[0] == tables.TOTALS}


def totals_in_truth(shop: OrdersAndStream) -> dict[Any, Any]:
    return {key: amounts for key, amounts in shop.truth().items() if key[0] == tables.TOTALS}


def test_an_archived_order_is_not_drift():
    shop = example()
    shop.remove("a", expired=True)
    shop.deliver()
    assert found(audited(shop)) == NOTHING


# --- Changes in flight ---------------------------------------------------------------------------

CHANGES: dict[str, Callable[[OrdersAndStream], None]] = {
    "placed": lambda shop: shop.put(item("new", "Pen")),
    "amended": lambda shop: shop.put(item("a", "Pen", 8)),
    "cancelled": lambda shop: shop.remove("a"),
    "archived": lambda shop: shop.remove("b", expired=True),
    "repaired": lambda shop: shop.put(item("bad", quantity=4)),
    "placed anew": lambda shop: shop.put(item("d", "Pen", 6)),
}


def at_request(number: int, do: Callable[[], None]) -> Hook:
    """Return a hook that calls `do` before request number `number`."""
    count = iter(range(1_000_000))

    def hook(step: effects.Effect) -> None:
        if next(count) == number:
            do()

    return hook


def and_when_waiting(hook: Hook, do: Callable[[], None]) -> Hook:
    """Return a hook that also calls `do` whenever the job waits."""

    def both(step: effects.Effect) -> None:
        hook(step)
        if is_wait(step):
            do()

    return both


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("number", range(40))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_an_order_that_changes_at_any_moment_is_not_drift(
    change: Callable[[OrdersAndStream], None], number: int, repair: bool
):
    shop = example()
    hook = and_when_waiting(at_request(number, lambda: change(shop)), shop.deliver)
    answer = audited(shop, hook, repair=repair)
    assert (found(answer), answer["verdict"], answer["orders"]["repaired"]) == (NOTHING, "clean", 0)
    shop.deliver()
    assert shop.dynamo.counters() == shop.truth()


@pytest.mark.parametrize("number", range(40))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_drift_is_repaired_although_the_same_order_changes_at_any_moment(
    change: Callable[[OrdersAndStream], None], number: int
):
    shop = example()
    shop.put(item("a", quantity=6), item("lost", "Pen"))
    shop.lose()
    hook = and_when_waiting(at_request(number, lambda: change(shop)), shop.deliver)
    audited(shop, hook, repair=True)
    shop.deliver()
    assert totals(shop) == totals_in_truth(shop)


@pytest.mark.parametrize("last_moment", [False, True], ids=["before it is read", "before the transaction"])
def test_an_order_that_is_archived_just_before_its_repair_is_not_cancelled(last_moment: bool):
    """The repair counts the item that it has read. The record of the TTL deletion then archives the order."""
    shop = example()
    lose_an_amendment(shop)
    waited = False

    def archive(step: effects.Effect) -> None:
        nonlocal waited
        is_read = waited and isinstance(step, effects.BatchGet) and step.table == tables.LEDGER
        if isinstance(step, effects.Transact) if last_moment else is_read:
            shop.remove("a", expired=True)
        if is_wait(step):
            waited = True
            shop.deliver()

    audited(shop, archive, repair=True)
    shop.deliver()
    assert shop.dynamo.entry("a").status is Status.ARCHIVED
    assert shop.dynamo.totals() == (
        {"Notebook": (7, 1), "Pen": (11, 2)} if last_moment else {"Notebook": (12, 2), "Pen": (2, 1)}
    )


def test_drift_that_takes_several_repairs_is_counted_once():
    shop = example()
    lose_an_amendment(shop)
    amended = iter([11, 12])

    def amend_and_lose(step: effects.Effect) -> None:
        if isinstance(step, effects.Transact) and (quantity := next(amended, None)):
            shop.put(item("a", "Pen", quantity))
            shop.lose()

    answer = audited(shop, amend_and_lose, repair=True)
    assert (found(answer), answer["orders"]["repaired"]) == ({**NOTHING, "differing": 1}, 1)
    assert shop.dynamo.totals()["Pen"] == (14, 2)


def test_drift_that_both_tables_show_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    """An order drifts and is reported. Just before its repair it is cancelled, and that record is lost too."""
    monkeypatch.setattr(entry_audit, "PAGE_ITEMS", 2)
    monkeypatch.setattr(entry_audit, "_SUSPECTS_MAX_CHARACTERS", 100)  # So only one suspect fits.
    shop = example()
    shop.dynamo.lags = False
    first_page = [order["OrderID"]["S"] for order in shop.dynamo.scan(effects.Scan(tables.ORDERS, None, 2)).items]
    shop.put(*(item(order_id, "Pen", 9) for order_id in first_page))
    shop.lose()

    def happen(step: effects.Effect) -> None:
        if isinstance(step, effects.Transact) and first_page[0] in shop.stream.items:
            shop.remove(first_page[0])
            shop.lose()

    answer = audited(shop, happen, repair=True)
    assert (found(answer), answer["orders"]["repaired"]) == ({**NOTHING, "differing": 2}, 2)
    assert answer["verdict"] == "clean"


def test_an_order_that_dynamodb_refuses_is_uncountable_and_the_others_are_repaired():
    shop = example()
    shop.put(item("poison", "Poison"), item("lost", "Pen"))
    shop.lose()

    def refuse(wanted: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]] | None:
        poison = any(action.get("Put", {}).get("Item", {}).get("OrderID") == {"S": "poison"} for action in wanted)
        return [{"Code": "ValidationError", "Message": "no number"}] if poison else None

    shop.dynamo.refuse = refuse
    answer = audited(shop, repair=True)
    assert answer["verdict"] == "drifted"
    assert (answer["orders"]["missing"], answer["orders"]["repaired"], answer["orders"]["uncountable"]) == (2, 1, 1)


def test_an_order_that_never_stops_changing_is_in_flight():
    shop = example()
    quantity = iter(range(10, 1_000_000))

    def amend(step: effects.Effect) -> None:
        shop.put(item("a", quantity=next(quantity)))
        shop.dynamo.catch_up()

    answer = audited(shop, amend)
    assert found(answer) == {**NOTHING, "inFlight": 1}
    assert answer["verdict"] == "unproven"


def test_counters_of_orders_in_flight_are_held_and_the_others_are_repaired():
    shop = example()
    del shop.dynamo.tables[tables.LEDGER][("a",)]
    shop.counter("Pen")["totalQuantity"] = {"N": "99"}
    before = shop.counter("Notebook")["totalQuantity"]
    quantity = iter(range(10, 1_000_000))

    def amend(step: effects.Effect) -> None:
        shop.put(item("a", quantity=next(quantity)))

    answer = audited(shop, amend, repair=True)
    assert (answer["orders"]["inFlight"], answer["counters"]["repaired"]) == (1, 1)
    assert answer["counters"]["held"] >= 1
    assert answer["verdict"] == "drifted"
    assert shop.counter("Notebook")["totalQuantity"] == before
    assert shop.dynamo.totals()["Pen"][0] == 2


def test_all_counters_are_held_if_too_many_products_are_in_flight(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(findings, "PRODUCTS_MAX", 1)
    shop = example()
    shop.counter("Pen")["totalQuantity"] = {"N": "99"}
    shop.put(item("a", quantity=9))
    quantity = iter(range(10, 1_000_000))

    def amend(step: effects.Effect) -> None:
        shop.put(item("a", quantity=next(quantity)))

    answer = audited(shop, amend, repair=True)
    assert (answer["counters"]["held"], answer["counters"]["repaired"]) == (1, 0)


def write_lag(dynamo: FakeDynamoDB, seconds: float, ago: int, state: str = "current") -> None:
    measured = {
        **stream_lag.KEY,
        "lagSeconds": {"N": str(seconds)},
        "measuredAt": {"S": timestamps.from_epoch(dynamo.now - ago)},
        "state": {"S": state},
    }
    dynamo.tables[tables.STATE][effects.key_of(tables.STATE, measured)] = measured


REPORTS: dict[str, tuple[str, float, int, bool]] = {
    "late batch just now": ("current", 60, 0, True),
    "late batch, the last one": ("current", 60, 11, False),
    "not late": ("current", 9.9, 0, False),
    "backlog": ("catchingUp", 6, 100, True),
    "failing": ("failing", 0, 100, True),
    "failing, long ago": ("failing", 60, 3600, False),
}


@pytest.mark.parametrize(("state", "lag", "ago", "is_behind"), REPORTS.values(), ids=REPORTS)
def test_a_mismatch_is_in_flight_while_the_stream_is_behind(state: str, lag: float, ago: int, is_behind: bool):
    shop = example()
    lose_an_order(shop)

    def report(step: effects.Effect) -> None:
        write_lag(shop.dynamo, lag, ago, state)

    answer = audited(shop, report, repair=True)
    assert (answer["orders"]["inFlight"], answer["orders"]["missing"]) == (is_behind, not is_behind)
    assert answer["verdict"] == ("unproven" if is_behind else "clean")
    assert shop.dynamo.entry("lost").revision == (not is_behind)


@pytest.mark.parametrize("stream_catches_up_meanwhile", [False, True])
def test_nothing_is_repaired_if_the_stream_is_behind_at_the_start(stream_catches_up_meanwhile: bool):
    """A repair would set the total to 8, because it would miss the waiting order. The right total is 23."""
    shop = OrdersAndStream()
    shop.put(item("counted", quantity=8))
    shop.deliver()
    shop.put(item("waiting", quantity=15))
    shop.counter("Notebook")["totalQuantity"] = {"N": "28"}
    write_lag(shop.dynamo, 60, 5, "failing")
    before = shop.dynamo.totals()

    def catch_up(step: effects.Effect) -> None:
        if stream_catches_up_meanwhile and is_wait(step):
            write_lag(shop.dynamo, 0.1, 0)

    answer = audited(shop, catch_up, repair=True)
    assert (answer["verdict"], answer["streamWasBehind"]) == ("drifted", True)
    assert shop.dynamo.totals() == before
    shop.deliver()
    write_lag(shop.dynamo, 0.1, 0)
    assert audited(shop, repair=True)["verdict"] == "clean"
    assert shop.dynamo.totals() == {"Notebook": (23, 2)}


# --- Bounds --------------------------------------------------------------------------------------


def big_shop(monkeypatch: pytest.MonkeyPatch) -> OrdersAndStream:
    monkeypatch.setattr(entry_audit, "PAGE_ITEMS", 7)
    shop = OrdersAndStream()
    shop.put(*(item(f"o{n}", f"P{n % 5}") for n in range(60)))
    shop.deliver()
    shop.put(*(item(f"lost{n}", f"P{n % 5}") for n in range(50)))
    for n in range(10):
        shop.remove(f"o{n}")
    shop.lose()
    return shop


def test_all_mismatches_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entry_audit, "_SUSPECTS_MAX_CHARACTERS", 700)
    shop = big_shop(monkeypatch)
    work = audit.request({})
    most = 0

    def watch(step: effects.Effect) -> None:
        nonlocal most
        most = max(most, len(work.orders.suspects))

    run(work, shop.dynamo, before_each=watch)
    assert found(work.to_json(0)) == {**NOTHING, "missing": 50, "orphaned": 10}
    assert most <= 700 / 64 + 7


def test_findings_are_a_sample_and_counts_are_complete(monkeypatch: pytest.MonkeyPatch):
    shop = big_shop(monkeypatch)
    monkeypatch.setattr("chalicelib.jobs.audit.findings._SAMPLE_MAX", 8)
    answer = audited(shop)
    assert (len(answer["orders"]["findings"]), answer["orders"]["missing"]) == (8, 50)
    assert answer["driftedProducts"] == 5


class Stopped(Exception):
    """Simulates the end of an invocation before its next request."""


@pytest.mark.parametrize("repair", [False, True])
def test_an_audit_that_stops_before_any_request_continues_from_its_cursor(repair: bool):
    def damaged() -> OrdersAndStream:
        shop = example()
        lose_an_order(shop)
        lose_an_amendment(shop)
        shop.counter("Notebook")["orderCount"] = {"N": "50"}
        shop.dynamo.lags = False  # With stale reads, the number of entries read would vary.
        return shop

    whole = damaged()
    expected = audited(whole, repair=repair)
    for number in range(100):
        shop = damaged()
        work = audit.request({"repair": repair})
        try:
            run(work, shop.dynamo, before_each=at_request(number, stop))
        except Stopped:
            answer = work.to_json(0)
            if not answer["done"]:
                answer = audited(shop, cursor=answer["cursor"])
            assert answer == expected, number
            assert shop.dynamo.counters() == whole.dynamo.counters()
        else:
            assert number > 20
            return
    raise AssertionError("it has more requests than are tried")


def stop() -> None:
    raise Stopped


@pytest.mark.parametrize("repair", [False, True])
def test_an_audit_continues_from_its_cursor_at_every_checkpoint(monkeypatch: pytest.MonkeyPatch, repair: bool):
    whole, parts = big_shop(monkeypatch), big_shop(monkeypatch)
    whole.dynamo.lags = parts.dynamo.lags = False  # With stale reads, the number of entries read would vary.
    expected = audited(whole, repair=repair)
    event: dict[str, Any] = {"repair": repair}
    for _ in range(1000):
        work = audit.request(event)
        run(work, parts.dynamo, checkpoints=1)
        answer = work.to_json(0)
        if answer["done"]:
            break
        event = {"cursor": answer["cursor"]}
    assert answer == expected
    assert parts.dynamo.counters() == whole.dynamo.counters()


def test_progress_shows_orders_until_all_suspects_are_checked():
    shop = example()
    lose_an_order(shop)
    event: dict[str, Any] = {}
    progress = []
    for _ in range(4):
        work = audit.request(event)
        run(work, shop.dynamo, checkpoints=1)
        answer = work.to_json(0)
        progress.append((answer["progress"]["pass"], answer["progress"]["table"], bool(work.orders.suspects)))
        event = {"cursor": answer["cursor"]}
    assert progress == [
        (0, tables.LEDGER, True), (0, None, True), (1, tables.TOTALS, False), (1, tables.TREND, False)
    ]  # fmt: skip


def test_the_sample_is_also_bounded_by_its_size():
    findings = Findings(figures={"missing": 0})
    for _ in range(50):
        findings.add("missing", [], {"product": "x" * 10_000})
    assert 15 < len(findings.sample) < 20
    assert findings.figures["missing"] == 50
