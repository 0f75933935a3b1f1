"""Tests that the app and its OpenAPI document agree: they have the same routes, and every response is described."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.api import http, openapi
from tests.integration.error_responses import error_response
from tests.streams import Stream, item

DOCUMENT = openapi.document("/")


def test_document_has_exactly_the_routes_of_the_app(shell):
    registered = [(without_names(path), method) for path, methods in shell.app.routes.items() for method in methods]
    described = [
        (without_names(path), method.upper())
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
        if method != "parameters"
    ]
    assert sorted(described) == sorted(registered)


def without_names(path: str) -> str:
    """Return a path without its parameters' names, which differ between Chalice and the document."""
    return re.sub(r"\{\w+\}", "{}", path)


def test_document_is_served(client):
    result = client.http.get("/openapi.json")
    assert result.status_code == 200
    assert result.json_body == DOCUMENT


def test_document_has_the_content_types_of_the_routes(shell):
    for path, methods in shell.app.routes.items():
        for method, route in methods.items():
            described = operation(path, method).get("requestBody", {"content": {}})["content"]
            assert bool(described) == (route.content_types == http.BODY_TYPES)
            assert set(described) <= set(route.content_types)


# --- Responses -----------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
DEFAULT_CONTENT_TYPE = "application/json"
NOTEBOOK = {"product": "Notebook", "quantity": 5}


def case(method: str, path: str, route: str, status: int, body: Any = None, headers: Any = None) -> Any:
    return pytest.param(method, path, route, status, body, headers or JSON, id=f"{method} {path[:40]} {status}")


REQUESTS = [
    case("POST", "/orders", "/orders", 201, NOTEBOOK),
    case("POST", "/orders", "/orders", 201, {**NOTEBOOK, "orderId": "order-9"}),
    case("POST", "/orders", "/orders", 200, {**NOTEBOOK, "orderId": "plain"}),
    case("POST", "/orders", "/orders", 200, {"product": "Ink", "quantity": 1, "orderId": "by-hand"}),
    case("POST", "/orders", "/orders", 400, {"product": " ", "quantity": 0, "orderId": "/", "color": "red"}),
    case("POST", "/orders", "/orders", 400, b"{"),
    case("POST", "/orders", "/orders", 400, b"[]"),
    case("POST", "/orders", "/orders", 409, {**NOTEBOOK, "quantity": 6, "orderId": "plain"}),
    case("POST", "/orders", "/orders", 415, NOTEBOOK, {"Content-Type": "text/plain"}),
    case("GET", "/orders", "/orders", 200),
    case("GET", "/orders?recent=20", "/orders", 200),
    case("GET", "/orders?recent=21", "/orders", 400),
    case("GET", "/orders/plain", "/orders/{orderId}", 200),
    case("GET", "/orders/by-hand", "/orders/{orderId}", 200),
    case("GET", "/orders/broken", "/orders/{orderId}", 200),
    case("GET", "/orders/empty", "/orders/{orderId}", 200),
    case("GET", "/orders/binary", "/orders/{orderId}", 200),
    case("GET", "/orders/odd%20%2F%20id", "/orders/{orderId}", 200),
    case("GET", "/orders/%FF", "/orders/{orderId}", 400),
    case("GET", "/orders/order-9", "/orders/{orderId}", 404),
    case("PUT", "/orders/plain", "/orders/{orderId}", 200, NOTEBOOK),
    case("PUT", "/orders/broken", "/orders/{orderId}", 200, NOTEBOOK),
    case("PUT", "/orders/plain", "/orders/{orderId}", 400, {"product": "Pen"}),
    case("PUT", "/orders/%FF", "/orders/{orderId}", 400, NOTEBOOK),
    case("PUT", "/orders/order-9", "/orders/{orderId}", 404, NOTEBOOK),
    case("PUT", "/orders/plain", "/orders/{orderId}", 415, NOTEBOOK, {"Content-Type": "text/plain"}),
    case("DELETE", "/orders/plain", "/orders/{orderId}", 204),
    case("DELETE", "/orders/%FF", "/orders/{orderId}", 400),
    case("DELETE", "/orders/order-9", "/orders/{orderId}", 404),
    case("GET", "/totals", "/totals", 200),
    case("GET", "/totals?limit=1", "/totals", 200),
    case("GET", "/totals?top=1", "/totals", 200),
    case("GET", "/totals?top=1&trend=Notebook&days=90", "/totals", 200),
    case("GET", "/totals?top=1&trend=Notepad", "/totals", 200),
    case("GET", "/totals?top=1&recent=5", "/totals", 200),
    case("GET", "/totals?limit=0&cursor=x&size=1", "/totals", 400),
    case("GET", "/totals?top=1&limit=1", "/totals", 400),
    case("GET", "/totals/Notebook", "/totals/{product}", 200),
    case("GET", "/totals/%FF", "/totals/{product}", 400),
    case("GET", "/totals/Notepad", "/totals/{product}", 404),
    case("GET", "/totals/%20", "/totals/{product}", 404),
    case("GET", "/totals/Notebook/trend", "/totals/{product}/trend", 200),
    case("GET", "/totals/Notebook/trend?days=90", "/totals/{product}/trend", 200),
    case("GET", "/totals/Notebook/trend?days=91", "/totals/{product}/trend", 400),
    case("GET", "/totals/%FF/trend", "/totals/{product}/trend", 400),
    case("GET", "/totals/Notepad/trend", "/totals/{product}/trend", 404),
    case("GET", "/audit", "/audit", 200),
    case("POST", "/audit", "/audit", 202),
    case("GET", "/views", "/views", 200),
    case("GET", "/views/totals", "/views/{view}", 200),
    case("GET", "/views/totals?top=1", "/views/{view}", 200),
    case("GET", "/views/trend?limit=1&recent=5", "/views/{view}", 200),
    case("GET", "/views/trend?top=1&limit=0&cursor=x", "/views/{view}", 400),
    case("GET", "/views/sums", "/views/{view}", 404),
    case("GET", "/views/totals/Notebook", "/views/{view}/{key}", 200),
    case("GET", "/views/trend/Notebook?from=2026&to=2027", "/views/{view}/{key}", 200),
    case("GET", "/views/trend/Notepad", "/views/{view}/{key}", 200),
    case("GET", "/views/trend/Notebook?from=b&to=a", "/views/{view}/{key}", 400),
    case("GET", "/views/totals/%FF", "/views/{view}/{key}", 400),
    case("GET", "/views/totals/Notepad", "/views/{view}/{key}", 404),
    case("GET", "/views/trend/Notebook/2026-11-23", "/views/{view}/{key}/{sortKey}", 200),
    case("GET", "/views/trend/Notebook/%FF", "/views/{view}/{key}/{sortKey}", 400),
    case("GET", "/views/trend/Notebook/2026", "/views/{view}/{key}/{sortKey}", 404),
    case("GET", "/views/totals/Notebook/2026", "/views/{view}/{key}/{sortKey}", 404),
    case("GET", "/", "/", 200),
    case("GET", "/docs", "/docs", 200),
    case("GET", "/openapi.json", "/openapi.json", 200),
]


