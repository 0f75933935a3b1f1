"""Tests for the OpenAPI document: it is valid, and its schemas accept the same values as the app."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validators
from openapi_spec_validator import validate as validate_openapi

from chalicelib import fields, orders, tables
from chalicelib.api import openapi, rows, totals, trend
from chalicelib.api.access import Access, Settings
from chalicelib.fields import FieldType, is_valid
from chalicelib.orders import FieldErrors
from chalicelib.views import VIEWS
from tests.payments import copy_with_payments

DOCUMENT = openapi.document("/api")
SCHEMAS = DOCUMENT["components"]["schemas"]


def match_pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Match a pattern by JavaScript's rules, as JSON Schema requires: `$` does not match before a final newline."""
    if isinstance(value, str) and not re.search(pattern.removesuffix("$") + r"\Z", value):
        yield ValidationError("does not match")


Validator = validators.extend(Draft202012Validator, {"pattern": match_pattern})


def accepts(schema: dict[str, Any], value: object) -> bool:
    return bool(Validator(schema).is_valid(value))


def test_document_is_valid_openapi():
    validate_openapi(DOCUMENT)


def test_server_url_is_the_base_path():
    assert openapi.document("/api")["servers"] == [{"url": "/api"}]
    assert openapi.document("/")["servers"] == [{"url": "/"}]


def test_every_operation_has_a_unique_id_a_summary_and_tags():
    operations = [
        operation for path in DOCUMENT["paths"].values() for method, operation in path.items() if method != "parameters"
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] and operation["tags"] for operation in operations)


