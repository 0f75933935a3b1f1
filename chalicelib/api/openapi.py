"""The API's description, an OpenAPI 3.1 document: what every route takes and answers with.

Limits and defaults come from the modules whose rules they are. That the routes are these, and that they answer
as it says here, is shown by tests/integration/test_description.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib import orders, stream_lag
from chalicelib.api import totals, trend
from chalicelib.api.access import OPEN_TO_ALL, Access, Settings

VERSION = "1.0.0"

Schema = dict[str, Any]


def document(base: str, access: Settings = OPEN_TO_ALL) -> dict[str, Any]:
    """The document; `base` is the path under which the routes are, such as `/api` for a deployed stage."""
    described = _document(base)
    wanted = {access.reads, access.writes} - {Access.OPEN}
    if wanted:
        described["paths"] = _guarded(described["paths"], access)
        described["components"]["securitySchemes"] = {name: _SECURITY[name] for name in sorted(wanted)}
    return described


def _document(base: str) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Order Totals",
            "version": VERSION,
            "summary": "How much of each product has been ordered, exact and within a second or two.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base}],
        "security": [],  # Nothing, unless an operation says otherwise.
        "tags": [
            {"name": "orders", "description": "Placing orders, amending and cancelling them."},
            {"name": "totals", "description": "What the orders come to."},
            {"name": "about", "description": "The dashboard, and this description."},
        ],
        "paths": {
            "/orders": {"post": _PLACE},
            "/orders/{orderId}": {
                "parameters": [_ORDER_ID_IN_PATH],
                "get": _SHOW_ORDER,
                "put": _AMEND,
                "delete": _CANCEL,
            },
            "/totals": {"get": _LIST_TOTALS},
            "/totals/{product}": {"parameters": [_PRODUCT_IN_PATH], "get": _SHOW_TOTAL},
            "/totals/{product}/trend": {"parameters": [_PRODUCT_IN_PATH], "get": _SHOW_TREND},
            "/": {"get": _SHOW_DASHBOARD},
            "/openapi.json": {"get": _SHOW_DESCRIPTION},
        },
        "components": {"schemas": _SCHEMAS, "responses": _RESPONSES},
    }


# --- Who may ask ---------------------------------------------------------------------------------

_SECURITY: dict[Access, Schema] = {
    Access.KEY: {"type": "apiKey", "in": "header", "name": "x-api-key"},
    Access.IAM: {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4, service execute-api.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
}


def _guarded(paths: Mapping[str, Any], access: Settings) -> dict[str, Any]:
    """The paths, with what is wanted for each operation."""
    guarded: dict[str, Any] = {}
    for path, operations in paths.items():
        guarded[path] = dict(operations)
        for method, operation in operations.items():
            wanted = access.reads if method == "get" else access.writes
            if method != "parameters" and "about" not in operation["tags"] and wanted is not Access.OPEN:
                responses = {**operation["responses"], "403": _NOT_ALLOWED}
                guarded[path][method] = {**operation, "security": [{wanted: []}], "responses": responses}
    return guarded


_NOT_ALLOWED: Schema = {
    "description": "The request lacks what `security` wants, or that does not allow it. API Gateway says so.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"message": {"type": "string"}}},
            "example": {"message": "Forbidden"},
        }
    },
}


_DESCRIPTION = """\
Orders placed here, or written into the orders' table directly, are counted by way of the table's stream: what \
an answer says of totals may be a second or two behind what it says of orders. `GET /orders/{orderId}` tells \
whether an order has been counted.

Request bodies are JSON. They are read as such also without a content type and with the one that curl gives \
of its own accord, `application/x-www-form-urlencoded`. The table's spelling of the fields, `OrderID`, `Product` \
and `Quantity`, is taken as well.

Product names and order ids stand percent-encoded in paths, a `/` as `%2F`.

API Gateway itself responds to requests for other paths and methods, with 404; or with 403 and `{"message": …}` if \
requests must be signed or the app was deployed by `chalice deploy`. It responds with 429 to more requests than it is \
set to take."""


# --- Schemas -------------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], optional: Sequence[str] = (), **more: Any) -> Schema:
    """An object that has these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


