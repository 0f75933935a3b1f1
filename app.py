"""Order Totals: exact totals of orders in real time.

This file has the routes, the stream handler, the jobs and all AWS calls. Chalice derives the app's IAM policy from the
AWS calls in this file. The logic is in chalicelib/, which makes no AWS calls.

Chalice's policy generator reads the routes, the jobs and the functions that they call, but not the stream handler. So
the handler makes only AWS calls that a route or a job makes too.
"""

import math
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import boto3
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Chalice, CloudWatchEvent, ConflictError, CORSConfig, DynamoDBEvent, Request, Response

from chalicelib import client, dashboard, effects, hints, orders, reports, stream_lag, tables, timestamps, ulid
from chalicelib.api import access, http, openapi, order_status, rows, totals, trend
from chalicelib.counting import committer, stream, transactions
from chalicelib.jobs import audit as audits
from chalicelib.jobs import backfill as backfills
from chalicelib.jobs import daily_audit as daily_audits
from chalicelib.jobs import invocation

app = Chalice(app_name="order-totals", configure_logs=False)
app.register_middleware(http.end_json_with_newline, "http")
# Chalice logs with this logger too, because its name is the app's. `stack_trace` would only repeat `exception`.
logger = Logger(service="order-totals", serialize_stacktrace=False)
# The service name includes the stage, so that two stages in one account have separate metrics.
metrics = Metrics(namespace="OrderTotals", service=f"order-totals-{os.environ.get('STAGE', 'local')}")
requests_made = effects.RequestCounter()
lag_reporter = stream_lag.Reporter()
NAMES = tables.names(os.environ)
STREAM_ARN = os.environ.get("ORDERS_STREAM_ARN", "run-make-provision-first")
if "ORDERS_STREAM_ARN" not in os.environ and (stage := hints.deployed_stage(sys.modules)):
    sys.exit(hints.NOT_PROVISIONED.format(stage=stage))

if boto3.DEFAULT_SESSION is None:
    boto3.setup_default_session()
SESSION = cast(boto3.Session, boto3.DEFAULT_SESSION)
REGION = os.environ.get("AWS_REGION") or SESSION.region_name  # boto3 itself reads only AWS_DEFAULT_REGION.
# `chalice local` must start without a region. The first request then fails with a hint.
dynamodb = boto3.client("dynamodb", region_name=REGION or "us-east-1", config=client.config(os.environ))
if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
    hints.register(dynamodb.meta.events, REGION, SESSION.get_credentials, logger.error)

ACCESS = access.settings(os.environ)
READ = access.route_options(ACCESS.reads)
WRITE = access.route_options(ACCESS.writes)
if ACCESS.origin:
    app.api.cors = CORSConfig(ACCESS.origin, expose_headers=["Location"], max_age=3600)


# --- Orders --------------------------------------------------------------------------------------


@app.route("/orders", methods=["POST"], content_types=http.BODY_TYPES, **WRITE)
def place_order() -> Response:
    """Place an order. If it already exists with the same content, return 200 and change nothing."""
    order_input = http.read_order(request(), orders.CREATE_FIELDS)
    if isinstance(order_input, orders.FieldErrors):
        return http.bad_request(order_input)
    now = time.time_ns() // 1_000_000
    order_id = order_input.order_id or ulid.make_order_id(now, os.urandom(10))
    item = orders.to_item(order_id, order_input, timestamps.from_epoch_milliseconds(now))
    stored = put_new_order(item)
    if not orders.same_content(stored, order_input):
        raise ConflictError(f"Order {order_id} exists with different content. Amend it with PUT /orders/{order_id}.")
    return http.placed(request(), order_id, stored, is_new=stored == item)


@app.route("/orders", methods=["GET"], **READ)
def list_orders() -> Any:
    """List the latest counted orders."""
    return read(rows.list_orders(request().query_params))


@app.route("/orders/{order_id}", methods=["GET"], **READ)
def show_order(order_id: str) -> Any:
    """Show an order and whether the totals include it."""
    return read(order_status.show(order_id))


@app.route("/orders/{order_id}", methods=["PUT"], content_types=http.BODY_TYPES, **WRITE)
def amend_order(order_id: str) -> Response | dict[str, Any]:
    """Replace the content of an order."""
    order_input = http.read_order(request(), orders.UPDATE_FIELDS)
    if isinstance(order_input, orders.FieldErrors):
        return http.bad_request(order_input)
    key = http.order_key(order_id)
    item = update_order(key, order_input)
    if item is None:
        raise http.order_not_found(key)
    return orders.to_json(item)