def schemas_with_examples(value: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield every schema together with each of its examples."""
    if isinstance(value, dict):
        if "type" in value and "examples" in value:
            yield from ((value, each) for each in value["examples"])
        if "schema" in value and "example" in value:
            yield value["schema"], value["example"]
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from schemas_with_examples(each)


def test_examples_match_their_schemas():
    found = list(schemas_with_examples(DOCUMENT))
    assert len(found) > 20
    for schema, value in found:
        resolvable = {**schema, "components": DOCUMENT["components"]}  # Add the components, to which schemas refer.
        Draft202012Validator(resolvable).validate(value)


# --- Schemas accept the same values as the validation rules ---------------------------------------------

NEW_ORDER = SCHEMAS["NewOrder"]["properties"]
TYPES: list[tuple[str, FieldType]] = [(field.name, field.type) for field in (*orders.FIELDS, orders.ORDER_ID)]
VALUES: list[object] = [
    None, True, 0, 1, -1, 1.5, 10**9, 10**9 + 1, "", " ", "\t", "\u00a0", "\u2003 ", "a", " a", "a\n", "\na", "a\x00",
    "a\x7fb", "\x85", "a\x9f", "\u2028a", "a" * 128, "a" * 129, "a" * 1024, "a" * 1025, "é", "a-b", "a_b.c:d", "a]b",
    "a\\b", "<", "📓", ".", "..", "...", ".a", ". ", ".\n", [], {},
]  # fmt: skip


@pytest.mark.parametrize(("field", "type_"), TYPES, ids=[field for field, _ in TYPES])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_schema_and_validation_agree(field: str, type_: FieldType, value: object):
    assert accepts(NEW_ORDER[field], value) is is_valid(type_, value)


@pytest.mark.parametrize(("field", "type_"), TYPES, ids=[field for field, _ in TYPES])
def test_schema_and_validation_agree_on_any_value(field: str, type_: FieldType):
    anything = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.text("ab-_.: \x00\x9f\n", max_size=9))

    @given(anything)
    @example("a" * 1024)
    @example("..")
    def check(value: object) -> None:
        assert accepts(NEW_ORDER[field], value) is is_valid(type_, value)

    check()


DECIMAL = fields.DecimalNumber(2, "-10", "10")
OTHER_TYPES = [fields.WholeNumber(-5, 5), DECIMAL, fields.Timestamp(), fields.Choice("a", "b"), fields.Boolean()]
OTHER_VALUES = ["1.5", "1.500", "-1", "1.", ".5", "1e2", "+1", "2026-11-23T18:13:05Z", "b", "c", -5, -6, False]


@pytest.mark.parametrize("type_", OTHER_TYPES, ids=lambda type_: type(type_).__name__)
@pytest.mark.parametrize("value", [*VALUES, *OTHER_VALUES], ids=lambda value: repr(value)[:20])
def test_schema_of_every_type_accepts_valid_values(type_: FieldType, value: Any):
    exact = not isinstance(type_, fields.DecimalNumber | fields.Timestamp)  # A schema cannot compare decimals or times.
    schema = dict(type_.request_schema or type_.schema)
    if exact or is_valid(type_, value):
        assert accepts(schema, value) is is_valid(type_, value)
    if is_valid(type_, value):
        assert accepts(dict(type_.schema), type_.show(type_.write(type_.check(value))))


@pytest.mark.parametrize("text", ["1.", ".5", "1e2", "+1", "", "a", "1,5", "NaN"])
def test_schema_of_a_decimal_rejects_other_notations(text: str):
    assert DECIMAL.request_schema is not None
    assert not accepts(dict(DECIMAL.request_schema), text)
    assert not accepts(dict(DECIMAL.schema), text)


def test_model_with_fields_of_all_types_is_described(tmp_path: Path):
    print_it = "import json; from chalicelib.api import openapi; print(json.dumps(openapi.document('/api')))"
    printed = subprocess.run(
        [sys.executable, "-c", print_it], cwd=copy_with_payments(tmp_path), capture_output=True, text=True
    )
    document = json.loads(printed.stdout)
    validate_openapi(document)
    for schema, value in schemas_with_examples(document):
        Validator({**schema, "components": document["components"]}).validate(value)
    described = document["components"]["schemas"]
    required = ["amount", "currency", "merchant", "state"]
    assert described["NewOrder"]["required"] == described["Amendment"]["required"] == required
    assert described["Order"]["required"] == ["orderId", *required]
    new_order, order = described["NewOrder"]["properties"], described["Order"]["properties"]
    assert list(new_order) == [*required, "settledAt", "recurring", "rates", "orderId"]
    assert (new_order["amount"]["type"], order["amount"]["type"]) == (["string", "number"], "string")
    assert new_order["currency"]["enum"] == ["EUR", "USD"]
    assert order["settledAt"]["format"] == "date-time"
    assert new_order["recurring"]["anyOf"] == [{"type": "boolean", "examples": [True]}, {"type": "null"}]
    assert (order["rates"]["minimum"], order["rates"]["maximum"]) == (-10, 10)
    assert "`OrderID`, `Amount`, `Currency`, `Merchant`, `State`, " in document["info"]["description"]


def test_amendment_has_the_fields_of_an_update():
    amendment = SCHEMAS["Amendment"]["properties"]
    assert amendment == {name: NEW_ORDER[name] for name in orders.UPDATE_FIELDS}
    assert set(NEW_ORDER) == set(orders.CREATE_FIELDS)


@pytest.mark.parametrize("schema", ["NewOrder", "Amendment"])
def test_body_with_a_missing_or_unknown_field_is_invalid(schema: str):
    full = {"product": "Pen", "quantity": 1}
    assert accepts(SCHEMAS[schema], full)
    for body in ({**full, "color": "red"}, {"product": "Pen"}, {"quantity": 1}, {}, [full]):
        assert not accepts(SCHEMAS[schema], body)
        if isinstance(body, dict):
            assert isinstance(orders.parse_order(json.dumps(body).encode(), orders.CREATE_FIELDS), FieldErrors)


def parameters(path: str) -> dict[str, Any]:
    return {parameter["name"]: parameter["schema"] for parameter in DOCUMENT["paths"][path]["get"]["parameters"]}


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 89, 90, 91, 99, 100, 101, 1000])
def test_schemas_of_query_parameters_have_the_limits_of_the_routes(number: int):
    totals_parameters, trend_parameters = parameters("/totals"), parameters("/totals/{product}/trend")
    for name in ("limit", "top"):
        invalid = isinstance(totals.parse_query(VIEWS[tables.TOTALS], {name: str(number)}), FieldErrors)
        assert accepts(totals_parameters[name], number) is not invalid
    assert accepts(trend_parameters["days"], number) is isinstance(trend.parse_days({"days": str(number)}), int)


@pytest.mark.parametrize("name", ["limit", "cursor", "top"])
def test_parameters_that_cannot_be_combined_have_no_default(name: str):
    assert "default" not in parameters("/totals")[name]


def test_document_has_the_query_parameters_of_the_routes():
    assert totals.parse_query(VIEWS[tables.TOTALS], {"x": "1"}) == {
        "x": f"is not a known parameter; the parameters are {', '.join(parameters('/totals'))}"
    }
    assert trend.parse_days({"x": "1"}) == {
        "x": f"is not a known parameter; the parameters are {', '.join(parameters('/totals/{product}/trend'))}"
    }


def test_document_has_the_defaults_of_the_routes():
    described = {each["name"]: each["description"] for each in DOCUMENT["paths"]["/totals"]["get"]["parameters"]}
    assert f"{rows.LIMIT_DEFAULT} if omitted" in described["limit"]
    assert parameters("/totals/{product}/trend")["days"]["default"] == trend.parse_days({})


# --- Access --------------------------------------------------------------------------------------


def security_by_operation(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    }


def test_open_api_needs_no_credentials():
    assert DOCUMENT["security"] == []
    assert set(security_by_operation(DOCUMENT).values()) == {None}


def test_security_differs_for_reads_and_writes_and_leaves_the_dashboard_open():
    document = openapi.document("/api", Settings(Access.IAM, Access.KEY))
    validate_openapi(document)
    for (method, path), security in security_by_operation(document).items():
        about = path in ("/", "/docs", "/openapi.json")
        assert security == (None if about else [{"iam": []}] if method == "get" else [{"key": []}])
        assert about or "403" in document["paths"][path][method]["responses"]
    assert json.loads(json.dumps(document))["components"]["securitySchemes"].keys() == {"iam", "key"}
    assert openapi.document("/api") == DOCUMENT
