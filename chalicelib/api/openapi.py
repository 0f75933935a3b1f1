"""The API's OpenAPI 3.1 document: the requests and responses of every route.

Limits and defaults come from the modules that enforce them. tests/integration/test_description.py checks that the
document and the app's routes and responses agree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib import orders, stream_lag, views
from chalicelib.api import rows, top_list, totals, trend
from chalicelib.api.access import OPEN_TO_ALL, Access, Settings
from chalicelib.fields import Field
from chalicelib.jobs.audit import Verdict
from chalicelib.views import VIEWS, View

VERSION = "1.0.0"

Schema = dict[str, Any]


def document(base: str, access: Settings = OPEN_TO_ALL) -> dict[str, Any]:
    """Return a stage's OpenAPI document. `base` is the base path of its routes, such as `/api`."""
    result = _open_document(base)
    schemes = {access.reads, access.writes} - {Access.OPEN}
    if schemes:
        result["paths"] = _with_security(result["paths"], access)
        result["components"]["securitySchemes"] = {name: _SECURITY_SCHEMES[name] for name in sorted(schemes)}
    return result


def _open_document(base: str) -> dict[str, Any]:
    """Return the document for a stage without access control."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Order Totals",
            "version": VERSION,
            "summary": "Exact totals of ordered products, updated within a second or two.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base}],
        "security": [],  # No credentials by default. Protected operations have their own `security`.
        "tags": [
            {"name": "orders", "description": "Place, show, amend and cancel orders."},
            {"name": "totals", "description": "Totals and trends of the counted orders."},
            {"name": "audit", "description": "Whether every total is the sum of its orders."},
            {"name": "views", "description": "The rows of every view."},
            {"name": "about", "description": "The dashboard and this document."},
        ],
        "paths": {
            "/orders": {"post": _PLACE},
            "/orders/{orderId}": {
                "parameters": [_ORDER_ID_IN_PATH],
                "get": _SHOW_ORDER,
                "put": _AMEND,
                "delete": _CANCEL,
            },
            "/audit": {"get": _SHOW_AUDIT, "post": _REQUEST_AUDIT},
            **(_TOTALS_PATHS if totals.view() else {}),
            **(_TREND_PATHS if trend.view() else {}),
            "/views": {"get": _LIST_VIEWS},
            "/views/{view}": {"parameters": [_VIEW_IN_PATH], "get": _LIST_ROWS},
            "/views/{view}/{key}": {"parameters": [_VIEW_IN_PATH, _KEY_IN_PATH], "get": _LIST_PARTITION},
            "/views/{view}/{key}/{sortKey}": {
                "parameters": [_VIEW_IN_PATH, _KEY_IN_PATH, _SORT_KEY_IN_PATH],
                "get": _SHOW_ROW,
            },
            "/": {"get": _SHOW_DASHBOARD},
            "/openapi.json": {"get": _SHOW_DESCRIPTION},
        },
        "components": {"schemas": _SCHEMAS, "responses": _RESPONSES},
    }


# --- Access --------------------------------------------------------------------------------------

_SECURITY_SCHEMES: dict[Access, Schema] = {
    Access.KEY: {"type": "apiKey", "in": "header", "name": "x-api-key"},
    Access.IAM: {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4 for the service execute-api.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
}


def _with_security(paths: Mapping[str, Any], access: Settings) -> dict[str, Any]:
    """Return the paths with `security` and a 403 response for each operation that needs credentials."""
    result: dict[str, Any] = {}
    for path, operations in paths.items():
        result[path] = dict(operations)
        for method, operation in operations.items():
            scheme = access.reads if method == "get" else access.writes
            if method != "parameters" and "about" not in operation["tags"] and scheme is not Access.OPEN:
                responses = {**operation["responses"], "403": _FORBIDDEN}
                result[path][method] = {**operation, "security": [{scheme: []}], "responses": responses}
    return result


_FORBIDDEN: Schema = {
    "description": "The credentials are missing, wrong or without permission. API Gateway sends this response.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"message": {"type": "string"}}},
            "example": {"message": "Forbidden"},
        }
    },
}


*_NAMES, _LAST_NAME = [f"`{field.attribute}`" for field in (orders.ORDER_ID, *orders.FIELDS)]
_ATTRIBUTES = f"{', '.join(_NAMES)} and {_LAST_NAME}"
_DESCRIPTION = """\
An order is counted within a second or two after it is placed, or written to the orders table directly. Totals are \
therefore slightly behind orders. `counted` in `GET /orders/{orderId}` is true as soon as the totals include the order.

