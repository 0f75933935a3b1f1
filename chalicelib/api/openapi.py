"""The API's OpenAPI 3.1 document: the requests and responses of every route.

Limits and defaults come from the modules that enforce them. tests/integration/test_description.py checks that the
document and the app's routes and responses agree.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib import orders, recent_orders, stream_lag, views
from chalicelib.api import rows, top_list, totals, trend
from chalicelib.api.access import OPEN_TO_ALL, Access, Settings
from chalicelib.fields import Field
from chalicelib.jobs.audit import Verdict
from chalicelib.views import VIEWS, View

VERSION = "1.0.0"
_RECENT_MAX = recent_orders.ORDERS_MAX

Schema = dict[str, Any]


def document(base: str, access: Settings = OPEN_TO_ALL) -> dict[str, Any]:
    """Return a stage's OpenAPI document. `base` is the base path of its routes, such as `/api`."""
    schemes = {access.reads, access.writes} - {Access.OPEN}
    security = {"securitySchemes": {name: _SECURITY_SCHEMES[name] for name in sorted(schemes)}} if schemes else {}
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
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _paths(access),
        "components": {"schemas": _SCHEMAS, "responses": _RESPONSES, **security},
    }


_TAGS = {
    "orders": "Place, list, show, amend and cancel orders.",
    "totals": "Totals and trends of the counted orders.",
    "audit": "Whether every total is the sum of its orders.",
    "views": "The rows of every view.",
    "about": "The dashboard, and this document in two forms.",
}


# --- Access --------------------------------------------------------------------------------------

