"""Tests for the daily audit: when it starts, how it resumes, concurrent invocations, and crashes."""

from typing import Any

import pytest

from chalicelib import effects, reports, tables
from chalicelib.jobs import daily_audit
from chalicelib.jobs.audit import Verdict
from chalicelib.jobs.daily_audit import CLAIM_SECONDS, CURSOR_MAX_BYTES, INTERVAL_SECONDS, State, Turn
from tests import doubles
from tests.doubles import FakeDynamoDB, run
from tests.orders_and_stream import OrdersAndStream
from tests.streams import item

NOW = 1_795_000_000.0
MINUTE = 60.0


def perform(effect: effects.Effect, dynamo: FakeDynamoDB) -> Any:
    """Carry out an effect. Handle updates of StateTable here, because the fake only handles updates of counters."""
    if not isinstance(effect, effects.ConditionalUpdate) or effect.table != tables.STATE:
        return doubles.perform(effect, dynamo)
    values, condition = effect.parameters["ExpressionAttributeValues"], effect.parameters.get("ConditionExpression", "")
    item = dynamo.tables[tables.STATE].setdefault((effect.parameters["Key"]["name"]["S"],), {})
    expected = next((value for name, value in values.items() if name in condition), item.get("turn"))
    if item.get("turn", expected) != expected:
        return False
    names = [
        part.partition(" = ")[0] for part in effect.parameters["UpdateExpression"].removeprefix("SET ").split(", ")
    ]
    item |= {name: values[f":{name}"] for name in names}
    return True


def result_of(steps: effects.Steps[Any], shop: OrdersAndStream) -> Any:
    """Perform the steps and return their result."""
    result: Any = None
    while True:
        try:
            result = perform(steps.send(result), shop.dynamo)
        except StopIteration as end:
            return end.value


def begin(shop: OrdersAndStream, now: float) -> tuple[State, Turn | None]:
    found: tuple[State, Turn | None] = result_of(daily_audit.begin(now), shop)
    return found


def end(shop: OrdersAndStream, turn: Turn, now: float) -> bool:
    return bool(result_of(daily_audit.end(turn, 1, now), shop))


def invoke(shop: OrdersAndStream, now: float, checkpoints: int = 1_000_000) -> bool | None:
    """Do what the scheduled function does. Return whether the audit is over, or None if there was nothing to do."""
    _, turn = begin(shop, now)
    if turn is None:
        return None
    run(turn.work, shop.dynamo, checkpoints)
    return end(shop, turn, now + MINUTE)


def shown(shop: OrdersAndStream) -> dict[str, Any]:
    response: dict[str, Any] = result_of(daily_audit.to_json(), shop)
    return response


@pytest.fixture
def shop() -> OrdersAndStream:
    made = OrdersAndStream()
    for number in range(5):
        made.put(item(f"order-{number}"))
    made.deliver()
    return made


def test_first_audit_starts_at_once_and_the_next_one_a_day_later(shop: OrdersAndStream):
    assert shown(shop) == {"last": None, "runningSince": None, "requestedAt": None}
    assert invoke(shop, NOW) is True
    assert shown(shop)["last"]["verdict"] == "clean"
    assert shown(shop)["last"]["orders"]["checked"] == 5
    assert invoke(shop, NOW + INTERVAL_SECONDS - MINUTE) is None
    assert invoke(shop, NOW + INTERVAL_SECONDS) is True


def test_audit_resumes_until_it_is_done(shop: OrdersAndStream):
    turns = 0
    while not invoke(shop, NOW + turns * 15 * MINUTE, checkpoints=2):
        turns += 1
        assert shown(shop)["last"] is None
        assert shown(shop)["runningSince"] == "2026-11-18T11:06:40Z"
        assert turns < 50
    assert turns > 2
    assert (shown(shop)["last"]["verdict"], shown(shop)["last"]["orders"]["checked"]) == ("clean", 5)
    assert shown(shop)["runningSince"] is None


def test_requested_audit_starts_at_the_next_invocation_and_only_once(shop: OrdersAndStream):
    invoke(shop, NOW)
    asked = result_of(daily_audit.request(NOW + 5 * MINUTE), shop)
    assert asked["requestedAt"] == "2026-11-18T11:11:40Z"
    assert invoke(shop, NOW + 15 * MINUTE) is True
    assert shown(shop)["requestedAt"] is None
    assert invoke(shop, NOW + 30 * MINUTE) is None


