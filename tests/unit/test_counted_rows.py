"""Tests for counting with other views: decimal amounts, several rows for an order, and views that fail."""

import json
from collections.abc import Iterator
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from chalicelib import reports
from chalicelib.counting import committer, entry_item, ledger, stream, transactions
from chalicelib.counting.ledger import Change, Entry, Status
from chalicelib.jobs import audit, backfill
from chalicelib.jobs.audit import Audit
from chalicelib.jobs.state import Amount, decode, encode
from chalicelib.orders import Order
from chalicelib.views import Contributions, CounterKey, Row
from tests.doubles import NAMES, FakeDynamoDB, commit, deliver, run
from tests.extra_views import changeable_views, declare, replace
from tests.orders_and_stream import OrdersAndStream
from tests.streams import every_way, item

NOW = "2026-11-23T18:13:05Z"
EXTRA = "ExtraTable"
LARGEST = "9" * 26 + ".99"


@pytest.fixture(autouse=True)
def _views() -> Iterator[None]:
    with changeable_views():
        yield


def lines(order: Order) -> list[Row]:
    """Return a row for each line of an order. Its product field lists the lines: `pen 0.10; ink 12.5`."""
    split = [line.split() for line in order.product.split(";")]
    return [Row((name,), {"revenue": Decimal(price), "lines": 1}) for name, price in split]


def declare_lines(**options: Any) -> None:
    declare(lines, amounts={"revenue": 2, "lines": 0}, **options)


def backfilled(system: OrdersAndStream) -> backfill.Backfill:
    work = backfill.request({})
    run(work, system.dynamo)
    return work


def audited(system: OrdersAndStream, **options: Any) -> dict[str, Any]:
    work = audit.request(options)
    run(work, system.dynamo)
    return work.to_json(0)


def extra_rows(dynamo: FakeDynamoDB) -> dict[tuple[str, ...], dict[str, Any]]:
    return {key: row for (table, key), row in dynamo.counters().items() if table == EXTRA}


# --- Decimals -------------------------------------------------------------------------------------


def test_decimals_are_counted_amended_and_cancelled_exactly_however_they_are_delivered():
    declare_lines()
    system = OrdersAndStream()
    system.put(item("a", f"pen 0.10; ink {LARGEST}"), item("b", "pen 0.2; pen -0.05"))
    system.put(item("a", f"pen 0.30; cap {LARGEST}"))
    expected = {
        ("pen",): {"revenue": Decimal("0.45"), "lines": 3},
        ("cap",): {"revenue": Decimal(LARGEST), "lines": 1},
    }
    for name, batches in every_way(system.stream.records):
        dynamo = FakeDynamoDB()
        for batch in batches:
            deliver(batch, dynamo)
        assert extra_rows(dynamo) == expected, name
    system.deliver()
    system.remove("a")
    system.remove("b")
    system.deliver()
    assert extra_rows(system.dynamo) == {}
    assert {row["revenue"]["N"] for row in system.dynamo.tables[EXTRA].values()} == {"0"}
    assert audited(system)["verdict"] == "clean"


def test_sums_of_38_digits_are_exact():
    declare_lines()
    system = OrdersAndStream()
    system.put(*(item(f"o{number}", f"pen {LARGEST}") for number in range(100)))
    system.deliver()
    assert system.dynamo.tables[EXTRA][("pen",)]["revenue"] == {"N": "9" * 28}
    assert audited(system)["verdict"] == "clean"


def test_request_adds_decimals_as_text_in_plain_notation():
    def made(order: Order) -> Row:
        return Row(("a",), {"large": Decimal("1E+3"), "small": Decimal("1E-7"), "zero": Decimal("-0.00"), "whole": 5})

    declare(made, amounts={"large": 2, "small": 7, "zero": 2, "whole": 2})
    (transaction,) = planned(item("o"))
    update = next(
        each["Update"] for each in transaction.actions(NAMES, NOW) if each.get("Update", {}).get("TableName") == EXTRA
    )
    names = update["ExpressionAttributeNames"]
    added = {names[f"#{place[1:]}"]: value for place, value in update["ExpressionAttributeValues"].items()}
    assert added == {
        "revision": {"N": "1"},
        "large": {"N": "1000"},
        "small": {"N": "0.0000001"},
        "zero": {"N": "0.00"},
        "whole": {"N": "5"},
    }


def planned(*orders: dict[str, Any]) -> list[transactions.Transaction]:
    """Return the transactions that count these new orders."""
    system = OrdersAndStream()
    system.put(*orders)
    work = committer.for_stream(stream.read(system.stream.records).records_by_order)
    work._plan_transactions()
    return list(work._transactions)