_SECURITY_SCHEMES: dict[Access, Schema] = {
    Access.KEY: {"type": "apiKey", "in": "header", "name": "x-api-key"},
    Access.IAM: {
        "type": "apiKey", "in": "header", "name": "Authorization",
        "description": "AWS Signature Version 4 for the service execute-api.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
}  # fmt: skip


_MESSAGE: Schema = {"type": "object", "properties": {"message": {"type": "string"}}}
_FORBIDDEN: Schema = {
    "description": "The credentials are missing, wrong or without permission. API Gateway sends this response.",
    "content": {"application/json": {"schema": _MESSAGE, "example": {"message": "Forbidden"}}},
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


_FAILING_SINCE = "When the current series of failures was first reported. Null unless `failing`."
_OF_TREND = "With `trend`: the product's trend. Null if nothing has been counted for it yet."
_HOURS = "The quantities ordered from 00:00 to 01:00, from 01:00 to 02:00, and so on."
_DAYS = "Every day, in UTC, including those without orders. The last one is today."
_TIME = "2026-11-23T18:13:05Z"
_TIMESTAMP: Schema = {"type": "string", "format": "date-time", "examples": [_TIME]}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_AMOUNT: Schema = {"type": "integer", "minimum": 0}
_FIGURES: Schema = {"type": "object", "additionalProperties": _AMOUNT}
_PRODUCT_NAME: Schema = {"type": "string", "examples": ["Notebook"]}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _or_null(schema: Schema, description: str = "") -> Schema:
    """Return a schema that also allows null."""
    described = {"description": description} if description else {}
    if isinstance(kind := schema.get("type"), str) and description:
        return {**schema, "type": [kind, "null"], **described}
    return {"anyOf": [schema, {"type": "null"}], **described}


def _stamp(what: str) -> Schema:
    text = f"When the {what} last changed. Null if something other than this app wrote the {what}."
    return _or_null(_TIMESTAMP, text)


def _list(items: Schema, description: str = "", **more: Any) -> Schema:
    return {"type": "array", "items": items, **more, **({"description": description} if description else {})}


# The example of an invalid order has a wrong value in its last required field.
_INVALID = next((field for field in reversed(orders.FIELDS) if field.required), orders.FIELDS[-1])
_WRONG = {_INVALID.name: _INVALID.type.invalid_example}
_PROBLEM = {_INVALID.name: _INVALID.type.rule}
_UNCOUNTED = "Why the order is not counted:"
_REPAIR = "An audit with repair rebuilds it."
_UNREADABLE = f"The ledger entry cannot be read: revision is missing or not a whole number. {_REPAIR}"
_PROBLEMS: Schema = {
    "type": "object",
    "description": "Every error, by field or parameter.",
    "minProperties": 1,
    "additionalProperties": _TEXT,
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


def _in_request(field: Field) -> Schema:
    schema = {**(field.type.request_schema or field.type.schema), "examples": [field.examples.new]}
    return schema if field.required else _or_null(schema)


_REQUEST = {field.name: _in_request(field) for field in orders.FIELDS}
_OPTIONAL = [field.name for field in orders.FIELDS if not field.required]
_CONTENT_SCHEMAS: dict[str, Schema] = {
    field.name: {**field.type.schema, "examples": [_shown(field)]} for field in orders.FIELDS
}
_STORED_ORDER: dict[str, Schema] = {
    "orderId": {"type": "string", "minLength": 1, "examples": ["order-1"]},
    **{field.name: _as_stored(field) for field in orders.FIELDS},
    "placedAt": _as_stored(orders.PLACED_AT, "When the order was placed, in UTC. "),
}
_CONTENT = {field.name: _shown(field) for field in orders.FIELDS}
_PLACED = {"placedAt": orders.PLACED_AT.examples.new}

# What the lists of totals and of rows share.
_CURSOR: Schema = {"type": ["string", "null"], "description": "The cursor of the next page. Null on the last page."}
_LISTED: dict[str, Schema] = {
    "cursor": _CURSOR,
    "asOf": _described(_TIMESTAMP, "With `top`: when the list was read. All readers share one list."),
    "complete": _described(
        _FLAG,
        "With `top`: whether the list covers the whole table. If the table is too large to read within a request, the "
        "first list covers only a part of it. A complete list follows within five minutes.",
    ),
    "all": _described(_ref("AllRows"), "With `top`: all rows together, as of `asOf`."),
}
_NO_REPORT = "Null before the first batch of changes, or if the report cannot be read."
_RECENT: dict[str, Schema] = {"recentOrders": _list(_ref("RecentOrder"), maxItems=_RECENT_MAX)}
_FRESHNESS = {"freshness": _or_null(_ref("Freshness"), _NO_REPORT)}

_VIEW_NAMES = [view.name for view in VIEWS.values()] or [""]  # A model may have no views.


def _row(view: View) -> Schema:
    """Return the schema of a view's row."""
    properties: dict[str, Schema] = {name: {"type": "string", "minLength": 1} for name in view.key}
    for name, places in view.places.items():
        decimal = {"type": "string", "pattern": rf"^-?[0-9]+\.[0-9]{{{places}}}$"}
        properties[name] = decimal if places else {"type": "integer"}
    if view.stamp:
        properties[view.stamp] = _stamp("row")
    return _object(properties, description=f"A row of the view `{view.name}`.")


_ROWS = _list(_ref("Row"), maxItems=max(rows.LIMIT_MAX, top_list.ROWS_MAX))
_VIEW_SCHEMAS: dict[str, Schema] = {
    "View": _object(
        {
            "view": {"enum": _VIEW_NAMES},
            "key": _list(_TEXT, "The name of the partition key, and of the sort key if there is one."),
            "amounts": _list(
                _object({"name": _TEXT, "decimalPlaces": _AMOUNT}),
                "An amount without decimal places is a number in a row. A decimal amount is a string.",
            ),
            "top": _or_null(_TEXT, "The amount that ranks the largest rows."),
            "keepDays": _or_null({"type": "integer"}, "How many days rows are kept; null is forever."),
            "complete": _described(_FLAG, "Whether all orders are counted. A new view is complete after a backfill."),
        },
        examples=[rows.view_to_json(view, True) for view in VIEWS.values()],
    ),
    "Views": _object({"views": _list(_ref("View"))}),
    **{f"{view.name}Row": _row(view) for view in VIEWS.values()},
    "Row": {"anyOf": [_ref(f"{view.name}Row") for view in VIEWS.values()] or [{"type": "object"}]},
    "Rows": _object({"rows": _ROWS, **_LISTED, **_RECENT, **_FRESHNESS}, [*_LISTED, *_RECENT]),
    "AllRows": _object(
        {"rows": _AMOUNT, "amounts": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}}},
        description="The number of rows, and the sums of their amounts.",
        examples=[{"rows": 2, "amounts": {"totalQuantity": 17, "orderCount": 4}}],
    ),
    "Partition": _object({"rows": _ROWS, "cursor": _CURSOR}),
}

_ORDER_SCHEMAS: dict[str, Schema] = {
    "NewOrder": _object(
        {
            **_REQUEST,
            "orderId": _described(
                _in_request(orders.ORDER_ID),
                "Send one so that you can retry without ordering twice. Not `.` and not `..`. "
                "If omitted, the API generates one.",
            ),
        },
        [*_OPTIONAL, "orderId"],
        examples=[orders.EXAMPLE, {**orders.EXAMPLE, "orderId": "order-1"}],
    ),
    "Amendment": _object(
        _REQUEST, _OPTIONAL, examples=[{field.name: field.examples.amended for field in orders.FIELDS}]
    ),
    "Order": _object(
        {**_STORED_ORDER, **_CONTENT_SCHEMAS},
        [*_OPTIONAL, "placedAt"],
        examples=[{"orderId": "order-1", **_CONTENT, **_PLACED}],
    ),
    "OrderWithStatus": _object(
        {
            **_STORED_ORDER,
            "counted": _described(_FLAG, "Whether the totals include the current version of the order."),
            "rejected": _described(_PROBLEMS, f"{_UNCOUNTED} all its errors, by field."),
            "ledgerProblem": _described(_TEXT, f"{_UNCOUNTED} its ledger entry cannot be read. {_REPAIR}"),
        },
        [*_CONTENT, "placedAt", "rejected", "ledgerProblem"],
        examples=[
            {"orderId": "order-1", **_CONTENT, **_PLACED, "counted": True},
            {"orderId": "order-2", **_CONTENT, **_WRONG, "counted": False, "rejected": _PROBLEM},
            {"orderId": "order-3", **_CONTENT, "counted": False, "ledgerProblem": _UNREADABLE},
        ],
    ),
}

_ORDER_SCHEMAS |= {
    "RecentOrder": _object(
        {"orderId": _STORED_ORDER["orderId"], **_CONTENT_SCHEMAS, "countedAt": _TIMESTAMP}
        | {"lagSeconds": _described(_SECONDS, "How long it took from placing or amending the order to counting it.")},
        list(_CONTENT),
        description="An order that was counted. Content that is too long is left out.",
        examples=[{"orderId": "order-1", **_CONTENT, "countedAt": _TIME, "lagSeconds": 0.4}],
    ),
    "Orders": _object({"orders": _list(_ref("RecentOrder"), maxItems=_RECENT_MAX), **_FRESHNESS}),
}

_TOTALS_SCHEMAS: dict[str, Schema] = {
    "Total": _object(
        {
            "product": _PRODUCT_NAME,
            "totalQuantity": _described(_AMOUNT, "The sum of the orders' quantities."),
            "orderCount": _described(_AMOUNT, "The number of orders."),
            "updatedAt": _stamp("total"),
        },
        examples=[{"product": "Notebook", "totalQuantity": 12, "orderCount": 3, "updatedAt": _TIME}],
    ),
    "Freshness": _object(
        {
            "lagSeconds": _described(_SECONDS, "The age of the batch's oldest change when the batch ended."),
            "measuredAt": _described(_TIMESTAMP, "When the batch ended."),
            "state": {
                "enum": list(stream_lag.State),
                "description": "`current`: the batch was counted, and there is no backlog. `catchingUp`: the batch was "
                "counted, but there is a backlog. `failing`: the batch was not counted; it is retried, and its orders "
                "wait.",
            },
            "failingSince": _or_null(_TIMESTAMP, _FAILING_SINCE),
        },
        description="The last report about a batch of changes. It is written at once when the state changes, and "
        "otherwise at most every few seconds. All shards of the stream share one report, and the last one wins.",
        examples=[{"lagSeconds": 0.4, "measuredAt": _TIME, "state": "current", "failingSince": None}],
    ),
    "Totals": _object(
        {
            "totals": _list(_ref("Total"), maxItems=max(rows.LIMIT_MAX, top_list.ROWS_MAX)),
            **_LISTED,
            "trend": _or_null(_ref("Trend"), _OF_TREND),
            **_RECENT,
            **_FRESHNESS,
        },
        [*_LISTED, "trend", *_RECENT],
    ),
}

_SCHEMAS: dict[str, Schema] = {
    **_VIEW_SCHEMAS,
    **_ORDER_SCHEMAS,
    **_TOTALS_SCHEMAS,
    "Audits": _object(
        {
            "last": _or_null(_ref("Audit"), "Null before the first audit ends."),
            "runningSince": _or_null(_TIMESTAMP),
            "requestedAt": {**_or_null(_TIMESTAMP), "description": "Null if no audit is requested."},
        }
    ),
    "Audit": _object(
        {
            "finishedAt": _TIMESTAMP,
            "done": _described(_FLAG, "Whether the audit compared everything."),
            "verdict": {
                "enum": [*Verdict, None],
                "description": "`clean`: every order is in the ledger, and every counter is the sum of the ledger. "
                "`drifted`: something differs. `unproven`: no drift was found, but not everything could be verified.",
            },
            "driftedProducts": _AMOUNT,
            "requests": _described(_AMOUNT, "DynamoDB requests."),
            "orders": _FIGURES,
            "counters": _FIGURES,
        }
    ),
    "Day": _object(
        {
            "day": {"type": "string", "format": "date", "examples": ["2026-11-23"]},
            "total": _AMOUNT,
            "hours": _list(_AMOUNT, _HOURS, minItems=24, maxItems=24),
        }
    ),
    "Trend": _object(
        {
            "product": _PRODUCT_NAME,
            "total": _described(_AMOUNT, "The quantity ordered in all of these days."),
            "days": _list(_ref("Day"), _DAYS, minItems=1, maxItems=trend.DAYS_MAX),
        }
    ),
    "Error": _object(
        {
            "Code": _described(_TEXT, "The kind of error."),
            "Message": _described(_TEXT, "What is wrong, in words."),
            "problems": _PROBLEMS,
        },
        ["problems"],
        examples=[{"Code": "NotFoundError", "Message": "There is no order order-9."}],
    ),
}


# --- Responses -----------------------------------------------------------------------------------


def _json(description: str, schema: str | Schema, **more: Any) -> Schema:
    content = {"schema": _ref(schema) if isinstance(schema, str) else schema}
    return {"description": description, "content": {"application/json": content}, **more}


_CODES = {
    400: "BadRequestError", 404: "NotFoundError", 409: "ConflictError", 415: "UnsupportedMediaType",
    500: "InternalServerError", 503: "ServiceUnavailableError",
}  # fmt: skip
_BAD_PATH = "The path is not percent-encoded UTF-8."
_BAD_QUERY = "A parameter is invalid or unknown"
_BAD_PATH_OR_QUERY = f"{_BAD_QUERY}, or the path is not percent-encoded UTF-8."
_BAD_CURSOR = {"cursor": rows.BAD_CURSOR}
_OUTAGE = "The database is out of reach or too busy."
_ERRORS: dict[str, tuple[int, str, str | Mapping[str, str]]] = {
    # Status, description, and the message or the problems of the example.
    "BadOrder": (400, "The order is invalid, or the body is not a JSON object.", _PROBLEM),
    "BadTrendRequest": (400, _BAD_PATH_OR_QUERY, {"days": f"must be a whole number from 1 to {trend.DAYS_MAX}"}),
    "BadTotalsQuery": (400, f"{_BAD_QUERY}.", _BAD_CURSOR),
    "BadPath": (400, _BAD_PATH, _BAD_PATH),
    "BadOrdersQuery": (400, f"{_BAD_QUERY}.", {"recent": f"must be a whole number from 1 to {_RECENT_MAX}"}),
    "OrderNotFound": (404, "There is no order with this id.", "There is no order order-9."),
    "TotalNotFound": (
        404, "Nothing has been counted for the product yet. An order is counted within a second or two.",
        "Nothing has been counted for Notepad yet.",
    ),
    "BadRowsQuery": (400, _BAD_PATH_OR_QUERY, _BAD_CURSOR),
    "ViewNotFound": (404, "There is no view with this name.", "There is no view sums. GET /views lists the views."),
    "RowNotFound": (
        404, "There is no view with this name, or nothing has been counted for this key yet.",
        "Nothing has been counted for Notepad in totals yet.",
    ),
    "Conflict": (
        409, "There is an order with this id but with other content.",
        "Order order-1 exists with different content. Amend it with PUT /orders/order-1.",
    ),
    "UnsupportedMediaType": (415, "The content type is not JSON.", "Unsupported media type: text/plain"),
    "InternalError": (
        500, "An unexpected error in the app. You can retry the request.", "An internal server error occurred.",
    ),
    "Unavailable": (503, f"{_OUTAGE} Retry the request in a second.", f"{_OUTAGE} Try again in a second."),
}  # fmt: skip


def _error(status: int, description: str, given: str | Mapping[str, str]) -> Schema:
    """Return the response of an error with an example."""
    problems = {} if isinstance(given, str) else {"problems": given}
    message = given if isinstance(given, str) else " ".join(next(iter(given.items())))
    content = {"schema": _ref("Error"), "example": {"Code": _CODES[status], "Message": message, **problems}}
    return {"description": description, "content": {"application/json": content}}


_RESPONSES = {name: _error(*error) for name, error in _ERRORS.items()}


# --- Operations ----------------------------------------------------------------------------------


def _operation(name: str, tag: str, summary: str, success: Schema, *errors: str, **more: Any) -> Schema:
    """Return an operation. `success` has responses by status, `errors` are keys of _ERRORS. 500 and 503 are added."""
    every = () if tag == "about" else (*errors, "InternalError", "Unavailable")
    failures = {str(_ERRORS[each][0]): {"$ref": f"#/components/responses/{each}"} for each in every}
    return {"operationId": name, "tags": [tag], "summary": summary, **more, "responses": success | failures}


def _in_path(name: str, description: str, example: str, **schema: Any) -> Schema:
    schema = schema or {"type": "string", "minLength": 1}
    place = {"name": name, "in": "path", "required": True}
    return {**place, "description": description, "schema": schema, "example": example}


def _in_query(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _count(name: str, description: str, maximum: int, **more: Any) -> Schema:
    return _in_query(name, description, type="integer", minimum=1, maximum=maximum, **more)


def _body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


_ANY_ORDER_ID = "The order's id. Orders that were written to the table directly can have any id."
_IN_PATH = {
    "orderId": _in_path("orderId", _ANY_ORDER_ID, "order-1"),
    "product": _in_path("product", "The product's name.", "Notebook"),
    "view": _in_path("view", "The view's name.", _VIEW_NAMES[0], enum=_VIEW_NAMES),
    "key": _in_path("key", "A partition key.", "Notebook"),
    "sortKey": _in_path("sortKey", "A sort key.", "2026-11-23"),
}
_PREVIOUS = "The `cursor` of the previous page. Omit it for the first page."
_NO_TOP = "Cannot be combined with `top`."
_NO_PAGES = "Cannot be combined with `limit` or `cursor`."
_BOUND: Schema = {"type": "string", "minLength": 1, "maxLength": views.KEY_MAX_BYTES}
_PAGE = [
    _count("limit", f"The number of rows in a page; {rows.LIMIT_DEFAULT} if omitted.", rows.LIMIT_MAX),
    _in_query("cursor", _PREVIOUS, type="string"),
]
_WITH_RECENT = _count("recent", "Add this many of the latest orders.", _RECENT_MAX)
# No parameter has a `default`: generated clients would always send it, even with `top`, and get a 400.
_LIST_TOTALS = [
    _count("limit", f"The number of totals in a page; {rows.LIMIT_DEFAULT} if omitted. {_NO_TOP}", rows.LIMIT_MAX),
    _in_query("cursor", f"{_PREVIOUS} {_NO_TOP}", type="string"),
    _count(
        "top",
        "Show this many of the largest totals, without pages. Equal quantities are ordered by product. The list is "
        f"about a second old with few products, and older with many (`asOf`). {_NO_PAGES}",
        top_list.ROWS_MAX,
    ),
    _WITH_RECENT,
    _in_query("trend", "With `top`: add the trend of the product with this name.", type="string"),
    _count("days", f"With `trend`: the number of days, up to today; {trend.DAYS_DEFAULT} if omitted.", trend.DAYS_MAX),
]
_TOP_ROWS = f"Show this many rows with the largest amounts, if the view's `top` names the amount. {_NO_PAGES}"
_LOCATION: Schema = {"Location": {"description": "The order's path.", "required": True, "schema": _TEXT}}
_FROM = "The smallest sort key to show."
_TO = "The largest sort key to show. Sort keys that begin with this text are included."
_AUDITS = "The last audit, and whether one is running or requested."
_SAME = "The order already exists with this content. Nothing was changed."
_HTML: Schema = {"200": {"description": "An HTML page.", "content": {"text/html": {"schema": _TEXT}}}}

_OPERATIONS = {
    "post /orders": _operation(
        "placeOrder", "orders", "Place an order",
        {"201": _json("The order has been placed.", "Order", headers=_LOCATION)}
        | {"200": _json(_SAME, "Order", headers=_LOCATION)}, "BadOrder", "Conflict", "UnsupportedMediaType",
        description="If you send an `orderId`, you can retry until you get a response: the order is placed once.",
        requestBody=_body("NewOrder"),
    ),
    "get /orders": _operation(
        "listOrders", "orders", "List the latest orders and how long each took to be counted",
        {"200": _json("The latest orders, the last one first.", "Orders")}, "BadOrdersQuery",
        description="As of `freshness.measuredAt`. Orders that were counted about then can be missing until the next "
        "report. Orders that were cancelled since then can be included.",
        parameters=[_count("recent", f"The number of orders; {_RECENT_MAX} if omitted.", _RECENT_MAX)],
    ),
    "get /orders/{orderId}": _operation(
        "showOrder", "orders", "Show an order and whether the totals include it",
        {"200": _json("The order.", "OrderWithStatus")}, "BadPath", "OrderNotFound",
    ),
    "put /orders/{orderId}": _operation(
        "amendOrder", "orders", "Amend an order", {"200": _json("The amended order.", "Order")},
        "BadOrder", "OrderNotFound", "UnsupportedMediaType", requestBody=_body("Amendment"),
    ),
    "delete /orders/{orderId}": _operation(
        "cancelOrder", "orders", "Cancel an order", {"204": {"description": "The order is cancelled."}},
        "BadPath", "OrderNotFound",
    ),
    "get /audit": _operation("showAudit", "audit", "Show the last audit's verdict", {"200": _json(_AUDITS, "Audits")}),
    "post /audit": _operation(
        "requestAudit", "audit", "Request an audit", {"202": _json("The audit is requested.", "Audits")},
        description="The audit starts within 15 minutes, or when the running audit ends. It repairs nothing.",
    ),
    "get /totals": _operation(
        "listTotals", "totals", "List all totals in pages, in no particular order, or the largest totals",
        {"200": _json("The totals.", "Totals")}, "BadTotalsQuery", parameters=_LIST_TOTALS,
    ),
    "get /totals/{product}": _operation(
        "showTotal", "totals", "Show a product's total", {"200": _json("The total.", "Total")},
        "BadPath", "TotalNotFound",
    ),
    "get /totals/{product}/trend": _operation(
        "showTrend", "totals", "Show a product's quantities by day and hour", {"200": _json("The trend.", "Trend")},
        "BadTrendRequest", "TotalNotFound",
        parameters=[_count("days", "The number of days, up to today.", trend.DAYS_MAX, default=trend.DAYS_DEFAULT)],
    ),
    "get /views": _operation("listViews", "views", "List the views", {"200": _json("All views.", "Views")}),
    "get /views/{view}": _operation(
        "listRows", "views", "List the rows of a view in pages, in no particular order, or the largest rows",
        {"200": _json("The rows.", "Rows")}, "BadRowsQuery", "ViewNotFound",
        parameters=[*_PAGE, _count("top", _TOP_ROWS, top_list.ROWS_MAX), _WITH_RECENT],
    ),
    "get /views/{view}/{key}": _operation(
        "listPartition", "views",
        "List the rows with a partition key by sort key, or show the only row if the view has no sort key",
        {"200": _json("The rows, or the row.", {"anyOf": [_ref("Partition"), _ref("Row")]})},
        "BadRowsQuery", "RowNotFound", description="The parameters are for views with a sort key.",
        parameters=[*_PAGE, _in_query("from", _FROM, **_BOUND), _in_query("to", _TO, **_BOUND)],
    ),
    "get /views/{view}/{key}/{sortKey}": _operation(
        "showRow", "views", "Show the row with a partition key and a sort key", {"200": _json("The row.", "Row")},
        "BadPath", "RowNotFound",
    ),
    "get /": _operation("showDashboard", "about", "Show the dashboard", _HTML),
    "get /docs": _operation("showDocs", "about", "Show this document as a page for people", _HTML),
    "get /openapi.json": _operation(
        "showDescription", "about", "Show this document", {"200": _json("An OpenAPI document.", {"type": "object"})},
    ),
}  # fmt: skip


def _paths(access: Settings) -> dict[str, Any]:
    """Return the operations by path and method, without those of totals and trends if the model has no such views.

    An operation that needs credentials has `security` and a 403.
    """
    paths: dict[str, Any] = {}
    for name, operation in _OPERATIONS.items():
        method, path = name.split(" ")
        view = trend.view if path.endswith("/trend") else totals.view
        if "totals" in operation["tags"] and not view():
            continue
        scheme = access.reads if method == "get" else access.writes
        if "about" not in operation["tags"] and scheme is not Access.OPEN:
            responses = {**operation["responses"], "403": _FORBIDDEN}
            operation = {**operation, "security": [{scheme: []}], "responses": responses}
        parameters = [_IN_PATH[each] for each in re.findall(r"{(\w+)}", path)]
        paths.setdefault(path, {"parameters": parameters} if parameters else {})[method] = operation
    return paths
