"""Helpers for HTTP requests and responses that the routes share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote

from chalice.app import BadRequestError, ChaliceViewError, NotFoundError, Request, Response

from chalicelib import orders
from chalicelib.views import View

Found = TypeVar("Found")

OUTAGE = "The database is out of reach or too busy. Try again in a second."


# curl sends application/x-www-form-urlencoded by default.
BODY_TYPES = ["application/json", "application/x-www-form-urlencoded"]


class ServiceUnavailableError(ChaliceViewError):
    """A route's DynamoDB request failed for a temporary reason, even after the SDK's retries."""

    STATUS_CODE = 503


def end_json_with_newline(event: Request, get_response: Callable[[Request], Response]) -> Response:
    """Add a newline after a JSON body, so that a terminal's prompt starts on a new line."""
    response = get_response(event)
    if not isinstance(response.body, (str, bytes)):
        response.body = response.to_dict()["body"] + "\n"
    return response


def read_order(request: Request, fields: Sequence[str]) -> orders.OrderInput | orders.FieldErrors:
    """Return the order in a request's body, or its field errors. Raises BadRequestError for a malformed body."""
    try:
        return orders.parse_order(cast(bytes, request.raw_body), fields)
    except orders.MalformedBodyError as error:
        raise BadRequestError(str(error)) from None


def response(result: Any) -> Any:
    """Return the response for a route's result: a 400 if it is FieldErrors, otherwise the result itself."""
    return bad_request(result) if isinstance(result, orders.FieldErrors) else result


def placed(request: Request, order_id: str, item: orders.Item, is_new: bool) -> Response:
    """Return the response with a placed order: a 201, or a 200 if it already existed."""
    path = request.context.get("path", "/orders")  # Unlike request.path, it includes the stage.
    return Response(
        orders.to_json(item),
        status_code=201 if is_new else 200,
        headers={"Location": f"{path.rstrip('/')}/{quote(order_id)}", "Content-Type": "application/json"},
    )


def html(body: str, headers: Mapping[str, str]) -> Response:
    """Return a page."""
    return Response(body, headers=dict(headers))


def base_path(request: Request) -> str:
    """Return the path of all routes, from a request of one directly below it, such as `/api/docs`."""
    path: str = request.context.get("path", "/")  # Includes the stage, unlike the request's own path.
    return path.rpartition("/")[0] or "/"


def base_url(request: Request) -> str:
    """Return the URL of all routes, without a slash at its end."""
    scheme, host = request.headers.get("x-forwarded-proto", "http"), request.headers.get("host", "localhost")
    return f"{scheme}://{host}{base_path(request).rstrip('/')}"


def bad_request(errors: orders.FieldErrors) -> Response:
    """Return a 400 response with all errors by field."""
    message = "; ".join(f"{field} {error}" for field, error in errors.items())
    return Response({"Code": "BadRequestError", "Message": message, "problems": errors}, status_code=400)


def decode_segment(segment: str) -> str:
    """Return a percent-decoded path segment. A `+` stays a plus sign."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequestError("The path is not percent-encoded UTF-8.") from None


def order_key(segment: str) -> dict[str, Any]:
    """Return the DynamoDB key for an order id in a path. Accept invalid ids, because OrdersTable may have them."""
    order_id = decode_segment(segment)
    if not orders.can_be_key(order_id):
        raise order_not_found({"OrderID": {"S": order_id}})
    return {"OrderID": {"S": order_id}}


def order_not_found(key: orders.Item) -> NotFoundError:
    """Return the error for an order that does not exist."""
    return NotFoundError(f"There is no order {key['OrderID']['S']}.")


def counted(found: Found | None, product: str) -> Found:
    """Return what was counted for a product. Raise NotFoundError, a 404, if that is None."""
    if found is None:
        raise NotFoundError(f"Nothing has been counted for {product} yet.")
    return found


def require(view: View | None) -> View:
    """Return a route's view. Raise NotFoundError, a 404, if the model does not have the view."""
    if view is None:
        raise NotFoundError(
            "This model does not keep the totals of products. GET /views lists the views that it keeps."
        )
    return view