_NO_DOT_SEGMENT = r"(?!\.{1,2}$)"
_NO_CONTROL = f"[^{orders.CONTROL_CHARACTERS}]*"
_PRODUCT: Schema = {
    "type": "string",
    "description": f"Not blank, not `.` or `..`, no control characters, up to {orders.PRODUCT_MAX_BYTES} UTF-8 bytes.",
    "minLength": 1,
    "maxLength": orders.PRODUCT_MAX_BYTES,  # In characters; a schema cannot count bytes.
    "pattern": rf"^{_NO_DOT_SEGMENT}{_NO_CONTROL}[^\s{orders.CONTROL_CHARACTERS}]{_NO_CONTROL}$",
    "examples": ["Notebook"],
}
_QUANTITY: Schema = {
    "type": "integer",
    "description": "A whole number, written without a decimal point.",
    "minimum": 1,
    "maximum": orders.QUANTITY_MAX,
    "examples": [5],
}
_ORDER_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": orders.ORDER_ID_MAX_CHARACTERS,
    "pattern": f"^{_NO_DOT_SEGMENT}[{orders.ORDER_ID_CHARACTERS}]+$",
    "examples": ["order-1"],
}
_INSTANT: Schema = {"type": "string", "format": "date-time", "examples": ["2026-11-23T18:13:05Z"]}
_AMOUNT: Schema = {"type": "integer", "minimum": 0}
_PROBLEMS: Schema = {
    "type": "object",
    "description": "All that is wrong, by field or parameter.",
    "minProperties": 1,
    "additionalProperties": {"type": "string"},
    "examples": [{"quantity": f"must be a whole number from 1 to {orders.QUANTITY_MAX}"}],
}

_AS_STORED = (
    "May be missing or of any type in an order that was written to the table directly. "
    "A value that is neither a string nor a whole number has DynamoDB's JSON form, with binary in base64: "
    '`{"B": "AAE="}`.'
)
_STORED_ORDER: dict[str, Schema] = {
    "orderId": {"type": "string", "minLength": 1, "examples": ["order-1"]},
    "product": {"description": _AS_STORED, "examples": ["Notebook"]},
    "quantity": {"description": _AS_STORED, "examples": [5]},
    "placedAt": {
        "description": f"When it was placed, UTC. {_AS_STORED}",
        "examples": ["2026-11-23T18:13:05.250Z"],
    },
}
_NEED_NOT_BE = ("product", "quantity", "placedAt")

_SCHEMAS: dict[str, Schema] = {
    "NewOrder": _object(
        {
            "product": _PRODUCT,
            "quantity": _QUANTITY,
            "orderId": {
                **_ORDER_ID,
                "description": "For trying again without ordering twice. Not `.` or `..`. Made if not given.",
            },
        },
        optional=["orderId"],
        examples=[
            {"product": "Notebook", "quantity": 5},
            {"product": "Notebook", "quantity": 5, "orderId": "order-1"},
        ],
    ),
    "Amendment": _object(
        {"product": _PRODUCT, "quantity": _QUANTITY}, examples=[{"product": "Notebook", "quantity": 7}]
    ),
    "Order": _object(
        {**_STORED_ORDER, "product": _PRODUCT, "quantity": _QUANTITY},
        optional=["placedAt"],
        examples=[{"orderId": "order-1", "product": "Notebook", "quantity": 5, "placedAt": "2026-11-23T18:13:05.250Z"}],
    ),
    "OrderAndStanding": _object(
        {
            **_STORED_ORDER,
            "counted": {"type": "boolean", "description": "Whether the totals include the order as it is now."},
            "rejected": {**_PROBLEMS, "description": "Why it is not counted: what is wrong with it, by field."},
            "ledgerProblem": {
                "type": "string",
                "description": "Why it is not counted: its ledger entry cannot be read, until an audit repairs it.",
            },
        },
        optional=[*_NEED_NOT_BE, "rejected", "ledgerProblem"],
        examples=[
            {
                "orderId": "order-1",
                "product": "Notebook",
                "quantity": 5,
                "placedAt": "2026-11-23T18:13:05.250Z",
                "counted": True,
            },
            {
                "orderId": "order-2",
                "product": "Notebook",
                "quantity": 0,
                "counted": False,
                "rejected": {"quantity": f"must be a whole number from 1 to {orders.QUANTITY_MAX}"},
            },
            {
                "orderId": "order-3",
                "product": "Notebook",
                "quantity": 5,
                "counted": False,
                "ledgerProblem": "The ledger entry cannot be read: revision is missing or not a whole number."
                " An audit with repair rebuilds it.",
            },
        ],
    ),
    "Total": _object(
        {
            "product": {"type": "string", "examples": ["Notebook"]},
            "totalQuantity": {**_AMOUNT, "description": "The sum of the orders' quantities."},
            "orderCount": {**_AMOUNT, "description": "How many orders that are."},
            "updatedAt": {
                **_INSTANT,
                "type": ["string", "null"],
                "description": "When the total last changed; null if something else than this app has written it.",
            },
        },
        examples=[{"product": "Notebook", "totalQuantity": 12, "orderCount": 3, "updatedAt": "2026-11-23T18:13:05Z"}],
    ),
    "Freshness": _object(
        {
            "lagSeconds": {
                "type": "number",
                "minimum": 0,
                "description": "How old the oldest change of the batch was when the batch ended.",
            },
            "measuredAt": {**_INSTANT, "description": "When the batch ended."},
            "state": {
                "enum": list(stream_lag.State),
                "description": (
                    "`current`: the batch was counted, and no backlog is left. `catchingUp`: it was counted, and a "
                    "backlog is left. `failing`: it could not be counted; it is tried again, and its orders wait."
                ),
            },
            "failingSince": {
                **_INSTANT,
                "type": ["string", "null"],
                "description": "When the first of the failures in a row was reported; null unless `failing`.",
            },
        },
        description=(
            "What the counting last reported about a batch of changes: at once when the state changes, else at most "
            "every few seconds. Several shards of the stream report to the same place, and the last report is shown."
        ),
        examples=[{"lagSeconds": 0.4, "measuredAt": "2026-11-23T18:13:05Z", "state": "current", "failingSince": None}],
    ),
    "Totals": _object(
        {
            "totals": {"type": "array", "items": _ref("Total"), "maxItems": max(totals.LIMIT_MAX, totals.TOP_MAX)},
            "cursor": {"type": ["string", "null"], "description": "Leads to the next page; null on the last one."},
            "freshness": {
                "anyOf": [_ref("Freshness"), {"type": "null"}],
                "description": "Null until the first batch of changes, and if the report cannot be read.",
            },
        },
        optional=["cursor"],  # With `top` there are no pages.
    ),
    "Day": _object(
        {
            "day": {"type": "string", "format": "date", "examples": ["2026-11-23"]},
            "total": _AMOUNT,
            "hours": {
                "type": "array",
                "items": _AMOUNT,
                "minItems": 24,
                "maxItems": 24,
                "description": "The quantities ordered from 00:00 to 01:00, from 01:00 to 02:00, and so on.",
            },
        }
    ),
    "Trend": _object(
        {
            "product": {"type": "string", "examples": ["Notebook"]},
            "total": {**_AMOUNT, "description": "What was ordered on all these days."},
            "days": {
                "type": "array",
                "items": _ref("Day"),
                "minItems": 1,
                "maxItems": trend.DAYS_MAX,
                "description": "Every day, UTC, also without orders. The last one is today.",
            },
        }
    ),
    "Error": _object(
        {
            "Code": {"type": "string", "description": "The kind of error."},
            "Message": {"type": "string", "description": "What is wrong, for people."},
            "problems": _PROBLEMS,
        },
        optional=["problems"],
        examples=[{"Code": "NotFoundError", "Message": "There is no order order-9."}],
    ),
}


