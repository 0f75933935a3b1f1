"""Tests that the app works with each model in examples/: it counts, backfills, audits and describes it."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import PROJECT
from tests.other_model import Result, Step, copy_with_model, play

Rows = dict[tuple[str, ...], dict[str, str]]
COUNTED_LATER: list[tuple[str, Step]] = [
    ("backfill", ("JOB", "backfill", {})),
    ("audit", ("JOB", "audit", {})),
    ("description", ("GET", "/openapi.json", None)),
    ("page", ("GET", "/", None)),
]


def run(tmp_path_factory: pytest.TempPathFactory, example: str, steps: dict[str, Step]) -> dict[str, Result]:
    """Run steps in the app with an example's model, and return their results."""
    model = (PROJECT / "examples" / example / "model.py").read_text(encoding="utf-8")
    return play(copy_with_model(tmp_path_factory.mktemp(example), model), steps)


def rows(result: Result, *key: str) -> Rows:
    """Return a table's nonzero amounts by row key."""
    return {
        tuple(item[name]["S"] for name in key): {
            name: f"{Decimal(value['N']).normalize():f}"  # DynamoDB removes trailing zeros, but moto does not.
            for name, value in item.items()
            if "N" in value and value["N"] != "0" and name not in ("revision", "expiresAt")
        }
        for item in result.json
    }


def read_routes(*paths: str) -> dict[str, Step]:
    return {path: ("GET", f"/views/{path}", None) for path in paths}


def complete_views(results: dict[str, Result]) -> list[str]:
    """Return the names of the complete views."""
    return [view["view"] for view in results["views"].json["views"] if view["complete"]]


# --- Payments ------------------------------------------------------------------------------------

NOVEMBER_2 = {
    "OrderID": {"S": "direct"}, "Merchant": {"S": "A|B"}, "Amount": {"N": "99.9"}, "Currency": {"S": "USD"},
    "Status": {"S": "paid"}, "PlacedAt": {"S": "2026-11-02T23:59:59Z"},
}  # fmt: skip


def payment(order_id: str, amount: str, status: str = "paid") -> str:
    given = f'"amount": {amount}, "currency": "EUR", "merchant": "Book Corner", "status": "{status}"'
    return f'{{"orderId": "{order_id}", {given}}}' if order_id else f"{{{given}}}"


PAYMENT_TABLES = {
    "RevenueTable": ("merchantAndCurrency", "day"),
    "RefundTable": ("merchantAndCurrency", "day"),
    "CurrencyTable": ("currency",),
}