Request bodies are JSON. A content type is not needed, and curl's default, `application/x-www-form-urlencoded`, is \
read as JSON too. Fields may also have the names of the table's attributes: {attributes}.

Percent-encode product names and order ids in paths: a `/` is `%2F`.

API Gateway responds to unknown paths and methods with 404. If requests must be signed, or if the app was deployed by \
`chalice deploy`, it responds with 403 and `{"message": …}` instead. Above the stage's rate limit, it responds \
with 429.""".replace("{attributes}", _ATTRIBUTES)


# --- Schemas -------------------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], optional: Sequence[str] = (), **more: Any) -> Schema:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


_FIGURES: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
_TIMESTAMP: Schema = {"type": "string", "format": "date-time", "examples": ["2026-11-23T18:13:05Z"]}
_AMOUNT: Schema = {"type": "integer", "minimum": 0}
# The example of an invalid order has a wrong value in its last required field.
_INVALID = next((field for field in reversed(orders.FIELDS) if field.required), orders.FIELDS[-1])
_PROBLEM = {_INVALID.name: _INVALID.type.rule}
_PROBLEMS: Schema = {
    "type": "object",
    "description": "Every error, by field or parameter.",
    "minProperties": 1,
    "additionalProperties": {"type": "string"},
    "examples": [_PROBLEM],
}

_AS_STORED = (
    "In an order that was written to the table directly, it can be absent or of any type. "
    "A value that is neither a string nor a whole number is in DynamoDB's JSON, with binary in base64: "
    '`{"B": "AAE="}`.'
)


def _as_stored(field: Field, prefix: str = "") -> Schema:
    return {"description": f"{prefix}{field.type.shown_as}{_AS_STORED}", "examples": [_shown(field)]}


def _shown(field: Field) -> Any:
    """Return a field's value in an example response."""
    return field.type.show(field.type.write(field.type.check(field.examples.new)))


def _in_response(field: Field) -> Schema:
    return {**field.type.schema, "examples": [_shown(field)]}


def _in_request(field: Field) -> Schema:
    schema = {**(field.type.request_schema or field.type.schema), "examples": [field.examples.new]}
    return schema if field.required else {"anyOf": [schema, {"type": "null"}]}


_REQUEST = {field.name: _in_request(field) for field in orders.FIELDS}
_OPTIONAL = [field.name for field in orders.FIELDS if not field.required]
_STORED_ORDER: dict[str, Schema] = {
    "orderId": {"type": "string", "minLength": 1, "examples": ["order-1"]},
    **{field.name: _as_stored(field) for field in orders.FIELDS},
    "placedAt": _as_stored(orders.PLACED_AT, "When the order was placed, in UTC. "),
}
_CAN_BE_ABSENT = [name for name in _STORED_ORDER if name != "orderId"]
_CONTENT = {field.name: _shown(field) for field in orders.FIELDS}
_PLACED = {"placedAt": orders.PLACED_AT.examples.new}

_FRESHNESS: Schema = {
    "anyOf": [_ref("Freshness"), {"type": "null"}],
    "description": "Null before the first batch of changes, or if the report cannot be read.",
}
_CURSOR: Schema = {
    "type": ["string", "null"],
    "description": "The cursor of the next page. Null on the last page.",
}
_AS_OF: Schema = {**_TIMESTAMP, "description": "With `top`: when the list was read. All readers share one list."}
_LIST_IS_COMPLETE: Schema = {
    "type": "boolean",
    "description": (
        "With `top`: whether the list covers the whole table. If the table is too large to read within a request, the "
        "first list covers only a part of it. A complete list follows within five minutes."
    ),
}