# --- Answers -------------------------------------------------------------------------------------


def _json(description: str, schema: Schema, **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}, **more}


def _error(description: str, code: str, message: str, problems: Mapping[str, str] | None = None) -> Schema:
    example = {"Code": code, "Message": message} | ({"problems": problems} if problems else {})
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref("Error"), "example": example}},
    }


_BAD_QUANTITY = {"quantity": f"must be a whole number from 1 to {orders.QUANTITY_MAX}"}
_BAD_DAYS = {"days": f"must be a whole number from 1 to {trend.DAYS_MAX}"}
_BAD_CURSOR = {"cursor": totals.BAD_CURSOR}


def _refused(description: str, problems: Mapping[str, str]) -> Schema:
    (field, problem), *_ = problems.items()
    return _error(description, "BadRequestError", f"{field} {problem}", problems)


_RESPONSES: dict[str, Schema] = {
    "BadOrder": _refused("The order is not valid, or the body no JSON object.", _BAD_QUANTITY),
    "BadDays": _refused("A parameter is not valid, or the path is not percent-encoded UTF-8.", _BAD_DAYS),
    "BadListing": _refused("A parameter is not valid, or there is one that is not here.", _BAD_CURSOR),
    "BadPath": _error(
        "The path is not percent-encoded UTF-8.", "BadRequestError", "The path is not percent-encoded UTF-8."
    ),
    "NoSuchOrder": _error("There is no such order.", "NotFoundError", "There is no order order-9."),
    "NothingCounted": _error(
        "Nothing has been counted for the product yet. An order is counted within a second or two.",
        "NotFoundError",
        "Nothing has been counted for Notepad yet.",
    ),
    "Conflict": _error(
        "There is another order with this id.",
        "ConflictError",
        "Order order-1 is there already with other content; PUT /orders/order-1 amends it.",
    ),
    "OtherContentType": _error(
        "The body says that it is something else than JSON.",
        "UnsupportedMediaType",
        "Unsupported media type: text/plain",
    ),
    "Failed": _error(
        "Something went wrong that is not the sender's fault. The request may be made again.",
        "InternalServerError",
        "An internal server error occurred.",
    ),
    "Unavailable": _error(
        "The database is out of reach or too busy. The request may be made again, soon.",
        "ServiceUnavailableError",
        "The database is out of reach or too busy. Try again in a second.",
    ),
}


