"""app.py has the requests of a round in flight at the same time, and raises an error after all have ended."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import effects, tables
from tests.proof.app_on_engine import NOWHERE
from tests.proof.harness import LOGGER, load_app

READS = [effects.BatchGet(tables.LEDGER, [(f"order-{number}",)]) for number in range(8)]


def perform(batch_get_item: Callable[..., Any]) -> Any:
    shell = load_app(NOWHERE)
    shell.dynamodb = SimpleNamespace(batch_get_item=batch_get_item)
    try:
        return shell.perform(effects.Together(READS), float("inf")), shell.requests_made.requests
    finally:
        LOGGER.disabled = False


def order_id(request: Any) -> str:
    ((_, wanted),) = request["RequestItems"].items()
    return str(wanted["Keys"][0]["OrderID"]["S"])


def found(request: Any) -> dict[str, Any]:
    return {"Responses": {"LedgerTable": [{"OrderID": {"S": order_id(request)}}]}, "UnprocessedKeys": {}}


def test_eight_requests_are_in_flight_at_the_same_time_and_results_come_in_order():
    all_sent = threading.Barrier(len(READS), timeout=30)

    def batch_get_item(**request: Any) -> Any:
        all_sent.wait()
        return found(request)

    results, requests = perform(batch_get_item)
    assert [list(result) for result in results] == [[key] for read in READS for key in read.keys]
    assert requests == len(READS)


def test_an_error_is_raised_after_all_requests_of_the_round_have_ended():
    all_sent = threading.Barrier(len(READS), timeout=30)
    first_failed = threading.Event()
    ended = []

    def batch_get_item(**request: Any) -> Any:
        all_sent.wait()
        if order_id(request) == "order-0":
            first_failed.set()
            raise RuntimeError("lost")
        first_failed.wait(30)
        ended.append(order_id(request))
        return found(request)

    with pytest.raises(RuntimeError, match="lost"):
        perform(batch_get_item)
    assert len(ended) == len(READS) - 1
