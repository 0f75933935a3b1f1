"""The app is what its description says: the same routes, and no answer that is not described."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chalicelib.api import openapi
from tests.integration.refusals import refusal
from tests.streams import Stream, item

DOCUMENT = openapi.document("/")


def test_it_has_the_apps_routes_and_no_others(shell):
    registered = [(nameless(path), method) for path, methods in shell.app.routes.items() for method in methods]
    described = [
        (nameless(path), method.upper())
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
        if method != "parameters"
    ]
    assert sorted(described) == sorted(registered)


def nameless(path: str) -> str:
    """A path without its parameters' names, which Chalice spells in another way."""
    return re.sub(r"\{\w+\}", "{}", path)


def test_it_is_served_as_it_is(client):
    answer = client.http.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json_body == DOCUMENT


def test_content_types_are_those_that_the_routes_take(shell):
    for path, methods in shell.app.routes.items():
        for method, route in methods.items():
            described = operation(path, method).get("requestBody", {"content": {}})["content"]
            assert bool(described) == (route.content_types == shell.BODY_TYPES)
            assert set(described) <= set(route.content_types)


# --- Answers -------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
API_GATEWAYS_DEFAULT = "application/json"
NOTEBOOK = {"product": "Notebook", "quantity": 5}


def asks(method: str, path: str, route: str, status: int, body: Any = None, headers: Any = None) -> Any:
    return pytest.param(method, path, route, status, body, headers or JSON, id=f"{method} {path[:40]} {status}")


REQUESTS = [
    asks("POST", "/orders", "/orders", 201, NOTEBOOK),
    asks("POST", "/orders", "/orders", 201, {**NOTEBOOK, "orderId": "order-9"}),
    asks("POST", "/orders", "/orders", 200, {**NOTEBOOK, "orderId": "plain"}),
    asks("POST", "/orders", "/orders", 200, {"product": "Ink", "quantity": 1, "orderId": "by-hand"}),
    asks("POST", "/orders", "/orders", 400, {"product": " ", "quantity": 0, "orderId": "/", "color": "red"}),
    asks("POST", "/orders", "/orders", 400, b"{"),
    asks("POST", "/orders", "/orders", 400, b"[]"),
    asks("POST", "/orders", "/orders", 409, {**NOTEBOOK, "quantity": 6, "orderId": "plain"}),
    asks("POST", "/orders", "/orders", 415, NOTEBOOK, {"Content-Type": "text/plain"}),
    asks("GET", "/orders/plain", "/orders/{orderId}", 200),
    asks("GET", "/orders/by-hand", "/orders/{orderId}", 200),
    asks("GET", "/orders/broken", "/orders/{orderId}", 200),
    asks("GET", "/orders/empty", "/orders/{orderId}", 200),
    asks("GET", "/orders/binary", "/orders/{orderId}", 200),
    asks("GET", "/orders/odd%20%2F%20id", "/orders/{orderId}", 200),
    asks("GET", "/orders/%FF", "/orders/{orderId}", 400),
    asks("GET", "/orders/order-9", "/orders/{orderId}", 404),
    asks("PUT", "/orders/plain", "/orders/{orderId}", 200, NOTEBOOK),
    asks("PUT", "/orders/broken", "/orders/{orderId}", 200, NOTEBOOK),
    asks("PUT", "/orders/plain", "/orders/{orderId}", 400, {"product": "Pen"}),
    asks("PUT", "/orders/%FF", "/orders/{orderId}", 400, NOTEBOOK),
    asks("PUT", "/orders/order-9", "/orders/{orderId}", 404, NOTEBOOK),
    asks("PUT", "/orders/plain", "/orders/{orderId}", 415, NOTEBOOK, {"Content-Type": "text/plain"}),
    asks("DELETE", "/orders/plain", "/orders/{orderId}", 204),
    asks("DELETE", "/orders/%FF", "/orders/{orderId}", 400),
    asks("DELETE", "/orders/order-9", "/orders/{orderId}", 404),
    asks("GET", "/totals", "/totals", 200),
    asks("GET", "/totals?limit=1", "/totals", 200),
    asks("GET", "/totals?top=1", "/totals", 200),
    asks("GET", "/totals?limit=0&cursor=x&size=1", "/totals", 400),
    asks("GET", "/totals?top=1&limit=1", "/totals", 400),
    asks("GET", "/totals/Notebook", "/totals/{product}", 200),
    asks("GET", "/totals/%FF", "/totals/{product}", 400),
    asks("GET", "/totals/Notepad", "/totals/{product}", 404),
    asks("GET", "/totals/%20", "/totals/{product}", 404),
    asks("GET", "/totals/Notebook/trend", "/totals/{product}/trend", 200),
    asks("GET", "/totals/Notebook/trend?days=90", "/totals/{product}/trend", 200),
    asks("GET", "/totals/Notebook/trend?days=91", "/totals/{product}/trend", 400),
    asks("GET", "/totals/%FF/trend", "/totals/{product}/trend", 400),
    asks("GET", "/totals/Notepad/trend", "/totals/{product}/trend", 404),
    asks("GET", "/", "/", 200),
    asks("GET", "/openapi.json", "/openapi.json", 200),
]