_VIEW_NAMES = [view.name for view in VIEWS.values()] or [""]  # A model may have no views.


def _row(view: View) -> Schema:
    """Return the schema of a view's row."""
    properties: dict[str, Schema] = {name: {"type": "string", "minLength": 1} for name in view.key}
    for name, places in view.places.items():
        decimal = {"type": "string", "pattern": rf"^-?[0-9]+\.[0-9]{{{places}}}$"}
        properties[name] = decimal if places else {"type": "integer"}
    if view.stamp:
        properties[view.stamp] = {
            **_TIMESTAMP,
            "type": ["string", "null"],
            "description": "When the row last changed. Null if something other than this app wrote the row.",
        }
    return _object(properties, description=f"A row of the view `{view.name}`.")


_ROWS: Schema = {"type": "array", "items": _ref("Row"), "maxItems": max(rows.LIMIT_MAX, top_list.ROWS_MAX)}
_VIEW_SCHEMAS: dict[str, Schema] = {
    "View": _object(
        {
            "view": {"enum": _VIEW_NAMES},
            "key": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The name of the partition key, and of the sort key if there is one.",
            },
            "amounts": {
                "type": "array",
                "items": _object({"name": {"type": "string"}, "decimalPlaces": {"type": "integer", "minimum": 0}}),
                "description": "An amount without decimal places is a number in a row. A decimal amount is a string.",
            },
            "top": {"type": ["string", "null"], "description": "The amount that ranks the largest rows."},
            "keepDays": {"type": ["integer", "null"], "description": "How many days rows are kept; null is forever."},
            "complete": {
                "type": "boolean",
                "description": "Whether all orders are counted. A new view is complete after a backfill.",
            },
        },
        examples=[rows.view_to_json(view, True) for view in VIEWS.values()],
    ),
    "Views": _object({"views": {"type": "array", "items": _ref("View")}}),
    **{f"{view.name}Row": _row(view) for view in VIEWS.values()},
    "Row": {"anyOf": [_ref(f"{view.name}Row") for view in VIEWS.values()] or [{"type": "object"}]},
    "Rows": _object(
        {
            "rows": _ROWS,
            "cursor": _CURSOR,
            "asOf": _AS_OF,
            "complete": _LIST_IS_COMPLETE,
            "freshness": _FRESHNESS,
        },
        optional=["cursor", "asOf", "complete"],
    ),
    "Partition": _object({"rows": _ROWS, "cursor": _CURSOR}),
}