def test_invocation_leaves_a_running_turn_alone_and_takes_over_after_a_crash(shop: OrdersAndStream):
    _, crashed = begin(shop, NOW)
    assert crashed
    assert begin(shop, NOW + CLAIM_SECONDS - 1)[1] is None
    _, turn = begin(shop, NOW + CLAIM_SECONDS)
    assert turn
    run(turn.work, shop.dynamo)
    assert end(shop, turn, NOW + CLAIM_SECONDS + MINUTE) is True
    before = shown(shop)
    assert end(shop, crashed, NOW + 2 * CLAIM_SECONDS) is False, "its turn is not the last one any more"
    assert shown(shop) == before


def test_only_one_of_two_invocations_at_once_gets_the_turn(shop: OrdersAndStream):
    first, second = daily_audit.begin(NOW), daily_audit.begin(NOW)
    claims = [steps.send(perform(next(steps), shop.dynamo)) for steps in (first, second)]
    turns = []
    for steps, claim in zip((first, second), claims, strict=True):
        with pytest.raises(StopIteration) as ended:
            steps.send(perform(claim, shop.dynamo))
        turns.append(ended.value.value[1])
    assert [turn is None for turn in turns] == [False, True]


def test_audit_starts_over_if_an_upgrade_has_made_its_cursor_unusable(shop: OrdersAndStream):
    invoke(shop, NOW, checkpoints=2)
    shop.dynamo.tables[tables.STATE][daily_audit.RUNNING]["packedCursor"] = {"B": b"of another version"}
    assert invoke(shop, NOW + 15 * MINUTE) is True
    assert shown(shop)["last"]["orders"]["checked"] == 5


@pytest.mark.parametrize(("size", "over"), [(CURSOR_MAX_BYTES, False), (CURSOR_MAX_BYTES + 3, True)])
def test_audit_ends_if_its_cursor_is_too_large_for_an_item(
    shop: OrdersAndStream, monkeypatch: pytest.MonkeyPatch, size: int, over: bool
):
    """An item has at most 400 KB (DynamoDB quotas). Besides the cursor it has only a few short attributes."""
    _, turn = begin(shop, NOW)
    assert turn
    result = {**turn.work.to_json(1), "cursor": "A" * (size // 3 * 4)}
    monkeypatch.setattr(type(turn.work), "to_json", lambda work, requests: result)
    assert end(shop, turn, NOW + MINUTE) is over
    assert len(shop.dynamo.tables[tables.STATE][daily_audit.RUNNING]["packedCursor"].get("B", b"")) in (0, size)
    if over:
        assert (shown(shop)["last"]["done"], shown(shop)["last"]["verdict"]) == (False, None)


def test_metric_has_the_hours_since_an_audit_has_finished(shop: OrdersAndStream):
    def age(now: float, over: bool = False) -> float:
        state, _ = begin(shop, now)
        return reports.of_turn(state, None, 0, over, now).metrics["AuditAgeHours"].value

    assert age(NOW) == 0, "no audit has ever started"
    assert age(NOW + 7200) == 2, "the first one has not finished"
    shop.dynamo.tables[tables.STATE].clear()
    invoke(shop, NOW)
    assert age(NOW + MINUTE + 36 * 3600) == 36
    assert age(NOW + MINUTE + 37 * 3600, over=True) == 0


def test_running_audit_reports_drift_at_once_but_a_clean_verdict_only_at_its_end(shop: OrdersAndStream):
    _, turn = begin(shop, NOW)
    assert turn
    running = reports.of_turn(State(1, NOW, NOW, None, 0, None, 0), turn, 1, False, NOW)
    assert ([line.message for line in running.lines], [*running.metrics]) == (["Audit goes on"], ["AuditAgeHours"])
    turn.work.orders.figures["missing"] = 1
    assert turn.work.verdict is Verdict.DRIFTED
    drifted = reports.of_turn(State(1, NOW, NOW, None, 0, None, 0), turn, 1, False, NOW)
    assert drifted.metrics["DriftedProducts"].value == 1