def read_payments(when: str) -> dict[str, Step]:
    return {f"{table} {when}": ("TABLE", table, None) for table in PAYMENT_TABLES}


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Place three good payments and a failed one. Refund one, cancel one, and backfill one that the stream lost."""
    steps: dict[str, Step] = {
        **{
            f"place {order_id}": ("POST", "/orders", payment(order_id, amount, status))
            for order_id, amount, status in (
                ("p1", "12.50", "paid"), ("p2", "0.1", "paid"), ("p3", '"0.20"', "paid"), ("p4", "5", "failed"),
            )
        },
        **{f"count p{number}": ("COUNT", f"p{number}", None) for number in (1, 2, 3, 4)},
        **read_payments("when placed"),
        "refund": ("PUT", "/orders/p1", payment("", "12.50", "refunded")),
        "count refund": ("COUNT", "p1", None),
        "cancel": ("DELETE", "/orders/p2", None),
        "count cancelled": ("COUNT", "p2", None),
        "fail": ("GET", "/orders/p4", None),
        **read_payments("when changed"),
        "write directly": ("ITEM", "", NOVEMBER_2),
        **dict(COUNTED_LATER),
        **read_payments("after the backfill"),
        "bad": ("POST", "/orders", payment("p9", "0.001", "pending")),
        "views": ("GET", "/views", None),
        **read_routes("revenue/Book%20Corner%7CEUR", "refunds/Book%20Corner%7CEUR/2026-11-23", "currencies?top=1"),
    }  # fmt: skip
    return run(tmp_path_factory, "payments", steps)


def payment_rows(results: dict[str, Result], when: str) -> dict[str, Rows]:
    return {table: rows(results[f"{table} {when}"], *key) for table, key in PAYMENT_TABLES.items()}


TODAY = ("Book Corner|EUR", "2026-11-23")


def test_payments_are_added_exactly_and_a_failed_one_counts_nowhere(payments: dict[str, Result]):
    assert [payments[f"place p{number}"].status for number in (1, 2, 3, 4)] == [201] * 4
    assert payment_rows(payments, "when placed") == {
        "RevenueTable": {TODAY: {"revenue": "12.8", "payments": "3"}},
        "RefundTable": {},
        "CurrencyTable": {("EUR",): {"revenue": "12.8", "payments": "3"}},
    }
    assert payments["fail"].json["counted"] is True


def test_refund_and_cancellation_move_payments_out_of_the_revenue(payments: dict[str, Result]):
    assert [payments[step].status for step in ("refund", "cancel")] == [200, 204]
    assert payment_rows(payments, "when changed") == {
        "RevenueTable": {TODAY: {"revenue": "0.2", "payments": "1"}},
        "RefundTable": {TODAY: {"refunded": "12.5", "refunds": "1"}},
        "CurrencyTable": {("EUR",): {"revenue": "0.2", "refunded": "12.5", "payments": "2"}},
    }


def test_backfill_adds_a_payment_that_was_not_counted_and_the_audit_is_clean(payments: dict[str, Result]):
    assert payments["backfill"].json["changed"] == 1
    assert payments["audit"].json["verdict"] == "clean"
    found = payment_rows(payments, "after the backfill")
    assert found["RevenueTable"]["A%7CB|USD", "2026-11-02"] == {"revenue": "99.9", "payments": "1"}
    assert found["CurrencyTable"]["USD",] == {"revenue": "99.9", "payments": "1"}


def test_routes_show_the_rows_of_payments(payments: dict[str, Result]):
    key = {"merchantAndCurrency": "Book Corner|EUR", "day": "2026-11-23"}
    assert complete_views(payments) == ["revenue", "refunds", "currencies"]
    assert payments["revenue/Book%20Corner%7CEUR"].json["rows"] == [{**key, "revenue": "0.20", "payments": 1}]
    assert payments["refunds/Book%20Corner%7CEUR/2026-11-23"].json == {**key, "refunded": "12.50", "refunds": 1}
    (largest,) = json.loads(payments["currencies?top=1"].text)["rows"]  # `.json` rejects the float in `freshness`.
    assert (largest["currency"], largest["revenue"]) == ("USD", "99.90")


def test_description_and_page_have_the_fields_of_a_payment(payments: dict[str, Result]):
    example = '{"merchant": "Book Corner", "amount": "12.50", "currency": "EUR", "status": "paid"}'
    assert payments["description"].status == 200
    assert '"amount":{"type":["string","number"]' in payments["description"].text.replace(" ", "")
    assert payments["page"].status == 200
    assert example in payments["page"].text.replace("&#34;", '"')
    assert payments["bad"].json["problems"] == {
        "amount": "must be a decimal number from 0.01 to 1000000.00 with at most 2 decimal places",
        "status": "must be one of paid, refunded, failed",
    }


# --- Page views ----------------------------------------------------------------------------------

PAGE_VIEW_TABLES = {"HourTable": ("path", "hourAndCountry"), "DayTable": ("day", "path")}


def page_view(order_id: str, placed_at: str, path: str = "/docs") -> dict[str, Any]:
    return {"OrderID": {"S": order_id}, "Path": {"S": path}, "Country": {"S": "DE"}, "PlacedAt": {"S": placed_at}}


def read_page_views(when: str) -> dict[str, Step]:
    return {f"{table} {when}": ("TABLE", table, None) for table in PAGE_VIEW_TABLES}


@pytest.fixture(scope="module")
def page_views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Place three page views and one that is too old. Amend one, cancel one, and backfill one that the stream lost."""
    steps: dict[str, Step] = {
        **{
            f"place {order_id}": (
                "POST",
                "/orders",
                f'{{"orderId": "{order_id}", "path": "/", "country": "{country}"}}',
            )
            for order_id, country in (("v1", "DE"), ("v2", "DE"), ("v3", "US"))
        },
        "write an old one": ("ITEM", "", page_view("old", "2026-08-01T10:00:00Z")),
        **{f"count {order_id}": ("COUNT", order_id, None) for order_id in ("v1", "v2", "v3", "old")},
        **read_page_views("when placed"),
        "amend": ("PUT", "/orders/v1", '{"path": "/pricing", "country": "DE"}'),
        "count amended": ("COUNT", "v1", None),
        "cancel": ("DELETE", "/orders/v2", None),
        "count cancelled": ("COUNT", "v2", None),
        "cancel the old one": ("DELETE", "/orders/old", None),
        "count the old one": ("COUNT", "old", None),
        **read_page_views("when changed"),
        "write directly": ("ITEM", "", page_view("direct", "2026-09-01T10:00:00Z")),
        **dict(COUNTED_LATER),
        **read_page_views("after the backfill"),
        "ledger": ("TABLE", "LedgerTable", None),
        "views": ("GET", "/views", None),
        **read_routes("hours/%2Fpricing?from=2026-11-23T18&to=2026-11-23T18", "days/2026-11-23", "days?top=1"),
    }
    return run(tmp_path_factory, "page_views", steps)


def page_view_rows(results: dict[str, Result], when: str) -> dict[str, Rows]:
    found = {table: rows(results[f"{table} {when}"], *key) for table, key in PAGE_VIEW_TABLES.items()}
    return {table: {key: row for key, row in by_key.items() if row} for table, by_key in found.items()}