_SCHEMAS: dict[str, Schema] = {
    **_VIEW_SCHEMAS,
    "NewOrder": _object(
        {
            **_REQUEST,
            "orderId": {
                **_in_request(orders.ORDER_ID),
                "description": (
                    "Send one so that you can retry without ordering twice. Not `.` and not `..`. "
                    "If omitted, the API generates one."
                ),
            },
        },
        optional=[*_OPTIONAL, "orderId"],
        examples=[orders.EXAMPLE, {**orders.EXAMPLE, "orderId": "order-1"}],
    ),
    "Amendment": _object(
        _REQUEST, _OPTIONAL, examples=[{field.name: field.examples.amended for field in orders.FIELDS}]
    ),
    "Order": _object(
        {**_STORED_ORDER, **{field.name: _in_response(field) for field in orders.FIELDS}},
        optional=[*_OPTIONAL, "placedAt"],
        examples=[{"orderId": "order-1", **_CONTENT, **_PLACED}],
    ),
    "OrderWithStatus": _object(
        {
            **_STORED_ORDER,
            "counted": {
                "type": "boolean",
                "description": "Whether the totals include the current version of the order.",
            },
            "rejected": {**_PROBLEMS, "description": "Why the order is not counted: all its errors, by field."},
            "ledgerProblem": {
                "type": "string",
                "description": (
                    "Why the order is not counted: its ledger entry cannot be read. An audit with repair rebuilds it."
                ),
            },
        },
        optional=[*_CAN_BE_ABSENT, "rejected", "ledgerProblem"],
        examples=[
            {"orderId": "order-1", **_CONTENT, **_PLACED, "counted": True},
            {
                "orderId": "order-2",
                **_CONTENT,
                _INVALID.name: _INVALID.type.invalid_example,
                "counted": False,
                "rejected": _PROBLEM,
            },
            {
                "orderId": "order-3",
                **_CONTENT,
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
            "orderCount": {**_AMOUNT, "description": "The number of orders."},
            "updatedAt": {
                **_TIMESTAMP,
                "type": ["string", "null"],
                "description": "When the total last changed. Null if something other than this app wrote the total.",
            },
        },
        examples=[{"product": "Notebook", "totalQuantity": 12, "orderCount": 3, "updatedAt": "2026-11-23T18:13:05Z"}],
    ),
    "Freshness": _object(
        {
            "lagSeconds": {
                "type": "number",
                "minimum": 0,
                "description": "The age of the batch's oldest change when the batch ended.",
            },
            "measuredAt": {**_TIMESTAMP, "description": "When the batch ended."},
            "state": {
                "enum": list(stream_lag.State),
                "description": (
                    "`current`: the batch was counted, and there is no backlog. `catchingUp`: the batch was counted, "
                    "but there is a backlog. `failing`: the batch was not counted; it is retried, and its orders wait."
                ),
            },
            "failingSince": {
                **_TIMESTAMP,
                "type": ["string", "null"],
                "description": "When the current series of failures was first reported. Null unless `failing`.",
            },
        },
        description=(
            "The last report about a batch of changes. It is written at once when the state changes, and otherwise at "
            "most every few seconds. All shards of the stream share one report, and the last one wins."
        ),
        examples=[{"lagSeconds": 0.4, "measuredAt": "2026-11-23T18:13:05Z", "state": "current", "failingSince": None}],
    ),
    "Totals": _object(
        {
            "totals": {"type": "array", "items": _ref("Total"), "maxItems": max(rows.LIMIT_MAX, top_list.ROWS_MAX)},
            "cursor": _CURSOR,
            "asOf": _AS_OF,
            "complete": _LIST_IS_COMPLETE,
            "trend": {
                "anyOf": [_ref("Trend"), {"type": "null"}],
                "description": "With `trend`: the product's trend. Null if nothing has been counted for it yet.",
            },
            "freshness": _FRESHNESS,
        },
        optional=["cursor", "asOf", "complete", "trend"],
    ),
    "Audits": _object(
        {
            "last": {"anyOf": [_ref("Audit"), {"type": "null"}], "description": "Null before the first audit ends."},
            "runningSince": {"anyOf": [_TIMESTAMP, {"type": "null"}]},
            "requestedAt": {"anyOf": [_TIMESTAMP, {"type": "null"}], "description": "Null if no audit is requested."},
        }
    ),
    "Audit": _object(
        {
            "finishedAt": _TIMESTAMP,
            "done": {"type": "boolean", "description": "Whether the audit compared everything."},
            "verdict": {
                "enum": [*Verdict, None],
                "description": (
                    "`clean`: every order is in the ledger, and every counter is the sum of the ledger. `drifted`: "
                    "something differs. `unproven`: no drift was found, but not everything could be verified."
                ),
            },
            "driftedProducts": {"type": "integer", "minimum": 0},
            "requests": {"type": "integer", "minimum": 0, "description": "DynamoDB requests."},
            "orders": _FIGURES,
            "counters": _FIGURES,
        }
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
            "total": {**_AMOUNT, "description": "The quantity ordered in all of these days."},
            "days": {
                "type": "array",
                "items": _ref("Day"),
                "minItems": 1,
                "maxItems": trend.DAYS_MAX,
                "description": "Every day, in UTC, including those without orders. The last one is today.",
            },
        }
    ),
    "Error": _object(
        {
            "Code": {"type": "string", "description": "The kind of error."},
            "Message": {"type": "string", "description": "What is wrong, in words."},
            "problems": _PROBLEMS,
        },
        optional=["problems"],
        examples=[{"Code": "NotFoundError", "Message": "There is no order order-9."}],
    ),
}


