"""Tests for the app with another model: payments, which have a field of each type."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.other_model import Result, play
from tests.payments import copy_with_payments
from tests.projects import add_view

# Two views that the shipped model does not have.
VIEWS = """
from chalicelib.views import Keep, Row, view

@view("MerchantTable", ("merchant",), {"revenue": 2, "payments": 0}, top="revenue", stamp="updatedAt")
def merchants(order):
    return Row((order.merchant,), {"revenue": order.amount, "payments": 1})

@view("DayTable", ("merchant", "day"), {"revenue": 2}, keep=Keep(90, "day"))
def days(order):
    return Row((order.merchant, order.placed_at[:10]), {"revenue": order.amount})
"""

FULL = """{"orderId": "p1", "amount": 12.5000, "currency": "EUR", "merchant": "Shop", "state": "paid",
  "settledAt": "2026-11-23T20:13:05+02:00", "recurring": false, "rates": -3}"""
SHORT = '{"Amount": "99999999999999999999999999.99", "Currency": "USD", "Merchant": "Shop", "State": "paid"}'
BAD = """{"amount": 0.001, "currency": "GBP", "merchant": " ", "settledAt": "soon", "recurring": 1, "rates": 1.0,
  "status": "paid"}"""
HAND_WRITTEN = {
    "OrderID": {"S": "hand"},
    "Amount": {"N": "1E2"},
    "Currency": {"S": "EUR"},
    "Merchant": {"S": "Shop"},
    "State": {"S": "paid"},
    "Rates": {"N": "5.0"},
    "Recurring": {"NULL": True},
}
BROKEN = {
    "OrderID": {"S": "broken"},
    "Amount": {"N": "0.001"},
    "Currency": {"N": "5"},
    "Merchant": {"B": "AAE="},
    "Recurring": {"S": "yes"},
    "SettledAt": {"BOOL": True},
}
STEPS: dict[str, tuple[str, str, Any]] = {
    "place": ("POST", "/orders", FULL),
    "place again": ("POST", "/orders", FULL.replace("12.5000", '"12.50"')),
    "place otherwise": ("POST", "/orders", FULL.replace("12.5000", "12.51")),
    "place without an option": ("POST", "/orders", FULL.replace(', "rates": -3', "")),
    "show": ("GET", "/orders/p1", None),
    "count": ("COUNT", "p1", None),
    "show counted": ("GET", "/orders/p1", None),
    "views": ("GET", "/views", None),
    "merchant": ("GET", "/views/merchants/Shop", None),
    "merchants": ("GET", "/views/merchants?top=1", None),
    "days": ("GET", "/views/days/Shop?from=2026", None),
    "totals": ("GET", "/totals", None),
    "total": ("GET", "/totals/Shop", None),
    "trend": ("GET", "/totals/Shop/trend", None),
    "description": ("GET", "/openapi.json", None),
    "amend": ("PUT", "/orders/p1", SHORT),
    "count amended": ("COUNT", "p1", None),
    "show amended": ("GET", "/orders/p1", None),
    "merchant amended": ("GET", "/views/merchants/Shop", None),
    "place null": ("POST", "/orders", FULL.replace("p1", "p2").replace("false", "null").replace("-3", "null")),
    "bad": ("POST", "/orders", BAD),
    "bad amendment": ("PUT", "/orders/p1", '{"amount": 1e999999999999999999999, "currency": null}'),
    "not an object": ("POST", "/orders", "[]"),
    "write by hand": ("ITEM", "", HAND_WRITTEN),
    "show hand-written": ("GET", "/orders/hand", None),
    "count hand-written": ("COUNT", "hand", None),
    "show counted hand-written": ("GET", "/orders/hand", None),
    "place hand-written": (
        "POST", "/orders",
        '{"orderId": "hand", "amount": 100, "currency": "EUR", "merchant": "Shop", "state": "paid", "rates": 5}',
    ),
    "write broken": ("ITEM", "", BROKEN),
    "show broken": ("GET", "/orders/broken", None),
    "page": ("GET", "/", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Send all requests to the app with the payments model, in a separate process. Return the responses by step."""
    project = copy_with_payments(tmp_path_factory.mktemp("payments"))
    add_view(project, VIEWS)
    return play(project, STEPS)


def without_time(order: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name != "placedAt"}


PLACED = {
    "orderId": "p1", "amount": "12.50", "currency": "EUR", "merchant": "Shop", "state": "paid",
    "settledAt": "2026-11-23T18:13:05Z", "recurring": False, "rates": -3,
}  # fmt: skip
AMENDED = {
    "orderId": "p1", "amount": "99999999999999999999999999.99", "currency": "USD", "merchant": "Shop", "state": "paid",
}  # fmt: skip


def test_payment_is_placed_once_and_shown(results: dict[str, Result]):
    placed = results["place"]
    assert (placed.status, without_time(placed.json)) == (201, PLACED)
    assert results["place again"] == Result(200, placed.text)
    assert results["show"].json == {**placed.json, "counted": False}
    assert [results[f"place {how}"].status for how in ("otherwise", "without an option")] == [409, 409]