@app.route("/orders/{order_id}", methods=["DELETE"], **WRITE)
def cancel_order(order_id: str) -> Response:
    """Delete an order, which also removes it from the totals."""
    key = http.order_key(order_id)
    if not delete_order(key):
        raise http.order_not_found(key)
    return Response("", status_code=204)


# --- Totals and views ----------------------------------------------------------------------------


@app.route("/totals/{product}", methods=["GET"], **READ)
def show_total(product: str) -> Any:
    """Show one product's total."""
    return read(totals.show(product))


@app.route("/totals", methods=["GET"], **READ)
def list_totals() -> Any:
    """List a page of the totals, or the largest totals."""
    return read(totals.list_totals(request().query_params, time.time()))


@app.route("/totals/{product}/trend", methods=["GET"], **READ)
def show_trend(product: str) -> Any:
    """Show a product's ordered quantities by day and hour."""
    return read(trend.show(product, request().query_params, time.time()))


@app.route("/views", methods=["GET"], **READ)
def list_views() -> Any:
    """List the views."""
    return read(rows.list_views())


@app.route("/views/{view}", methods=["GET"], **READ)
def list_rows(view: str) -> Any:
    """List a page of a view's rows, or its largest rows."""
    return read(rows.list_rows(view, request().query_params, time.time()))


@app.route("/views/{view}/{key}", methods=["GET"], **READ)
def list_partition(view: str, key: str) -> Any:
    """List a view's rows with a partition key. If the view has no sort key, show the only row."""
    return read(rows.list_partition(view, key, request().query_params))


@app.route("/views/{view}/{key}/{sort_key}", methods=["GET"], **READ)
def show_row(view: str, key: str, sort_key: str) -> Any:
    """Show a view's row with a partition key and a sort key."""
    return read(rows.show(view, key, sort_key))


@app.route("/audit", methods=["GET"], **READ)
def show_audit() -> Any:
    """Show the last audit's verdict, and whether an audit is running or requested."""
    return read(daily_audits.to_json())


@app.route("/audit", methods=["POST"], **WRITE)
def request_audit() -> Response:
    """Request an audit. The schedule starts it."""
    return Response(read(daily_audits.request(time.time())), status_code=202)


# --- About ---------------------------------------------------------------------------------------