# --- Responses -----------------------------------------------------------------------------------


def _json(description: str, schema: Schema, **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}, **more}


def _error(description: str, code: str, message: str, problems: Mapping[str, str] | None = None) -> Schema:
    example = {"Code": code, "Message": message} | ({"problems": problems} if problems else {})
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref("Error"), "example": example}},
    }


_BAD_DAYS = {"days": f"must be a whole number from 1 to {trend.DAYS_MAX}"}
_BAD_CURSOR = {"cursor": rows.BAD_CURSOR}


def _bad_request(description: str, problems: Mapping[str, str]) -> Schema:
    (field, problem), *_ = problems.items()
    return _error(description, "BadRequestError", f"{field} {problem}", problems)


_RESPONSES: dict[str, Schema] = {
    "BadOrder": _bad_request("The order is invalid, or the body is not a JSON object.", _PROBLEM),
    "BadTrendRequest": _bad_request(
        "A parameter is invalid or unknown, or the path is not percent-encoded UTF-8.", _BAD_DAYS
    ),
    "BadTotalsQuery": _bad_request("A parameter is invalid or unknown.", _BAD_CURSOR),
    "BadPath": _error(
        "The path is not percent-encoded UTF-8.", "BadRequestError", "The path is not percent-encoded UTF-8."
    ),
    "OrderNotFound": _error("There is no order with this id.", "NotFoundError", "There is no order order-9."),
    "TotalNotFound": _error(
        "Nothing has been counted for the product yet. An order is counted within a second or two.",
        "NotFoundError",
        "Nothing has been counted for Notepad yet.",
    ),
    "BadRowsQuery": _bad_request(
        "A parameter is invalid or unknown, or the path is not percent-encoded UTF-8.", _BAD_CURSOR
    ),
    "ViewNotFound": _error(
        "There is no view with this name.", "NotFoundError", "There is no view sums. GET /views lists the views."
    ),
    "RowNotFound": _error(
        "There is no view with this name, or nothing has been counted for this key yet.",
        "NotFoundError",
        "Nothing has been counted for Notepad in totals yet.",
    ),
    "Conflict": _error(
        "There is an order with this id but with other content.",
        "ConflictError",
        "Order order-1 exists with different content. Amend it with PUT /orders/order-1.",
    ),
    "UnsupportedMediaType": _error(
        "The content type is not JSON.",
        "UnsupportedMediaType",
        "Unsupported media type: text/plain",
    ),
    "InternalError": _error(
        "An unexpected error in the app. You can retry the request.",
        "InternalServerError",
        "An internal server error occurred.",
    ),
    "Unavailable": _error(
        "The database is out of reach or too busy. Retry the request in a second.",
        "ServiceUnavailableError",
        "The database is out of reach or too busy. Try again in a second.",
    ),
}


def _responses(successes: Mapping[str, Schema], errors: Mapping[str, str]) -> Schema:
    """Return a route's responses by status. `errors` are keys of _RESPONSES. Every route also has a 500 and a 503."""
    names = {**errors, "500": "InternalError", "503": "Unavailable"}
    return {**successes, **{status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items()}}


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


def _whole_number(maximum: int, **more: Any) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": maximum, **more}


def _body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


_ORDER_ID_IN_PATH = _path_parameter(
    "orderId", "The order's id. Orders that were written to the table directly can have any id.", "order-1"
)
_PRODUCT_IN_PATH = _path_parameter("product", "The product's name.", "Notebook")

_VIEW_IN_PATH: Schema = {
    **_path_parameter("view", "The view's name.", _VIEW_NAMES[0]),
    "schema": {"enum": _VIEW_NAMES},
}
_KEY_IN_PATH = _path_parameter("key", "A partition key.", "Notebook")
_SORT_KEY_IN_PATH = _path_parameter("sortKey", "A sort key.", "2026-11-23")