def test_item_has_the_exact_number_and_the_types_of_the_fields(results: dict[str, Result]):
    item = results["count"].json
    del item["PlacedAt"]
    assert item == {
        "OrderID": {"S": "p1"}, "Amount": {"N": "12.5"}, "Currency": {"S": "EUR"}, "Merchant": {"S": "Shop"},
        "State": {"S": "paid"}, "SettledAt": {"S": "2026-11-23T18:13:05Z"}, "Recurring": {"BOOL": False},
        "Rates": {"N": "-3"},
    }  # fmt: skip


def test_payment_is_counted(results: dict[str, Result]):
    assert results["show counted"].json["counted"] is True
    shown = results["merchant"].json
    assert shown.pop("updatedAt").endswith("Z")
    assert shown == {"merchant": "Shop", "revenue": "12.50", "payments": 1}
    assert json.loads(results["merchants"].text)["rows"] == [results["merchant"].json]
    (day,) = results["days"].json["rows"]
    assert (set(day), day["revenue"]) == ({"merchant", "day", "revenue"}, "12.50")
    assert results["merchant amended"].json["revenue"] == "99999999999999999999999999.99"


def test_views_of_the_model_are_listed_and_described(results: dict[str, Result]):
    assert results["views"].json["views"] == [
        {
            "view": "merchants", "key": ["merchant"], "top": "revenue", "keepDays": None, "complete": True,
            "amounts": [{"name": "revenue", "decimalPlaces": 2}, {"name": "payments", "decimalPlaces": 0}],
        },
        {
            "view": "days", "key": ["merchant", "day"], "top": None, "keepDays": 90, "complete": True,
            "amounts": [{"name": "revenue", "decimalPlaces": 2}],
        },
    ]  # fmt: skip
    paths = json.loads(results["description"].text)["paths"]
    assert {path for path in paths if "/totals" in path or path == "/views/{view}"} == {"/views/{view}"}


@pytest.mark.parametrize("step", ["totals", "total", "trend"])
def test_route_of_a_view_that_the_model_lacks_names_the_views(results: dict[str, Result], step: str):
    assert results[step].status == 404
    assert "GET /views lists" in results[step].json["Message"]


def test_amendment_replaces_all_fields_and_removes_those_left_out(results: dict[str, Result]):
    assert (results["amend"].status, without_time(results["amend"].json)) == (200, AMENDED)
    assert set(results["count amended"].json) == {"OrderID", "PlacedAt", "Amount", "Currency", "Merchant", "State"}
    assert results["show amended"].json == {**results["amend"].json, "counted": True}


def test_null_leaves_out_an_optional_field(results: dict[str, Result]):
    assert (results["place null"].status, set(PLACED) - set(results["place null"].json)) == (
        201,
        {"recurring", "rates"},
    )


def test_every_error_is_reported_by_field(results: dict[str, Result]):
    assert results["bad"].status == 400
    assert results["bad"].json["problems"] == {
        "amount": "must be a decimal number from 0.01 to 99999999999999999999999999.99 with at most 2 decimal places",
        "currency": "must be one of EUR, USD",
        "merchant": "must be a non-blank string of at most 100 UTF-8 bytes without control characters",
        "state": "is missing",
        "settledAt": "must be a time in ISO 8601, such as 2026-11-23T18:13:05Z",
        "recurring": "must be true or false",
        "rates": "must be a whole number from -10 to 10",
        "status": "is not a known field; the fields are"
        " amount, currency, merchant, state, settledAt, recurring, rates, orderId",
    }
    assert results["bad amendment"].status == 400
    assert list(results["bad amendment"].json["problems"]) == ["amount", "currency", "merchant", "state"]
    example = '{"amount": "12.50", "currency": "EUR", "merchant": "Shop", "state": "paid"}'
    assert results["not an object"].json["Message"] == f"The body must be a JSON object such as {example}."


def test_hand_written_item_is_an_order(results: dict[str, Result]):
    shown = {"orderId": "hand", "amount": "100.00", "currency": "EUR", "merchant": "Shop", "state": "paid", "rates": 5}
    assert results["show hand-written"].json == {**shown, "counted": False}
    assert results["show counted hand-written"].json == {**shown, "counted": True}
    assert (results["place hand-written"].status, results["place hand-written"].json) == (200, shown)


def test_invalid_item_is_shown_as_stored_with_its_errors(results: dict[str, Result]):
    broken = results["show broken"].json
    assert broken["amount"] == {"N": "0.001"}
    assert (broken["currency"], broken["recurring"], broken["settledAt"]) == (5, "yes", {"BOOL": True})
    assert list(broken["rejected"]) == ["amount", "currency", "merchant", "state", "settledAt", "recurring"]
    assert broken["rejected"]["state"] == "is missing"


def test_page_has_the_fields_of_the_model(results: dict[str, Result]):
    assert results["page"].status == 200
    assert '"label": "Settled at", "required": false, "kind": "timestamp"' in results["page"].text


def test_wrong_declaration_stops_the_import_with_its_message(tmp_path: Path):
    project = copy_with_payments(tmp_path)
    model = project / "chalicelib" / "model.py"
    model.write_text(model.read_text(encoding="utf-8").replace("Annotated[Decimal,", "Annotated[float,"))
    imported = subprocess.run([sys.executable, "-c", "import app"], cwd=project, capture_output=True, text=True)
    assert imported.stderr.splitlines()[-1] == (
        "chalicelib.fields.DeclarationError: The field amount has the type float. DecimalNumber needs Decimal."
    )