@pytest.mark.parametrize("price", ["0.10", "-0.01", "5", "0", LARGEST, f"-{LARGEST}"])
def test_entry_with_decimals_returns_from_its_item_as_it_was(price: str):
    contributions: Contributions = {CounterKey(EXTRA, ("pen",)): {"revenue": Decimal(price), "lines": 1}}
    entry = Entry("o", 1, "v", Status.COUNTED, NOW, contributions, reverted=contributions)
    stored = entry_item.to_item(entry)
    assert f'"revenue":"{price}"' in stored["contributions"]["S"]
    assert entry_item.from_item("o", stored) == entry


@pytest.mark.parametrize(
    "amount",
    ['"1.5.0"', '"NaN"', '"1E2"', '"Infinity"', '""', "0.5", "1E2", "true", "null", "[1]", f'"{"9" * 2000}.5"'],
)
def test_stored_amount_of_another_form_makes_the_entry_unreadable_and_stops_no_other_order(amount: str):
    declare_lines()
    system = OrdersAndStream()
    system.put(item("a", "pen 0.10"), item("b", "pen 0.20"))
    system.deliver()
    system.entry_item("a")["contributions"] = {"S": f'[["{EXTRA}",["pen"],{{"revenue":{amount}}}]]'}
    system.put(item("a", "pen 0.30"), item("b", "pen 0.40"))
    system.deliver()
    assert system.dynamo.entry("a").unreadable == "contributions is not a list of contributions."
    assert extra_rows(system.dynamo)[("pen",)]["revenue"] == Decimal("0.50")
    assert audited(system, repair=True)["verdict"] == "clean"
    assert extra_rows(system.dynamo)[("pen",)]["revenue"] == Decimal("0.70")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [({"N": "0.46"}, "0.46"), ({"N": "0.455"}, "0.455"), ({"S": "0.45"}, "not a number"), (None, "0")],
)
def test_audit_finds_and_repairs_a_decimal_that_drifted(stored: dict[str, str] | None, shown: str):
    declare_lines()
    system = OrdersAndStream()
    system.put(item("a", "pen 0.10"), item("b", "pen 0.35"))
    system.deliver()
    counter = system.dynamo.tables[EXTRA][("pen",)]
    if stored:
        counter["revenue"] = stored
    else:
        del counter["revenue"]
    work = audit.request({"repair": True})
    assert through_cursors(work, system) == "clean"
    (finding,) = work.to_json(0)["counters"]["findings"]
    assert (finding["stored"], finding["expected"]) == ({"revenue": shown}, {"revenue": "0.45"})
    assert extra_rows(system.dynamo)[("pen",)]["revenue"] == Decimal("0.45")


def through_cursors(work: Audit, system: OrdersAndStream) -> str | None:
    """Run an audit with a new invocation, from the cursor, after each checkpoint. Return the verdict."""
    while not work.done:
        run(work, system.dynamo, checkpoints=1)
        response = json.loads(json.dumps(work.to_json(0)), parse_float=no_float)
        if response["cursor"]:
            resumed = audit.request({"cursor": response["cursor"]})
            assert resumed.to_json(0) == {**response, "cursor": resumed.to_json(0)["cursor"]}
            work.orders, work.counters = resumed.orders, resumed.counters
    return work.verdict


def no_float(digits: str) -> None:
    raise AssertionError(f"{digits} is a float")


def test_findings_about_orders_have_decimals_as_text():
    declare_lines()
    system = OrdersAndStream()
    system.put(item("a", "pen 0.10"))
    system.deliver()
    system.put(item("a", "pen 12.50"))
    system.lose()
    (finding,) = audited(system)["orders"]["findings"]
    assert [finding[which]["contributions"][2]["amounts"]["revenue"] for which in ("ledger", "expected")] == [
        "0.10",
        "12.50",
    ]
    assert json.loads(json.dumps(finding), parse_float=no_float)


def test_cursor_keeps_a_tracked_decimal_exactly():
    kept = {"a": Decimal(f"-{LARGEST}"), "b": Decimal("1E-18"), "c": Decimal("1E+30"), "d": 7}
    kind: Any = dict[str, Amount]
    assert decode(kind, json.loads(json.dumps(encode(kept)))) == kept


# --- Several rows ---------------------------------------------------------------------------------


def words(order: Order) -> list[Row]:
    """Count each word of the product."""
    return [Row((word,), {"count": 1}) for word in order.product.split()]