_LOCATION: Schema = {
    "Location": {"description": "The order's path.", "required": True, "schema": {"type": "string"}},
}

_PLACE: Schema = {
    "operationId": "placeOrder",
    "tags": ["orders"],
    "summary": "Place an order",
    "description": "If you send an `orderId`, you can retry until you get a response: the order is placed once.",
    "requestBody": _body("NewOrder"),
    "responses": _responses(
        {
            "201": _json("The order has been placed.", _ref("Order"), headers=_LOCATION),
            "200": _json(
                "The order already exists with this content. Nothing was changed.", _ref("Order"), headers=_LOCATION
            ),
        },
        {"400": "BadOrder", "409": "Conflict", "415": "UnsupportedMediaType"},
    ),
}
_SHOW_ORDER: Schema = {
    "operationId": "showOrder",
    "tags": ["orders"],
    "summary": "Show an order and whether the totals include it",
    "responses": _responses(
        {"200": _json("The order.", _ref("OrderWithStatus"))}, {"400": "BadPath", "404": "OrderNotFound"}
    ),
}
_AMEND: Schema = {
    "operationId": "amendOrder",
    "tags": ["orders"],
    "summary": "Amend an order",
    "requestBody": _body("Amendment"),
    "responses": _responses(
        {"200": _json("The amended order.", _ref("Order"))},
        {"400": "BadOrder", "404": "OrderNotFound", "415": "UnsupportedMediaType"},
    ),
}
_CANCEL: Schema = {
    "operationId": "cancelOrder",
    "tags": ["orders"],
    "summary": "Cancel an order",
    "responses": _responses(
        {"204": {"description": "The order is cancelled."}}, {"400": "BadPath", "404": "OrderNotFound"}
    ),
}
_LIST_TOTALS: Schema = {
    "operationId": "listTotals",
    "tags": ["totals"],
    "summary": "List all totals in pages, in no particular order, or the largest totals",
    "parameters": [
        # No parameter has a `default`: generated clients would always send it, even with `top`, and get a 400.
        _query_parameter(
            "limit",
            f"The number of totals in a page; {rows.LIMIT_DEFAULT} if omitted. Cannot be combined with `top`.",
            _whole_number(rows.LIMIT_MAX),
        ),
        _query_parameter(
            "cursor",
            "The `cursor` of the previous page. Omit it for the first page. Cannot be combined with `top`.",
            {"type": "string"},
        ),
        _query_parameter(
            "top",
            "Show this many of the largest totals, without pages. Equal quantities are ordered by product. The list is "
            "about a second old with few products, and older with many (`asOf`). "
            "Cannot be combined with `limit` or `cursor`.",
            _whole_number(top_list.ROWS_MAX),
        ),
        _query_parameter("trend", "With `top`: add the trend of the product with this name.", {"type": "string"}),
        _query_parameter(
            "days",
            f"With `trend`: the number of days, up to today; {trend.DAYS_DEFAULT} if omitted.",
            _whole_number(trend.DAYS_MAX),
        ),
    ],
    "responses": _responses({"200": _json("The totals.", _ref("Totals"))}, {"400": "BadTotalsQuery"}),
}
_SHOW_TOTAL: Schema = {
    "operationId": "showTotal",
    "tags": ["totals"],
    "summary": "Show a product's total",
    "responses": _responses({"200": _json("The total.", _ref("Total"))}, {"400": "BadPath", "404": "TotalNotFound"}),
}
_SHOW_TREND: Schema = {
    "operationId": "showTrend",
    "tags": ["totals"],
    "summary": "Show a product's quantities by day and hour",
    "parameters": [
        _query_parameter(
            "days", "The number of days, up to today.", _whole_number(trend.DAYS_MAX, default=trend.DAYS_DEFAULT)
        )
    ],
    "responses": _responses(
        {"200": _json("The trend.", _ref("Trend"))}, {"400": "BadTrendRequest", "404": "TotalNotFound"}
    ),
}
_SHOW_AUDIT: Schema = {
    "operationId": "showAudit",
    "tags": ["audit"],
    "summary": "Show the last audit's verdict",
    "responses": _responses(
        {"200": _json("The last audit, and whether one is running or requested.", _ref("Audits"))}, {}
    ),
}
_REQUEST_AUDIT: Schema = {
    "operationId": "requestAudit",
    "tags": ["audit"],
    "summary": "Request an audit",
    "description": "The audit starts within 15 minutes, or when the running audit ends. It repairs nothing.",
    "responses": _responses({"202": _json("The audit is requested.", _ref("Audits"))}, {}),
}
_TOTALS_PATHS: Schema = {
    "/totals": {"get": _LIST_TOTALS},
    "/totals/{product}": {"parameters": [_PRODUCT_IN_PATH], "get": _SHOW_TOTAL},
}
_TREND_PATHS: Schema = {"/totals/{product}/trend": {"parameters": [_PRODUCT_IN_PATH], "get": _SHOW_TREND}}