def _responses(good: Mapping[str, Schema], bad: Mapping[str, str]) -> Schema:
    """The answers by their status; 500 and 503 are some of any route that asks the database."""
    named = {**bad, "500": "Failed", "503": "Unavailable"}
    return {**good, **{status: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}}


# --- Operations ----------------------------------------------------------------------------------


def _path_parameter(name: str, description: str, example: str) -> Schema:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _query_parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _whole(largest: int, **more: Any) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": largest, **more}


def _body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


_ORDER_ID_IN_PATH = _path_parameter(
    "orderId", "The order's id; also one that was written into the table directly.", "order-1"
)
_PRODUCT_IN_PATH = _path_parameter("product", "The product's name.", "Notebook")

_LOCATION: Schema = {
    "Location": {"description": "The order's path.", "required": True, "schema": {"type": "string"}},
}

_PLACE: Schema = {
    "operationId": "placeOrder",
    "tags": ["orders"],
    "summary": "Place an order",
    "description": "Whoever gives the order an id can send it again until an answer comes: it is placed once.",
    "requestBody": _body("NewOrder"),
    "responses": _responses(
        {
            "201": _json("The order has been placed.", _ref("Order"), headers=_LOCATION),
            "200": _json("It is there already, with this content.", _ref("Order"), headers=_LOCATION),
        },
        {"400": "BadOrder", "409": "Conflict", "415": "OtherContentType"},
    ),
}
_SHOW_ORDER: Schema = {
    "operationId": "showOrder",
    "tags": ["orders"],
    "summary": "Show an order, and whether the totals include it",
    "responses": _responses(
        {"200": _json("The order.", _ref("OrderAndStanding"))}, {"400": "BadPath", "404": "NoSuchOrder"}
    ),
}
_AMEND: Schema = {
    "operationId": "amendOrder",
    "tags": ["orders"],
    "summary": "Amend an order",
    "requestBody": _body("Amendment"),
    "responses": _responses(
        {"200": _json("The order as it is now.", _ref("Order"))},
        {"400": "BadOrder", "404": "NoSuchOrder", "415": "OtherContentType"},
    ),
}
_CANCEL: Schema = {
    "operationId": "cancelOrder",
    "tags": ["orders"],
    "summary": "Cancel an order",
    "responses": _responses({"204": {"description": "It is cancelled."}}, {"400": "BadPath", "404": "NoSuchOrder"}),
}
_LIST_TOTALS: Schema = {
    "operationId": "listTotals",
    "tags": ["totals"],
    "summary": "List totals: page by page in no particular order, or the largest",
    "parameters": [
        # None has a `default`: a generated client would send it, also with a parameter that it cannot be combined with.
        _query_parameter(
            "limit",
            f"How many totals a page has; {totals.LIMIT_DEFAULT} if omitted. Cannot be combined with `top`.",
            _whole(totals.LIMIT_MAX),
        ),
        _query_parameter(
            "cursor",
            "The `cursor` of the previous page; omit it for the first page. Cannot be combined with `top`.",
            {"type": "string"},
        ),
        _query_parameter(
            "top",
            "Show only this many of the largest totals by quantity, ties by name; if omitted, all totals in pages. "
            "Cannot be combined with `limit` or `cursor`.",
            _whole(totals.TOP_MAX),
        ),
    ],
    "responses": _responses({"200": _json("Totals.", _ref("Totals"))}, {"400": "BadListing"}),
}
_SHOW_TOTAL: Schema = {
    "operationId": "showTotal",
    "tags": ["totals"],
    "summary": "Show a product's total",
    "responses": _responses({"200": _json("The total.", _ref("Total"))}, {"400": "BadPath", "404": "NothingCounted"}),
}
_SHOW_TREND: Schema = {
    "operationId": "showTrend",
    "tags": ["totals"],
    "summary": "Show what was ordered of a product by day and hour",
    "parameters": [
        _query_parameter("days", "How many days, up to today.", _whole(trend.DAYS_MAX, default=trend.DAYS_DEFAULT))
    ],
    "responses": _responses({"200": _json("The trend.", _ref("Trend"))}, {"400": "BadDays", "404": "NothingCounted"}),
}
_SHOW_DASHBOARD: Schema = {
    "operationId": "showDashboard",
    "tags": ["about"],
    "summary": "Show the dashboard",
    "responses": {"200": {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}},
}
_SHOW_DESCRIPTION: Schema = {
    "operationId": "showDescription",
    "tags": ["about"],
    "summary": "Show this description",
    "responses": {"200": _json("An OpenAPI document.", {"type": "object"})},
}