@pytest.fixture
def orders_of_all_kinds(client, dynamodb):
    """Write valid, unusual and invalid orders to the table and count them."""
    stream = Stream()
    for order in (
        item("plain", PlacedAt={"S": "2026-11-23T18:13:05.250Z"}),
        item("by-hand", "Ink", 1),
        item("odd / id", PlacedAt={"S": "yesterday"}),
        item("broken", 5, "many", PlacedAt={"N": "1.5"}),
        {"OrderID": {"S": "binary"}, **{name: {"B": b"\xff"} for name in ("Product", "Quantity", "PlacedAt")}},
        {"OrderID": {"S": "empty"}},
    ):
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        stream.put(order)
    client.lambda_.invoke("aggregate", {"Records": stream.records})


@pytest.mark.parametrize(("method", "path", "route", "status", "body", "headers"), REQUESTS)
def test_response_is_described(client, orders_of_all_kinds, method, path, route, status, body, headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    result = client.http.request(method, path, headers=headers, body=raw)
    assert result.status_code == status
    described = response(route, method, status)
    assert required_headers(described) <= set(result.headers)
    if "content" not in described:
        assert not result.body
        return
    content_type = result.headers.get("Content-Type", DEFAULT_CONTENT_TYPE).partition(";")[0]
    assert content_type in described["content"]
    if content_type == "application/json":
        Draft202012Validator(with_components(described["content"][content_type]["schema"])).validate(result.json_body)
        assert result.body.endswith(b"}\n")


def test_verdict_of_an_audit_is_described(client):
    client.lambda_.invoke("daily_audit", client.events.generate_cw_event("aws.events", "Scheduled Event", {}, []))
    shown = client.http.get("/audit").json_body
    assert shown["last"]["verdict"] == "clean"
    described = response("/audit", "GET", 200)["content"]["application/json"]["schema"]
    Draft202012Validator(with_components(described)).validate(shown)


def test_every_described_response_has_a_test():
    seen = {(request.values[2], request.values[0], str(request.values[3])) for request in REQUESTS}
    described = {
        (path, method.upper(), status)
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
        for status in operation["responses"]
        if status not in ("500", "503")
    }
    assert seen == described


FAILING: list[tuple[str, str, str]] = [
    ("POST", "/orders", "/orders"),
    ("GET", "/orders", "/orders"),
    ("GET", "/orders/plain", "/orders/{orderId}"),
    ("PUT", "/orders/plain", "/orders/{orderId}"),
    ("DELETE", "/orders/plain", "/orders/{orderId}"),
    ("GET", "/totals", "/totals"),
    ("GET", "/totals?top=1", "/totals"),
    ("GET", "/totals/Notebook", "/totals/{product}"),
    ("GET", "/totals/Notebook/trend", "/totals/{product}/trend"),
    ("GET", "/views", "/views"),
    ("GET", "/views/totals", "/views/{view}"),
    ("GET", "/views/totals?top=1", "/views/{view}"),
    ("GET", "/views/trend/Notebook", "/views/{view}/{key}"),
    ("GET", "/views/trend/Notebook/2026-11-23", "/views/{view}/{key}/{sortKey}"),
]


@pytest.mark.parametrize(("method", "path", "route"), FAILING)
def test_response_to_a_database_failure_is_described(client, dynamodb, method, path, route):
    for table in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=table)
    body = json.dumps(NOTEBOOK).encode() if method in ("POST", "PUT") else b""
    result = client.http.request(method, path, headers=JSON, body=body)
    assert result.status_code == 500
    assert result.body.endswith(b"}\n")
    described = response(route, method, 500)
    Draft202012Validator(with_components(described["content"]["application/json"]["schema"])).validate(result.json_body)