def test_page_views_are_counted_by_hour_country_and_day_but_not_after_90_days(page_views: dict[str, Result]):
    assert [page_views[f"place v{number}"].status for number in (1, 2, 3)] == [201] * 3
    assert page_view_rows(page_views, "when placed") == {
        "HourTable": {("/", "2026-11-23T18|DE"): {"views": "2"}, ("/", "2026-11-23T18|US"): {"views": "1"}},
        "DayTable": {("2026-11-23", "/"): {"views": "3"}},
    }


def test_amended_page_view_moves_and_a_cancelled_one_is_taken_out(page_views: dict[str, Result]):
    assert [page_views[step].status for step in ("amend", "cancel", "cancel the old one")] == [200, 204, 204]
    assert page_view_rows(page_views, "when changed") == {
        "HourTable": {("/pricing", "2026-11-23T18|DE"): {"views": "1"}, ("/", "2026-11-23T18|US"): {"views": "1"}},
        "DayTable": {("2026-11-23", "/"): {"views": "1"}, ("2026-11-23", "/pricing"): {"views": "1"}},
    }


def test_backfill_adds_a_page_view_that_was_not_counted_and_the_audit_is_clean(page_views: dict[str, Result]):
    assert page_views["backfill"].json["changed"] == 1
    assert page_views["audit"].json["verdict"] == "clean"
    found = page_view_rows(page_views, "after the backfill")
    assert found["HourTable"]["/docs", "2026-09-01T10|DE"] == {"views": "1"}
    assert found["DayTable"]["2026-09-01", "/docs"] == {"views": "1"}


def test_routes_show_the_rows_of_page_views(page_views: dict[str, Result]):
    assert complete_views(page_views) == ["hours", "days"]
    (hour,) = page_views["hours/%2Fpricing?from=2026-11-23T18&to=2026-11-23T18"].json["rows"]
    assert hour == {"path": "/pricing", "hourAndCountry": "2026-11-23T18|DE", "views": 1}
    days = page_views["days/2026-11-23"].json["rows"]
    assert [(row["path"], row["views"]) for row in days] == [("/", 1), ("/pricing", 1)]
    assert json.loads(page_views["days?top=1"].text)["rows"][0]["views"] == 1


def test_rows_and_ledger_entries_of_page_views_expire(page_views: dict[str, Result]):
    # A row freezes at the start of the 91st day after its own day. TTL may delete it a day later.
    day = 24 * 60 * 60
    deleted_at = {"2026-11-23": 1_795_392_000 + 92 * day, "2026-09-01": 1_788_220_800 + 92 * day}
    for item in page_views["DayTable after the backfill"].json:
        assert item["expiresAt"] == {"N": str(deleted_at[item["day"]["S"]])}
    assert all("expiresAt" in item for item in page_views["HourTable after the backfill"].json)
    assert all("expiresAt" in entry for entry in page_views["ledger"].json)


def test_description_and_page_have_the_fields_of_a_page_view(page_views: dict[str, Result]):
    assert page_views["description"].status == page_views["page"].status == 200
    assert '{"path": "/pricing", "country": "DE"}' in page_views["page"].text


# --- The commands that make local prints ---------------------------------------------------------

PRINT_COMMANDS = """
from types import SimpleNamespace
from chalicelib import tables
from localcloud import banner
stack = SimpleNamespace(
    emulator=SimpleNamespace(endpoint_url="http://aws"),
    tables={table: table for table in tables.KEYS},
    functions={"Backfill": "backfill"},
    api_host_url="http://api",
)
print(banner.text("http://local", stack, None))
"""


@pytest.mark.parametrize(
    ("example", "replaced", "body", "path", "table"),
    [
        (
            "payments", ("", ""),
            '{"merchant": "Book Corner", "amount": "12.50", "currency": "EUR", "status": "paid"}',
            "/views/revenue/Book%20Corner%7CEUR", "RevenueTable",
        ),
        ("page_views", ("", ""), '{"path": "/pricing", "country": "DE"}', "/views/hours/%2Fpricing", "HourTable"),
        (
            "payments", ('"paid", "refunded", "failed"', '"failed", "paid", "refunded"'),
            '{"merchant": "Book Corner", "amount": "12.50", "currency": "EUR", "status": "failed"}',
            "/views", "OrdersTable",
        ),
    ],
    ids=["payments", "page views", "an example that no view counts"],
)  # fmt: skip
def test_commands_that_make_local_prints_fit_the_model(
    tmp_path: Path, example: str, replaced: tuple[str, str], body: str, path: str, table: str
):
    pytest.importorskip("rich")  # `make local` prints with it.
    model = (PROJECT / "examples" / example / "model.py").read_text(encoding="utf-8")
    project = copy_with_model(tmp_path, model.replace(*replaced))
    printed = subprocess.run([sys.executable, "-c", PRINT_COMMANDS], cwd=project, capture_output=True, text=True)
    for url in ("http://local", "http://api"):
        assert f"  sleep 1; curl {url}{path}\n" in printed.stdout, printed.stderr
    assert printed.stdout.count(f"-d '{body}'\n") == 2
    assert f'{{"TableName": "{table}", "KeyConditionExpression"' in printed.stdout
    assert "Notebook" not in printed.stdout