def numbered(prefix: str, count: int = 47) -> str:
    """Return a product name of `count` words. With 47 words and the model's two views, an order has 49 rows."""
    return " ".join(f"{prefix}{number}" for number in range(count))


def test_equal_keys_of_an_order_are_added_up_before_they_are_counted():
    declare(words)
    system = OrdersAndStream()
    system.put(item("a", "x y x"))
    system.deliver()
    assert extra_rows(system.dynamo) == {("x",): {"count": 2}, ("y",): {"count": 1}}
    system.put(item("a", "x"))
    system.deliver()
    assert extra_rows(system.dynamo) == {("x",): {"count": 1}}


def test_amendment_moves_49_rows_to_49_others_in_one_transaction():
    declare(words)
    system = OrdersAndStream()
    system.put(item("a", numbered("old")))
    system.deliver()
    system.put(item("a", numbered("new")))
    sizes: list[int] = []
    system.dynamo.refuse = lambda actions: sizes.append(len(actions))
    system.deliver()
    assert sizes == [99]
    assert extra_rows(system.dynamo) == {(f"new{number}",): {"count": 1} for number in range(47)}
    assert audited(system)["verdict"] == "clean"


def test_filter_counts_only_the_orders_that_it_returns_a_row_for():
    def large(order: Order) -> Row | None:
        return Row((order.product,), {"count": 1}) if order.quantity > 10 else None

    declare(large)
    system = OrdersAndStream()
    system.put(item("a", quantity=11), item("b", quantity=10))
    system.deliver()
    assert extra_rows(system.dynamo) == {("Notebook",): {"count": 1}}
    system.put(item("a", quantity=9), item("b", quantity=12), item("c", quantity=99))
    system.deliver()
    assert extra_rows(system.dynamo) == {("Notebook",): {"count": 2}}
    assert audited(system)["verdict"] == "clean"


def change_of(order_id: str, rows: int, key_bytes: int, before: Entry | None = None) -> Change:
    contributions = {CounterKey(EXTRA, (f"{number:02}".ljust(key_bytes, "x"),)): {"count": 1} for number in range(rows)}
    return Change(before or Entry(order_id), Entry(order_id, 1, "v", Status.COUNTED, NOW, contributions))


def test_transactions_stay_within_the_limit_of_bytes(monkeypatch: pytest.MonkeyPatch):
    declare(words)
    monkeypatch.setattr(transactions, "BYTES_MAX", 300_000)
    changes = [change_of(f"o{number}", 49, 1024) for number in range(20)]
    packed = transactions.pack(changes)
    assert sorted(each.after.order_id for one in packed for each in one.changes) == sorted(f"o{n}" for n in range(20))
    sizes = [sum(len(entry_item.to_item(each.after)["contributions"]["S"]) for each in one.changes) for one in packed]
    assert max(sizes) <= 300_000
    assert len(packed) == 4, "five entries of 53 KB in each"


def test_entries_with_long_keys_stay_within_dynamodbs_limit_for_a_transaction():
    declare(words)
    for transaction in transactions.pack(change_of(f"o{number}", 49, 1024) for number in range(200)):
        request = json.dumps(transaction.actions(NAMES, NOW), ensure_ascii=False).replace('\\"', '"')
        assert len(request.encode()) < 4_000_000


@pytest.mark.parametrize("limit", ["actions", "bytes"])
def test_change_beyond_a_limit_has_a_transaction_of_its_own(monkeypatch: pytest.MonkeyPatch, limit: str):
    """DynamoDB then rejects only this transaction, and the committer sets this order apart."""
    declare(words)
    if limit == "bytes":
        monkeypatch.setattr(transactions, "BYTES_MAX", 10_000)
    large = change_of("large", 100 if limit == "actions" else 49, 1024)
    packed = transactions.pack([large, change_of("a", 3, 2), change_of("b", 3, 1030)])
    assert [[each.after.order_id for each in one.changes] for one in packed] == [["a"], ["large"], ["b"]]
    assert len(transactions.pack([large])) == 1


# --- Views that fail ------------------------------------------------------------------------------


def raising(order: Order) -> Row:
    raise LookupError(f"no {order.product}")


