"""The API's description: a valid document whose schemas draw the line where the rules do."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validators
from openapi_spec_validator import validate

from chalicelib import orders
from chalicelib.api import openapi, totals, trend
from chalicelib.api.access import Access, Settings

DOCUMENT = openapi.document("/api")
SCHEMAS = DOCUMENT["components"]["schemas"]


def matches_whole(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """JSON Schema's patterns are JavaScript's, whose `$` is the very end and not also before a last newline."""
    if isinstance(value, str) and not re.search(pattern.removesuffix("$") + r"\Z", value):
        yield ValidationError("does not match")


Validator = validators.extend(Draft202012Validator, {"pattern": matches_whole})


def accepts(schema: dict[str, Any], value: object) -> bool:
    return bool(Validator(schema).is_valid(value))


def test_it_is_a_valid_openapi_document():
    validate(DOCUMENT)


def test_it_says_where_the_routes_are():
    assert openapi.document("/api")["servers"] == [{"url": "/api"}]
    assert openapi.document("/")["servers"] == [{"url": "/"}]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does():
    operations = [
        operation for path in DOCUMENT["paths"].values() for method, operation in path.items() if method != "parameters"
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] and operation["tags"] for operation in operations)


def schemas_with_examples(value: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema with an example of it: those in schemas, and those beside a schema."""
    if isinstance(value, dict):
        if "type" in value and "examples" in value:
            yield from ((value, each) for each in value["examples"])
        if "schema" in value and "example" in value:
            yield value["schema"], value["example"]
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from schemas_with_examples(each)


def test_its_examples_are_what_its_schemas_say():
    found = list(schemas_with_examples(DOCUMENT))
    assert len(found) > 20
    for schema, value in found:
        whole = {**schema, "components": DOCUMENT["components"]}  # For the references in it.
        Draft202012Validator(whole).validate(value)


# --- Where a rule of the app ends, the schema ends too -------------------------------------------

NEW_ORDER = SCHEMAS["NewOrder"]["properties"]
TRANSITIONS: list[tuple[str, Callable[[object], str | None]]] = [
    ("product", orders.validate_product),
    ("quantity", orders.validate_quantity),
    ("orderId", orders.validate_order_id),
]
VALUES: list[object] = [
    None, True, 0, 1, -1, 1.5, 10**9, 10**9 + 1, "", " ", "\t", "\u00a0", "\u2003 ", "a", " a", "a\n", "\na", "a\x00",
    "a\x7fb", "\x85", "a\x9f", "\u2028a", "a" * 128, "a" * 129, "a" * 1024, "a" * 1025, "é", "a-b", "a_b.c:d", "a]b",
    "a\\b", "<", "📓", ".", "..", "...", ".a", ". ", ".\n", [], {},
]  # fmt: skip


@pytest.mark.parametrize(("field", "rule"), TRANSITIONS, ids=[field for field, _ in TRANSITIONS])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_the_schemas_accept_what_the_rules_accept(field: str, rule: Callable[[object], str | None], value: object):
    assert accepts(NEW_ORDER[field], value) is (rule(value) is None)


@pytest.mark.parametrize(("field", "rule"), TRANSITIONS, ids=[field for field, _ in TRANSITIONS])
def test_the_schemas_accept_what_the_rules_accept_whatever_it_is(field: str, rule: Callable[[object], str | None]):
    anything = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.text("ab-_.: \x00\x9f\n", max_size=9))

    @given(anything)
    @example("a" * orders.PRODUCT_MAX_BYTES)
    @example("..")
    def check(value: object) -> None:
        assert accepts(NEW_ORDER[field], value) is (rule(value) is None)

    check()


def test_the_amendment_has_the_same_fields_without_the_id():
    amendment = SCHEMAS["Amendment"]["properties"]
    assert amendment == {name: NEW_ORDER[name] for name in orders.UPDATE_FIELDS}
    assert set(NEW_ORDER) == set(orders.CREATE_FIELDS)


@pytest.mark.parametrize("schema", ["NewOrder", "Amendment"])
def test_a_body_with_a_field_more_or_less_is_none(schema: str):
    full = {"product": "Pen", "quantity": 1}
    assert accepts(SCHEMAS[schema], full)
    for body in ({**full, "color": "red"}, {"product": "Pen"}, {"quantity": 1}, {}, [full]):
        assert not accepts(SCHEMAS[schema], body)
        draft = orders.parse_order(json.dumps(body).encode(), orders.CREATE_FIELDS) if isinstance(body, dict) else {}
        assert isinstance(draft, dict)


def parameters(path: str) -> dict[str, Any]:
    return {parameter["name"]: parameter["schema"] for parameter in DOCUMENT["paths"][path]["get"]["parameters"]}


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 89, 90, 91, 99, 100, 101, 1000])
def test_query_parameters_end_where_the_routes_refuse(number: int):
    listing, trends = parameters("/totals"), parameters("/totals/{product}/trend")
    for name in ("limit", "top"):
        assert accepts(listing[name], number) is not isinstance(totals.parse_query({name: str(number)}), dict)
    assert accepts(trends["days"], number) is isinstance(trend.days_asked({"days": str(number)}), int)


@pytest.mark.parametrize("name", ["limit", "cursor", "top"])
def test_what_cannot_be_combined_has_no_default_that_a_client_would_send(name: str):
    assert "default" not in parameters("/totals")[name]


def test_query_parameters_are_those_that_the_routes_know():
    assert totals.parse_query({"x": "1"}) == {
        "x": f"is not a parameter here; there is {', '.join(parameters('/totals'))}"
    }
    assert trend.days_asked({"x": "1"}) == {
        "x": f"is not a parameter here; there is {', '.join(parameters('/totals/{product}/trend'))}"
    }


def test_defaults_are_those_of_the_routes():
    described = {each["name"]: each["description"] for each in DOCUMENT["paths"]["/totals"]["get"]["parameters"]}
    assert f"{totals.LIMIT_DEFAULT} if omitted" in described["limit"]
    assert parameters("/totals/{product}/trend")["days"]["default"] == trend.days_asked({})


# --- Who may ask ---------------------------------------------------------------------------------


def wanted(document: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    }


def test_an_open_api_wants_nothing():
    assert DOCUMENT["security"] == []
    assert set(wanted(DOCUMENT).values()) == {None}


def test_it_says_what_a_stage_wants_of_readers_and_of_writers_and_of_neither_at_the_page():
    document = openapi.document("/api", Settings(Access.IAM, Access.KEY))
    validate(document)
    for (method, path), security in wanted(document).items():
        about = path in ("/", "/openapi.json")
        assert security == (None if about else [{"iam": []}] if method == "get" else [{"key": []}])
        assert about or "403" in document["paths"][path][method]["responses"]
    assert json.loads(json.dumps(document))["components"]["securitySchemes"].keys() == {"iam", "key"}
    assert openapi.document("/api") == DOCUMENT
