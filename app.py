"""Order Totals: exact, real-time totals of what is ordered.

This file is the shell: the routes, the stream handler, the jobs, and every AWS call. The calls are written out here,
because Chalice derives the app's IAM policy from them. All decisions are made in chalicelib/, which makes no call.

Chalice's policy generator reads routes, jobs and the functions that they call, but not the stream handler. The handler
therefore makes only calls that a route or a job makes too.
"""

import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from chalice.app import (
    BadRequestError,
    Chalice,
    ChaliceViewError,
    CloudWatchEvent,
    ConflictError,
    CORSConfig,
    DynamoDBEvent,
    IAMAuthorizer,
    NotFoundError,
    Request,
    Response,
)

from chalicelib import dashboard, effects, hints, orders, stream_lag, tables, timestamps, ulid
from chalicelib.api import access, openapi, totals, trend
from chalicelib.api.access import Access
from chalicelib.counting import committer, entry_item, ledger, stream, transactions
from chalicelib.counting.committer import Committer
from chalicelib.effects import (
    BatchGet,
    Cancelled,
    Checkpoint,
    Committed,
    ConditionalUpdate,
    Effect,
    Key,
    Page,
    Scan,
    Sleep,
    Steps,
    Transact,
)
from chalicelib.jobs import audit as audits
from chalicelib.jobs import backfill as backfills
from chalicelib.jobs.audit import Audit, Verdict
from chalicelib.jobs.invocation import Job

app = Chalice(app_name="order-totals", configure_logs=False)
# Chalice logs with it too, because it has the app's name. `exception` holds the traceback, so `stack_trace` is off.
logger = Logger(service="order-totals", serialize_stacktrace=False)
# The stage is part of the name, so that two stages in one account have metrics of their own.
metrics = Metrics(namespace="OrderTotals", service=f"order-totals-{os.environ.get('STAGE', 'local')}")
requests_made = effects.RequestCounter()
lag_throttle = stream_lag.WriteThrottle()  # Of this container's reports.

NAMES = {table: os.environ.get(tables.variable(table), table) for table in tables.KEYS}
ORDERS = NAMES[tables.ORDERS]
LEDGER = NAMES[tables.LEDGER]
TOTALS = NAMES[tables.TOTALS]
TREND = NAMES[tables.TREND]
STREAM_ARN = os.environ.get("ORDERS_STREAM_ARN", "run-make-provision-first")
# The command of Chalice's command line that imports this file, if one does. Lambda has no click.
COMMAND = "click" in sys.modules and sys.modules["click"].get_current_context(silent=True)
if COMMAND and COMMAND.info_name == "deploy" and "ORDERS_STREAM_ARN" not in os.environ:
    STAGE = COMMAND.params["stage"]
    sys.exit(f"Stage {STAGE} has no tables yet. Run `make provision STAGE={STAGE}` first.")

if boto3.DEFAULT_SESSION is None:
    boto3.setup_default_session()
SESSION = cast(boto3.Session, boto3.DEFAULT_SESSION)
REGION = os.environ.get("AWS_REGION") or SESSION.region_name  # boto3 itself reads only AWS_DEFAULT_REGION.

# The timeouts leave room to retry a hanging request within an invocation. A retry does no harm, because every write has
# a condition.
dynamodb = boto3.client(
    "dynamodb",
    region_name=REGION or "us-east-1",  # `chalice local` starts without a region; require_settings asks for one.
    config=Config(
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 4},
        tcp_keepalive=True,
        # DynamoDB validates every request itself. botocore's validation would take more CPU than everything else that
        # counting an order takes. The client of the integration tests has it on.
        parameter_validation=False,
    ),
)

# The options of a route by the access that its stage sets.
AUTH_OPTIONS: dict[Access, dict[str, Any]] = {
    Access.OPEN: {},
    Access.KEY: {"api_key_required": True},
    Access.IAM: {"authorizer": IAMAuthorizer()},
}
ACCESS = access.settings(os.environ)
READ = AUTH_OPTIONS[ACCESS.reads]
WRITE = AUTH_OPTIONS[ACCESS.writes]
if ACCESS.origin:
    app.api.cors = CORSConfig(ACCESS.origin, expose_headers=["Location"], max_age=3600)