BAD = {
    "raises": (raising, "raises LookupError"),
    "wrong key": (lambda order: Row(("a", "b"), {"count": 1}), "returns something other than Row((name,), {...})"),
    "float": (lambda order: Row(("a",), {"count": 0.5}), "adds to count something other than a number of at most"),  # type: ignore[dict-item]
    "39 digits": (lambda order: Row(("a",), {"count": 10**38}), "adds to count something other than a number"),
    "50 rows": (
        lambda order: [Row((f"{number}",), {"count": 1}) for number in range(50)],
        "adds 50 rows; an order may have 49 over all views",
    ),
    "sum of 29 digits": (
        lambda order: [Row(("a",), {"count": 10**28 - 1})] * 2,
        "adds to count something other than a number of at most 28 digits, of which 0 are decimal places",
    ),
    "no dict": (
        lambda order: Row(("a",), MappingProxyType({"count": 1})),
        "returns a row whose amounts are not a dict",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_view_stops_no_other_and_a_backfill_after_the_fix_fills_it_in(bad: str):
    function, problem = BAD[bad]

    def fragile(order: Order) -> Any:
        return function(order) if order.product == "Ink" else Row((order.product,), {"count": 1})

    declare(fragile)
    system = OrdersAndStream()
    system.put(item("good"), item("bad", "Ink"))
    work = deliver(system.stream.records, system.dynamo)
    assert (work.counts.applied, work.set_apart, work.counts.rejected) == (2, {}, {})
    assert work.counts.view_problems.keys() == {"bad"}
    entry = system.dynamo.entry("bad")
    assert (entry.status, list(entry.problems)) == (Status.COUNTED, ["fragile"])
    assert entry.problems["fragile"].startswith(problem)
    assert system.dynamo.totals() == {"Notebook": (5, 1), "Ink": (5, 1)}
    assert extra_rows(system.dynamo) == {("Notebook",): {"count": 1}}
    shown = ledger.order_status(entry, item("bad", "Ink"))
    assert shown == {"counted": True, "viewProblems": entry.problems}

    before = system.state()
    again = deliver(system.stream.records, system.dynamo)
    assert (again.counts.unchanged, again.counts.view_problems) == (2, {})
    assert (audited(system, repair=True)["verdict"], backfilled(system).changed) == ("clean", 0)
    assert system.state() == before

    def mended(order: Order) -> Row:
        return Row((order.product,), {"count": 1})

    replace(mended)
    assert ledger.order_status(entry, item("bad", "Ink")) == {"counted": False}
    assert audited(system)["orders"]["differing"] == 1
    deliver(system.stream.records, system.dynamo)
    assert backfilled(system).changed == 1
    assert extra_rows(system.dynamo) == {("Notebook",): {"count": 1}, ("Ink",): {"count": 1}}
    assert (system.dynamo.entry("bad").problems, audited(system)["verdict"]) == ({}, "clean")


def test_failed_views_are_logged_by_order_and_measured():
    declare(raising)
    system = OrdersAndStream()
    system.put(item("a"), item("b", quantity=0))
    batch = stream.read(system.stream.records)
    work = commit(committer.for_stream(batch.records_by_order), system.dynamo)
    report = reports.of_batch(batch, work, [1.0], 0.1)
    failed = [line for line in report.lines if line.message == "View failed"]
    assert failed == [("error", "View failed", {"orderId": "a", "problems": {"raising": "raises LookupError"}})]
    assert (report.metrics["viewProblems"].value, report.metrics["rejected"].value) == (1, 1)


def test_view_that_begins_to_fail_is_like_a_view_that_changed():
    """Counted orders keep their rows until a backfill removes them. A backfill after the fix restores them."""
    declare(words)
    system = OrdersAndStream()
    system.put(item("a", "x"), item("b", "y"))
    system.deliver()
    replace(raising)
    system.put(item("a", "x z"))
    system.deliver()
    assert extra_rows(system.dynamo) == {("y",): {"count": 1}}
    assert audited(system)["orders"]["differing"] == 1
    backfilled(system)
    assert (extra_rows(system.dynamo), audited(system)["verdict"]) == ({}, "clean")
    replace(words)
    backfilled(system)
    assert extra_rows(system.dynamo) == {("x",): {"count": 1}, ("z",): {"count": 1}, ("y",): {"count": 1}}
    assert audited(system)["verdict"] == "clean"


# --- Views that change ----------------------------------------------------------------------------


def test_view_whose_amount_loses_its_decimals_keeps_those_of_archived_orders_without_drift():
    declare_lines()
    system = OrdersAndStream()
    system.put(item("archived", "pen 0.25"), item("b", "pen 0.50"))
    system.remove("archived", expired=True)
    system.deliver()

    def whole(order: Order) -> Row:
        return Row(("pen",), {"revenue": 3})

    replace(whole, places={"revenue": 0, "lines": 0})
    backfilled(system)
    assert system.dynamo.tables[EXTRA][("pen",)]["revenue"] == {"N": "3.25"}
    assert audited(system)["verdict"] == "clean"