_PAGE_PARAMETERS: list[Schema] = [
    _query_parameter(
        "limit", f"The number of rows in a page; {rows.LIMIT_DEFAULT} if omitted.", _whole_number(rows.LIMIT_MAX)
    ),
    _query_parameter("cursor", "The `cursor` of the previous page. Omit it for the first page.", {"type": "string"}),
]


def _bound(name: str, description: str) -> Schema:
    return _query_parameter(name, description, {"type": "string", "minLength": 1, "maxLength": views.KEY_MAX_BYTES})


_LIST_VIEWS: Schema = {
    "operationId": "listViews",
    "tags": ["views"],
    "summary": "List the views",
    "responses": _responses({"200": _json("All views.", _ref("Views"))}, {}),
}
_LIST_ROWS: Schema = {
    "operationId": "listRows",
    "tags": ["views"],
    "summary": "List the rows of a view in pages, in no particular order, or the largest rows",
    "parameters": [
        *_PAGE_PARAMETERS,
        _query_parameter(
            "top",
            "Show this many rows with the largest amounts, if the view's `top` names the amount. "
            "Cannot be combined with `limit` or `cursor`.",
            _whole_number(top_list.ROWS_MAX),
        ),
    ],
    "responses": _responses({"200": _json("The rows.", _ref("Rows"))}, {"400": "BadRowsQuery", "404": "ViewNotFound"}),
}
_LIST_PARTITION: Schema = {
    "operationId": "listPartition",
    "tags": ["views"],
    "summary": "List the rows with a partition key by sort key, or show the only row if the view has no sort key",
    "description": "The parameters are for views with a sort key.",
    "parameters": [
        *_PAGE_PARAMETERS,
        _bound("from", "The smallest sort key to show."),
        _bound("to", "The largest sort key to show. Sort keys that begin with this text are included."),
    ],
    "responses": _responses(
        {"200": _json("The rows, or the row.", {"anyOf": [_ref("Partition"), _ref("Row")]})},
        {"400": "BadRowsQuery", "404": "RowNotFound"},
    ),
}
_SHOW_ROW: Schema = {
    "operationId": "showRow",
    "tags": ["views"],
    "summary": "Show the row with a partition key and a sort key",
    "responses": _responses({"200": _json("The row.", _ref("Row"))}, {"400": "BadPath", "404": "RowNotFound"}),
}
_SHOW_DASHBOARD: Schema = {
    "operationId": "showDashboard",
    "tags": ["about"],
    "summary": "Show the dashboard",
    "responses": {"200": {"description": "An HTML page.", "content": {"text/html": {"schema": {"type": "string"}}}}},
}
_SHOW_DESCRIPTION: Schema = {
    "operationId": "showDescription",
    "tags": ["about"],
    "summary": "Show this document",
    "responses": {"200": _json("An OpenAPI document.", {"type": "object"})},
}