# curl sends application/x-www-form-urlencoded by default.
BODY_TYPES = ["application/json", "application/x-www-form-urlencoded"]
# The time that an invocation reserves for the request in progress and its last log lines.
RESERVE_SHARE = 0.1
RESERVE_MAX_SECONDS = 5.0
# More than fit into the 1 MB of a Scan page, so that the size ends a page.
SCAN_PAGE_ITEMS = 20_000
# The marks that botocore leaves on an error after its last retry.
RETRIES_EXHAUSTED = {"MaxAttemptsReached", "RetryQuotaReached"}


class OutOfTime(Exception):
    """The invocation ends before its work does. What is committed stays, and the rest is delivered again."""


class ServiceUnavailableError(ChaliceViewError):
    """A route's request to DynamoDB failed for a temporary reason, also after the SDK's retries."""

    STATUS_CODE = 503


# --- Developing ----------------------------------------------------------------------------------


def require_settings(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Before a request to DynamoDB: raise an error that says which AWS setting is missing."""
    context["table"] = params.get("TableName", "")
    explain(hints.missing_settings(REGION, SESSION.get_credentials()))


def require_table(parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
    """After a request to DynamoDB: raise an error that says what to do if the table is missing."""
    explain(hints.error_hint(parsed.get("Error", {}).get("Code"), context.get("table", ""), REGION))


def explain(problem: str | None) -> None:
    """Log a problem, and raise it as a 503; do nothing without one."""
    if problem:
        logger.error(problem)
        raise ServiceUnavailableError(problem)


if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
    dynamodb.meta.events.register("provide-client-params.dynamodb", require_settings)
    dynamodb.meta.events.register("after-call.dynamodb", require_table)


# --- Orders --------------------------------------------------------------------------------------


@app.route("/orders", methods=["POST"], content_types=BODY_TYPES, **WRITE)
def place_order() -> Response:
    """Place an order. Return 200 and change nothing if it exists with the same content."""
    order_input = read_order_input(orders.CREATE_FIELDS)
    if isinstance(order_input, orders.FieldErrors):
        return bad_request(order_input)
    order_id = order_input.order_id or ulid.make_order_id(time.time_ns() // 1_000_000, os.urandom(10))
    item = orders.to_item(order_id, order_input, timestamps.from_epoch_milliseconds(time.time_ns() // 1_000_000))
    stored = put_new_order(item)
    if not orders.same_content(stored, order_input):
        raise ConflictError(f"Order {order_id} is there already with other content; PUT /orders/{order_id} amends it.")
    path = request().context.get("path", "/orders")  # Includes the stage, unlike the request's own path.
    return Response(
        orders.to_json(stored),
        status_code=201 if stored == item else 200,
        headers={"Location": f"{path.rstrip('/')}/{quote(order_id)}", "Content-Type": "application/json"},
    )


@app.route("/orders/{order_id}", methods=["GET"], **READ)
def show_order(order_id: str) -> dict[str, Any]:
    """Show an order, and whether the totals include it."""
    key = order_key(order_id)
    item = get_item(ORDERS, key)
    if item is None:
        raise order_not_found(key)
    entry = entry_item.from_item(key["OrderID"]["S"], get_item(LEDGER, key))
    return {**orders.to_json(item), **ledger.order_status(entry, item)}


@app.route("/orders/{order_id}", methods=["PUT"], content_types=BODY_TYPES, **WRITE)
def amend_order(order_id: str) -> Response | dict[str, Any]:
    """Amend an order."""
    order_input = read_order_input(orders.UPDATE_FIELDS)
    if isinstance(order_input, orders.FieldErrors):
        return bad_request(order_input)
    key = order_key(order_id)
    item = update_order(key, order_input)
    if item is None:
        raise order_not_found(key)
    return orders.to_json(item)


@app.route("/orders/{order_id}", methods=["DELETE"], **WRITE)
def cancel_order(order_id: str) -> Response:
    """Cancel an order."""
    key = order_key(order_id)
    if not delete_order(key):
        raise order_not_found(key)
    return Response("", status_code=204)


# --- Totals --------------------------------------------------------------------------------------


@app.route("/totals/{product}", methods=["GET"], **READ)
def show_total(product: str) -> dict[str, Any]:
    """Show one product's total."""
    return totals.to_json(get_total_or_404(decode_segment(product)))


@app.route("/totals", methods=["GET"], **READ)
def list_totals() -> Response | dict[str, Any]:
    """List totals: a page of them, or the largest."""
    query = totals.parse_query(request().query_params)
    if isinstance(query, orders.FieldErrors):
        return bad_request(query)
    lag = stream_lag.to_json(get_item(TREND, stream_lag.KEY))
    if query.top is not None:
        largest = totals.top_totals(scan_all(TOTALS), query.top)
        return {"totals": [totals.to_json(item) for item in largest], "freshness": lag}
    page = scan_page(TOTALS, query.limit, query.start)
    listed = [totals.to_json(item) for item in page["Items"]]
    return {"totals": listed, "cursor": totals.encode_cursor(page.get("LastEvaluatedKey")), "freshness": lag}


@app.route("/totals/{product}/trend", methods=["GET"], **READ)
def show_trend(product: str) -> Response | dict[str, Any]:
    """Show what was ordered of a product by day and hour."""
    count = trend.parse_days(request().query_params)
    if isinstance(count, orders.FieldErrors):
        return bad_request(count)
    name = decode_segment(product)
    get_total_or_404(name)
    days = trend.days_until(timestamps.from_epoch(int(time.time()))[:10], count)
    return trend.to_json(name, days, query_days(name, days[0], days[-1]))


def get_total_or_404(product: str) -> orders.Item:
    """Return the item of a product's total. Raises NotFoundError, a 404, if there is none."""
    item = get_item(TOTALS, {"product": {"S": product}}) if orders.can_be_key(product) else None
    if item is None:
        raise NotFoundError(f"Nothing has been counted for {product} yet.")
    return item


# --- About ---------------------------------------------------------------------------------------

FOLDER = Path(__file__).with_name("chalicelib") / "dashboard"
PAGE = dashboard.page(*[(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES], access=ACCESS)


@app.route("/", methods=["GET"])
def show_dashboard() -> Response:
    """Show the dashboard."""
    return Response(PAGE.body, headers=dict(PAGE.headers))


@app.route("/openapi.json", methods=["GET"])
def show_description() -> dict[str, Any]:
    """Show the API's description."""
    path = request().context.get("path", "")  # Includes the stage, unlike the request's own path.
    return openapi.document(path.removesuffix("/openapi.json") or "/", ACCESS)


# --- The stream ----------------------------------------------------------------------------------


@app.on_dynamodb_record(stream_arn=STREAM_ARN, name="aggregate", batch_size=1000, starting_position="TRIM_HORIZON")
def aggregate(event: DynamoDBEvent) -> None:
    """Count a batch of stream records. Raises every error, so that Lambda delivers the batch again."""
    started = time.monotonic()
    records = event.to_dict()["Records"]
    if not records:  # Lambda sends no empty batch; `make local` sends one to start the function.
        return
    batch = stream.read(records)
    work = committer.for_stream(batch.records_by_order)
    counted = False
    try:
        run_steps(work.steps(), deadline(event.context))
        counted = True
    finally:
        ages = batch.ages(time.time())
        report_batch(batch, work, ages, time.monotonic() - started)
        report_lag(ages, counted)


# --- Jobs ----------------------------------------------------------------------------------------


@app.lambda_function(name="backfill")
def backfill(event: Mapping[str, Any] | None, context: Any) -> dict[str, Any]:
    """Reconcile the ledger and the counters with OrdersTable. Invoke it again with the cursor until it is done."""
    work = backfills.request(event)
    return work.to_json(run_job(work, context))


@app.lambda_function(name="audit")
def audit(event: Mapping[str, Any] | None, context: Any) -> dict[str, Any]:
    """Compare orders, ledger and counters. Invoke it again with the cursor until it is done."""
    work = audits.request(event)
    return work.to_json(run_job(work, context))


@app.schedule("cron(17 3 * * ? *)", name="daily_audit", description="Audits the totals, without changing anything.")
def daily_audit(event: CloudWatchEvent) -> None:
    """Audit as far as one invocation gets, and log and measure the verdict."""
    work = audits.request({})
    report_audit(work, run_job(work, event.context))


def run_job(work: Job, context: Any) -> int:
    """Run a job until it is done or its time is over; return how many requests it made to DynamoDB."""
    before = requests_made.requests
    try:
        run_steps(work.steps(), deadline(context), time.monotonic() + work.seconds)
    except OutOfTime:
        logger.info("Out of time: the next invocation goes on from the cursor")
    return requests_made.requests - before


# --- Effects -------------------------------------------------------------------------------------


def run_steps(steps: Steps[None], end: float, leave_after: float = math.inf) -> None:
    """Perform the effects that a generator yields until it ends, or at a checkpoint after `leave_after`.

    Raises OutOfTime at `end`. Both times are those of time.monotonic().
    """
    effect = next(steps, None)
    while effect is not None and not (isinstance(effect, Checkpoint) and time.monotonic() > leave_after):
        try:
            effect = steps.send(perform(effect, end))
        except StopIteration:
            return


def perform(effect: Effect, end: float) -> Any:
    """Carry out an effect and return its result. Raises OutOfTime at `end`."""
    sleep(0, end)
    match effect:
        case BatchGet():
            return batch_get(effect, end)
        case Scan():
            return scan(effect)
        case Transact():
            return transact(effect)
        case ConditionalUpdate():
            return conditional_update(effect)
        case Sleep():
            sleep(random.uniform(0, effect.seconds) if effect.jitter else effect.seconds, end)
            return int(time.time())
        case Checkpoint():
            return None
    raise TypeError(f"{effect!r} is not an effect")


def batch_get(effect: BatchGet, end: float) -> dict[Key, orders.Item]:
    """Read items by their keys, 100 at a time; items that do not exist are left out."""
    name = NAMES[effect.table]
    items: dict[Key, orders.Item] = {}
    for start in range(0, len(effect.keys), committer.READ_MAX_KEYS):
        some = effect.keys[start : start + committer.READ_MAX_KEYS]
        left: list[Any] = [effects.key(effect.table, values) for values in some]
        tries = 0
        while left:
            sleep(random.uniform(0, committer.pause_seconds(tries)), end)
            requests_made.requests += 1
            request = {name: {"Keys": left, "ConsistentRead": effect.consistent}}
            response = dynamodb.batch_get_item(RequestItems=cast(Any, request))
            items.update({effects.key_of(effect.table, item): item for item in response["Responses"][name]})
            # DynamoDB leaves out what it cannot read at the moment, and what is beyond 16 MB.
            left = response["UnprocessedKeys"].get(name, {"Keys": []})["Keys"]
            tries += 1
    return items


def scan(effect: Scan) -> Page:
    """Read a page of a table."""
    requests_made.requests += 1
    return effects.page(effect.table, dynamodb.scan(**effect.parameters(NAMES[effect.table])))


def transact(effect: Transact) -> Committed | Cancelled:
    """Commit a transaction. Raises ClientError for an error that concerns more than its orders."""
    actions = effect.transaction.actions(NAMES, timestamps.from_epoch(int(time.time())))
    requests_made.requests += 1
    try:
        dynamodb.transact_write_items(TransactItems=actions)
    except ClientError as error:
        reasons = transactions.reasons(error.response)
        if not reasons:
            raise
        return Cancelled(reasons)
    return Committed()


def conditional_update(effect: ConditionalUpdate) -> bool:
    """Update an item; return whether the condition held and no transaction was changing the item."""
    requests_made.requests += 1
    try:
        dynamodb.update_item(TableName=NAMES[effect.table], **effect.parameters)
    except (
        dynamodb.exceptions.ConditionalCheckFailedException,
        dynamodb.exceptions.TransactionConflictException,
    ):
        return False
    return True


def sleep(seconds: float, end: float) -> None:
    """Wait. Raises OutOfTime at once if the time after it would be beyond `end`."""
    if time.monotonic() + seconds > end:
        raise OutOfTime
    if seconds:
        time.sleep(seconds)


def deadline(context: Any) -> float:
    """Return the time, of time.monotonic(), at which an invocation should end."""
    remaining_seconds: float = context.get_remaining_time_in_millis() / 1000
    return time.monotonic() + remaining_seconds - min(RESERVE_MAX_SECONDS, RESERVE_SHARE * remaining_seconds)


# --- Logs and metrics ----------------------------------------------------------------------------


def report_batch(batch: stream.Batch, work: Committer, ages: Sequence[float], seconds: float) -> None:
    """Log and measure what became of a batch, with a line for each order that was rejected or set apart."""
    for order_id, problems in work.counts.rejected.items():
        logger.warning("Order rejected", extra={"orderId": order_id, "problems": problems})
    for order_id, reason in work.set_apart.items():
        logger.error("Order set apart", extra={"orderId": order_id, "reason": reason})
    for record in batch.malformed:
        logger.error("Record set apart", extra=record._asdict())
    counts = {
        "records": batch.size,
        "applied": work.counts.applied,
        "alreadyCounted": work.counts.unchanged,
        "rejected": len(work.counts.rejected),
        "setApart": len(work.set_apart) + len(batch.malformed),
        "transactions": work.counts.transactions,
        "conflicts": work.counts.conflicts,
    }
    milliseconds = round(seconds * 1000)
    lag_seconds = round(max(ages, default=0.0), 1)
    logger.info("Batch", extra={**counts, "milliseconds": milliseconds, "lagSeconds": lag_seconds})
    metrics.add_metric("milliseconds", MetricUnit.Milliseconds, milliseconds)
    metrics.add_metric("lagSeconds", MetricUnit.Seconds, lag_seconds)
    measure(counts)


def report_lag(ages: Sequence[float], counted: bool) -> None:
    """Report to the readers of totals how far a batch was behind, and whether it was counted."""
    if not ages:
        return
    state = stream_lag.state_of(ages, counted)
    if not lag_throttle.is_due(time.monotonic(), state, max(ages)):
        return
    try:
        dynamodb.update_item(
            TableName=TREND, **stream_lag.update(state, max(ages), timestamps.from_epoch(int(time.time())))
        )
    except (ClientError, BotoCoreError):
        # A failed report must not cause a redelivery.
        logger.exception("Lag not reported")
        measure({"lagNotReported": 1})


def report_audit(work: Audit, requests: int) -> None:
    """Log and measure the verdict of an audit."""
    log, message = logger.info, "Audit"
    if work.verdict is Verdict.DRIFTED:
        log = logger.error
    elif work.verdict is Verdict.UNPROVEN:
        log = logger.warning
    elif not work.done:  # Only the part so far is clean.
        log, message = logger.warning, "Audit incomplete: make audit goes through everything"
    log(message, extra=work.to_log(requests))
    drifted, unproven, incomplete = work.drifted_products, work.unproven, int(not work.done)
    measure({"DriftedProducts": drifted, "AuditUnproven": unproven, "AuditIncomplete": incomplete})


def measure(counts: Mapping[str, int]) -> None:
    """Write these metrics, and those added before, to the log in CloudWatch's embedded format."""
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.flush_metrics()


# --- HTTP requests and responses -----------------------------------------------------------------


@app.middleware("http")
def end_json_with_newline(event: Request, get_response: Callable[[Request], Response]) -> Response:
    """End a JSON body with a newline, so that a terminal shows its prompt on a line of its own."""
    response = get_response(event)
    if not isinstance(response.body, (str, bytes)):
        response.body = response.to_dict()["body"] + "\n"
    return response


def request() -> Request:
    """Return the current request."""
    return cast(Request, app.current_request)


def read_order_input(fields: Sequence[str]) -> orders.OrderInput | orders.FieldErrors:
    """Return the order in the request's body, or its field errors. Raises BadRequestError for a malformed body."""
    try:
        return orders.parse_order(cast(bytes, request().raw_body), fields)
    except orders.MalformedBodyError as error:
        raise BadRequestError(str(error)) from None


def bad_request(errors: orders.FieldErrors) -> Response:
    """Return a 400 that names every error by its field."""
    message = "; ".join(f"{field} {error}" for field, error in errors.items())
    return Response({"Code": "BadRequestError", "Message": message, "problems": errors}, status_code=400)


def decode_segment(segment: str) -> str:
    """Decode a segment of a path. It arrives percent-encoded, and a `+` in it is a plus."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequestError("The path is not percent-encoded UTF-8.") from None


def order_key(segment: str) -> dict[str, Any]:
    """Return the key of the order in a path. Its id may be invalid, because the table may have such an order."""
    order_id = decode_segment(segment)
    if not orders.can_be_key(order_id):
        raise order_not_found({"OrderID": {"S": order_id}})
    return {"OrderID": {"S": order_id}}


def order_not_found(key: orders.Item) -> NotFoundError:
    """Return the error for an order that does not exist."""
    return NotFoundError(f"There is no order {key['OrderID']['S']}.")


# --- DynamoDB ------------------------------------------------------------------------------------


@contextmanager
def outage_as_503() -> Iterator[None]:
    """Turn DynamoDB outages that outlast the SDK's retries into a 503."""
    try:
        yield
    except (NoConnection, HTTPClientError, ClientError) as error:
        if isinstance(error, ClientError) and not RETRIES_EXHAUSTED & error.response["ResponseMetadata"].keys():
            raise
        logger.warning("DynamoDB unavailable", exc_info=True)
        raise ServiceUnavailableError("The database is out of reach or too busy. Try again in a second.") from error


def get_item(table_name: str, key: orders.Item) -> orders.Item | None:
    """Read an item, consistently; return None if it does not exist."""
    with outage_as_503():
        return dynamodb.get_item(TableName=table_name, Key=key, ConsistentRead=True).get("Item")


def put_new_order(item: orders.Item) -> orders.Item:
    """Put an order unless its id is taken; return the order that the table has then."""
    with outage_as_503():
        try:
            dynamodb.put_item(
                TableName=ORDERS,
                Item=item,
                ConditionExpression="attribute_not_exists(OrderID)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException as error:
            return cast(orders.Item, error.response.get("Item"))
    return item


def update_order(key: orders.Item, order_input: orders.OrderInput) -> orders.Item | None:
    """Replace the content of an order; return its new item, or None if it does not exist."""
    with outage_as_503():
        try:
            response = dynamodb.update_item(
                TableName=ORDERS,
                Key=key,
                UpdateExpression="SET Product = :product, Quantity = :quantity",
                ExpressionAttributeValues={
                    ":product": {"S": order_input.product},
                    ":quantity": {"N": str(order_input.quantity)},
                },
                ConditionExpression="attribute_exists(OrderID)",
                ReturnValues="ALL_NEW",
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return None
    return response["Attributes"]


def delete_order(key: orders.Item) -> bool:
    """Delete an order; return whether it existed. An earlier try whose response was lost may have deleted it."""
    with outage_as_503():
        response = dynamodb.delete_item(TableName=ORDERS, Key=key, ReturnValues="ALL_OLD")
    return "Attributes" in response or response["ResponseMetadata"]["RetryAttempts"] > 0


def scan_page(table_name: str, limit: int, start: orders.Item | None) -> Mapping[str, Any]:
    """Read at most `limit` items of a table after the key `start`; return `Items`, and `LastEvaluatedKey` if any."""
    with outage_as_503():
        if start is None:
            return dynamodb.scan(TableName=table_name, Limit=limit)
        return dynamodb.scan(TableName=table_name, Limit=limit, ExclusiveStartKey=start)


def scan_all(table_name: str) -> Iterator[orders.Item]:
    """Yield all items of a table."""
    page = scan_page(table_name, SCAN_PAGE_ITEMS, None)
    yield from page["Items"]
    while "LastEvaluatedKey" in page:
        page = scan_page(table_name, SCAN_PAGE_ITEMS, page["LastEvaluatedKey"])
        yield from page["Items"]


def query_days(product: str, first: str, last: str) -> Sequence[orders.Item]:
    """Read a product's items from the day `first` to `last`: at most trend.DAYS_MAX, which fit into one page."""
    with outage_as_503():
        return dynamodb.query(
            TableName=TREND,
            KeyConditionExpression="#product = :product AND #day BETWEEN :first AND :last",
            ExpressionAttributeNames={"#product": "product", "#day": "day"},
            ExpressionAttributeValues={":product": {"S": product}, ":first": {"S": first}, ":last": {"S": last}},
            ConsistentRead=True,
        )["Items"]