@pytest.mark.parametrize(("method", "path", "route"), FAILING)
def test_response_while_the_database_is_busy_is_described(client, dynamodb, method, path, route):
    busy = error_response("ThrottlingException", MaxAttemptsReached=True)
    dynamodb.meta.events.register("before-call.dynamodb", lambda **_: busy)
    body = json.dumps(NOTEBOOK).encode() if method in ("POST", "PUT") else b""
    result = client.http.request(method, path, headers=JSON, body=body)
    assert result.status_code == 503
    assert result.body.endswith(b"}\n")
    described = response(route, method, 503)["content"]["application/json"]
    Draft202012Validator(with_components(described["schema"])).validate(result.json_body)
    assert result.json_body == described["example"]


def test_unexpected_error_is_logged_once_with_its_traceback(client, shell, monkeypatch, caplog):
    error = RuntimeError("unexpected")

    def fail(**_parameters: Any) -> None:
        raise error

    monkeypatch.setattr(shell.dynamodb, "get_item", fail)
    assert client.http.get("/orders/plain").status_code == 500
    (record,) = caplog.records
    line = shell.logger.registered_handler.format(record)
    entry = json.loads(line)
    assert entry["level"] == "ERROR"
    assert entry["exception"].startswith("Traceback (most recent call last):")
    assert line.count("RuntimeError: unexpected") == line.count("unexpected") == 1


def test_order_with_an_unreadable_ledger_entry_is_described(client, dynamodb):
    dynamodb.put_item(TableName="OrdersTable", Item=item("broken"))
    dynamodb.put_item(TableName="LedgerTable", Item={"OrderID": {"S": "broken"}, "format": {"N": "1"}})
    result = client.http.get("/orders/broken")
    described = response("/orders/{orderId}", "GET", 200)["content"]["application/json"]["schema"]
    Draft202012Validator(with_components(described)).validate(result.json_body)
    example = DOCUMENT["components"]["schemas"]["OrderWithStatus"]["examples"][-1]
    assert result.json_body["ledgerProblem"] == example["ledgerProblem"]


def test_example_bodies_are_valid(client, orders_of_all_kinds):
    for body in DOCUMENT["components"]["schemas"]["NewOrder"]["examples"]:
        assert client.http.post("/orders", headers=JSON, body=json.dumps(body).encode()).status_code == 201
    for body in DOCUMENT["components"]["schemas"]["Amendment"]["examples"]:
        assert client.http.put("/orders/plain", headers=JSON, body=json.dumps(body).encode()).status_code == 200


def operation(path: str, method: str) -> dict[str, Any]:
    """Return an operation's description, whatever its path parameters are called."""
    (found,) = [each for name, each in DOCUMENT["paths"].items() if without_names(name) == without_names(path)]
    described: dict[str, Any] = found[method.lower()]
    return described


def response(path: str, method: str, status: int) -> dict[str, Any]:
    """Return a response's description, with its reference resolved."""
    described: dict[str, Any] = operation(path, method)["responses"][str(status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    return described


def required_headers(described: dict[str, Any]) -> set[str]:
    """Return the headers that a response always has."""
    return {name for name, header in described.get("headers", {}).items() if header["required"]}


def with_components(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the document's components, to which it may refer."""
    return {**schema, "components": DOCUMENT["components"]}