@pytest.fixture
def orders_of_all_kinds(client, dynamodb):
    """Orders placed, written by hand, and not valid, as counted by the stream handler."""
    told = Stream()
    for order in (
        item("plain", PlacedAt={"S": "2026-11-23T18:13:05.250Z"}),
        item("by-hand", "Ink", 1),
        item("odd / id", PlacedAt={"S": "yesterday"}),
        item("broken", 5, "many", PlacedAt={"N": "1.5"}),
        {"OrderID": {"S": "binary"}, **{name: {"B": b"\xff"} for name in ("Product", "Quantity", "PlacedAt")}},
        {"OrderID": {"S": "empty"}},
    ):
        dynamodb.put_item(TableName="OrdersTable", Item=order)
        told.put(order)
    client.lambda_.invoke("aggregate", {"Records": told.records})


@pytest.mark.parametrize(("method", "path", "route", "status", "body", "headers"), REQUESTS)
def test_answers_are_described(client, orders_of_all_kinds, method, path, route, status, body, headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer = client.http.request(method, path, headers=headers, body=raw)
    assert answer.status_code == status
    described = response(route, method, status)
    assert required_headers(described) <= set(answer.headers)
    if "content" not in described:
        assert not answer.body
        return
    content_type = answer.headers.get("Content-Type", API_GATEWAYS_DEFAULT).partition(";")[0]
    assert content_type in described["content"]
    if content_type == "application/json":
        Draft202012Validator(whole(described["content"][content_type]["schema"])).validate(answer.json_body)
        assert answer.body.endswith(b"}\n")


def test_every_described_answer_has_been_seen():
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
    ("GET", "/orders/plain", "/orders/{orderId}"),
    ("PUT", "/orders/plain", "/orders/{orderId}"),
    ("DELETE", "/orders/plain", "/orders/{orderId}"),
    ("GET", "/totals", "/totals"),
    ("GET", "/totals/Notebook", "/totals/{product}"),
    ("GET", "/totals/Notebook/trend", "/totals/{product}/trend"),
]


@pytest.mark.parametrize(("method", "path", "route"), FAILING)
def test_a_failure_of_the_database_is_described(client, dynamodb, method, path, route):
    for table in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=table)
    body = json.dumps(NOTEBOOK).encode() if method in ("POST", "PUT") else b""
    answer = client.http.request(method, path, headers=JSON, body=body)
    assert answer.status_code == 500
    assert answer.body.endswith(b"}\n")
    described = response(route, method, 500)
    Draft202012Validator(whole(described["content"]["application/json"]["schema"])).validate(answer.json_body)


@pytest.mark.parametrize(("method", "path", "route"), FAILING)
def test_a_busy_database_is_described(client, dynamodb, method, path, route):
    busy = refusal("ThrottlingException", MaxAttemptsReached=True)
    dynamodb.meta.events.register("before-call.dynamodb", lambda **_: busy)
    body = json.dumps(NOTEBOOK).encode() if method in ("POST", "PUT") else b""
    answer = client.http.request(method, path, headers=JSON, body=body)
    assert answer.status_code == 503
    assert answer.body.endswith(b"}\n")
    described = response(route, method, 503)["content"]["application/json"]
    Draft202012Validator(whole(described["schema"])).validate(answer.json_body)
    assert answer.json_body == described["example"]


def test_an_unexpected_error_is_one_log_entry_with_one_traceback(client, shell, monkeypatch, caplog):
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


def test_an_order_with_an_unreadable_ledger_entry_is_described(client, dynamodb):
    dynamodb.put_item(TableName="OrdersTable", Item=item("broken"))
    dynamodb.put_item(TableName="LedgerTable", Item={"OrderID": {"S": "broken"}, "format": {"N": "1"}})
    answer = client.http.get("/orders/broken")
    described = response("/orders/{orderId}", "GET", 200)["content"]["application/json"]["schema"]
    Draft202012Validator(whole(described)).validate(answer.json_body)
    example = DOCUMENT["components"]["schemas"]["OrderWithStatus"]["examples"][-1]
    assert answer.json_body["ledgerProblem"] == example["ledgerProblem"]


def test_the_examples_of_bodies_are_taken(client, orders_of_all_kinds):
    for body in DOCUMENT["components"]["schemas"]["NewOrder"]["examples"]:
        assert client.http.post("/orders", headers=JSON, body=json.dumps(body).encode()).status_code == 201
    for body in DOCUMENT["components"]["schemas"]["Amendment"]["examples"]:
        assert client.http.put("/orders/plain", headers=JSON, body=json.dumps(body).encode()).status_code == 200


def operation(path: str, method: str) -> dict[str, Any]:
    """The description of an operation; the path's parameters may have any names."""
    (found,) = [each for name, each in DOCUMENT["paths"].items() if nameless(name) == nameless(path)]
    described: dict[str, Any] = found[method.lower()]
    return described


def response(path: str, method: str, status: int) -> dict[str, Any]:
    """The description of an answer."""
    described: dict[str, Any] = operation(path, method)["responses"][str(status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    return described


def required_headers(described: dict[str, Any]) -> set[str]:
    """The headers that an answer always has."""
    return {name for name, header in described.get("headers", {}).items() if header["required"]}


def whole(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to."""
    return {**schema, "components": DOCUMENT["components"]}