FOLDER = Path(__file__).with_name("chalicelib") / "dashboard"
FILES = [(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES]
PAGE = dashboard.page(*FILES, access=ACCESS)


@app.route("/", methods=["GET"])
def show_dashboard() -> Response:
    """Show the dashboard."""
    return http.html(*PAGE)


@app.route("/docs", methods=["GET"])
def show_docs() -> Response:
    """Show the API's description as a page for people."""
    return http.html(*dashboard.docs_page(FILES[1], show_description(), http.base_url(request())))


@app.route("/openapi.json", methods=["GET"])
def show_description() -> dict[str, Any]:
    """Show the API's description."""
    return openapi.document(http.base_path(request()), ACCESS)


# --- The stream ----------------------------------------------------------------------------------


@app.on_dynamodb_record(stream_arn=STREAM_ARN, name="aggregate", batch_size=1000, starting_position="TRIM_HORIZON")
def aggregate(event: DynamoDBEvent) -> None:
    """Count a batch of stream records. Any error makes Lambda deliver the batch again."""
    started = time.monotonic()
    records = event.to_dict()["Records"]
    if not records:  # `make local` sends an empty batch to start the function. Lambda never does.
        return
    batch = stream.read(records)
    work = committer.for_stream(batch.records_by_order, int(time.time()))
    counted = False
    try:
        run_steps(work.steps(), deadline(event.context))
        counted = True
    finally:
        now, clock = time.time(), time.monotonic()
        emit(reports.of_batch(batch, work, batch.ages(now), clock - started))
        if report := lag_reporter.report(batch, work, counted, now, clock):
            report_lag(report)


def report_lag(report: Mapping[str, Any]) -> None:
    """Report to readers how far a batch was behind, and the latest orders."""
    try:
        lag_reporter.add_replaced(dynamodb.update_item(TableName=NAMES[tables.STATE], **report))
    except (ClientError, BotoCoreError):  # A failed report must not cause a redelivery.
        logger.exception("Lag not reported")
        emit(reports.LAG_NOT_REPORTED)


# --- Jobs ----------------------------------------------------------------------------------------


@app.lambda_function(name="backfill")
def backfill(event: Mapping[str, Any] | None, context: Any) -> dict[str, Any]:
    """Reconcile ledger and counters with OrdersTable. Invoke it again with the returned cursor until it is done."""
    work = backfills.request(event)
    return work.to_json(run_job(work, context))


@app.lambda_function(name="audit")
def audit(event: Mapping[str, Any] | None, context: Any) -> dict[str, Any]:
    """Compare orders, ledger and counters. Invoke it again with the returned cursor until it is done."""
    work = audits.request(event)
    return work.to_json(run_job(work, context))


@app.schedule("rate(15 minutes)", name="daily_audit", description="Audits the totals once a day or when asked to.")
def daily_audit(event: CloudWatchEvent) -> None:
    """Resume the running audit, or start one if it is due. Log its verdict and emit metrics. Repair nothing."""
    state, turn = run_steps(daily_audits.begin(time.time()), math.inf)
    requests = run_job(turn.work, event.context) if turn else 0
    is_over = turn and run_steps(daily_audits.end(turn, requests, time.time()), math.inf)
    emit(reports.of_turn(state, turn, requests, is_over, time.time()))


@app.schedule("rate(5 minutes)", name="refresh_top_lists", description="Refreshes lists that somebody reads.")
def refresh_top_lists(event: CloudWatchEvent) -> None:
    """Refresh the requested top lists that are too large to refresh within a request."""
    run_steps(rows.refresh_top_lists(time.time()), deadline(event.context))


def run_job(work: invocation.Job, context: Any) -> int:
    """Run a job until it is done or out of time. Return how many DynamoDB requests it made."""
    before = requests_made.requests
    try:
        run_steps(work.steps(), deadline(context), time.monotonic() + work.seconds)
    except OutOfTime:
        logger.info("Out of time: the next invocation continues from the cursor")
    return requests_made.requests - before


# --- Effects: the DynamoDB calls and pauses of the stream handler, the jobs and the routes that read ----


class OutOfTime(Exception):
    """The invocation has too little time left. Committed transactions stay, and the rest is retried."""


def run_steps(steps: effects.Steps[Any], end: float, leave_after: float = math.inf) -> Any:
    """Perform the effects of a generator until it ends, or until its first checkpoint after `leave_after`.

    Return the generator's result, if any. Raise OutOfTime at `end`. Both are times of time.monotonic().
    """
    try:
        effect = next(steps)
        while not (isinstance(effect, effects.Checkpoint) and time.monotonic() > leave_after):
            effect = steps.send(perform(effect, end))
    except StopIteration as end_of_steps:
        return end_of_steps.value


def perform(effect: effects.Effect, end: float) -> Any:
    """Carry out an effect and return its result. Raise OutOfTime at `end`."""
    sleep(0, end)
    requests_made.count(effect)
    match effect:
        case effects.Get():
            return get_item(effect)
        case effects.BatchGet():
            return batch_get(effect, end)
        case effects.Scan():
            return effects.page(effect.table, dynamodb.scan(**effect.parameters(NAMES[effect.table])))
        case effects.Query():
            return effects.page(effect.table, dynamodb.query(**effect.parameters(NAMES[effect.table])))
        case effects.Transact():
            return transact(effect)
        case effects.ConditionalUpdate():
            return conditional_update(effect)
        case effects.Sleep():
            sleep(random.uniform(0, effect.seconds) if effect.jitter else effect.seconds, end)
            return int(time.time())
        case effects.Checkpoint():
            return None
        case effects.Together():
            with ThreadPoolExecutor(len(effect.effects)) as threads:  # Waits for all, also after an error.
                return list(threads.map(lambda each: perform(each, end), effect.effects))
    raise TypeError(f"{effect!r} is not an effect")


def get_item(effect: effects.Get) -> orders.Item | None:
    """Read an item with a consistent read. Return None if it does not exist."""
    key = effects.key(effect.table, effect.key)
    return dynamodb.get_item(TableName=NAMES[effect.table], Key=key, ConsistentRead=True).get("Item")


def batch_get(effect: effects.BatchGet, end: float) -> dict[effects.Key, orders.Item]:
    """Read items by their keys, 100 at a time. Leave out items that do not exist."""
    items: dict[effects.Key, orders.Item] = {}
    for request_items in effect.requests(NAMES):
        tries = 0
        while request_items:
            sleep(random.uniform(0, committer.pause_seconds(tries)), end)
            requests_made.add(1)
            try:
                response: Any = dynamodb.batch_get_item(RequestItems=request_items)
            except ClientError as error:
                response = client.nothing_read(error, request_items)
            items.update(effect.items(response))
            request_items = effect.unprocessed(response)
            tries += 1
    return items


def transact(effect: effects.Transact) -> effects.Committed | effects.Cancelled:
    """Commit a transaction, or return why it was cancelled. Raise ClientError for any other error."""
    actions = effect.transaction.actions(NAMES, timestamps.from_epoch(int(time.time())))
    try:
        dynamodb.transact_write_items(TransactItems=actions)
    except ClientError as error:
        if reasons := transactions.reasons(error.response):
            return effects.Cancelled(reasons)
        raise
    return effects.Committed()


def conditional_update(effect: effects.ConditionalUpdate) -> bool:
    """Update an item. Return False if the condition failed or a transaction was changing the item."""
    try:
        dynamodb.update_item(TableName=NAMES[effect.table], **effect.parameters)
    except (dynamodb.exceptions.ConditionalCheckFailedException, dynamodb.exceptions.TransactionConflictException):
        return False
    return True


def sleep(seconds: float, end: float) -> None:
    """Wait for some seconds. Raise OutOfTime immediately if the wait would end after `end`."""
    if time.monotonic() + seconds > end:
        raise OutOfTime
    if seconds:
        time.sleep(seconds)


def deadline(context: Any) -> float:
    """Return when this invocation should stop working, as a time of time.monotonic()."""
    remaining_seconds: float = context.get_remaining_time_in_millis() / 1000
    return time.monotonic() + remaining_seconds - invocation.reserve_seconds(remaining_seconds)


# --- DynamoDB calls of the routes that write -----------------------------------------------------


@contextmanager
def outage_as_503() -> Iterator[None]:
    """Turn DynamoDB outages that outlast the SDK's retries into a 503."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        if not client.is_outage(error):
            raise
        logger.warning("DynamoDB unavailable", exc_info=True)
        raise http.ServiceUnavailableError(http.OUTAGE) from error


@outage_as_503()
def put_new_order(item: orders.Item) -> orders.Item:
    """Put an order unless its id exists. Return the stored item with that id, new or not."""
    try:
        dynamodb.put_item(
            TableName=NAMES[tables.ORDERS],
            Item=item,
            ConditionExpression="attribute_not_exists(OrderID)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        return cast(orders.Item, error.response.get("Item"))
    return item


@outage_as_503()
def update_order(key: orders.Item, order_input: orders.OrderInput) -> orders.Item | None:
    """Replace an order's content. Return its new item, or None if the order does not exist."""
    try:
        return dynamodb.update_item(
            TableName=NAMES[tables.ORDERS],
            Key=key,
            **orders.replacement(order_input),
            ConditionExpression="attribute_exists(OrderID)",
            ReturnValues="ALL_NEW",
        )["Attributes"]
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return None


@outage_as_503()
def delete_order(key: orders.Item) -> bool:
    """Delete an order. Return whether it existed; after an SDK retry, assume that the first try deleted it."""
    response = dynamodb.delete_item(TableName=NAMES[tables.ORDERS], Key=key, ReturnValues="ALL_OLD")
    return "Attributes" in response or response["ResponseMetadata"]["RetryAttempts"] > 0


@outage_as_503()
def read(steps: effects.Steps[Any]) -> Any:
    """Perform the effects of a route that reads, and return its response."""
    return http.response(run_steps(steps, math.inf))


# --- HTTP and logs -------------------------------------------------------------------------------


def request() -> Request:
    """Return the current request."""
    return cast(Request, app.current_request)


def emit(report: reports.Report) -> None:
    """Log a report's lines, and its metrics in CloudWatch's embedded metric format."""
    for line in report.lines:
        getattr(logger, line.level)(line.message, extra=line.fields)
    for name, metric in report.metrics.items():
        metrics.add_metric(name, metric.unit, metric.value)
    metrics.flush_metrics()
