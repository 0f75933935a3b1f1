"""Two stages in one account and region: nothing of the one is the other's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import package
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.e2e.http import Api

STAGES = ("dev", "prod")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stack]]:
    """Both, in an emulator of their own, each in a stack as the runbook names it."""
    with Emulator() as emulator:
        stacks = {}
        for stage in STAGES:
            build: Path = package(stage, tmp_path_factory.mktemp(stage)).parent
            stacks[stage] = deploy(emulator, build, name=f"order-totals-{stage}")
        yield stacks


def test_they_share_no_resource(stages: dict[str, Stack]):
    dev, prod = (set(stages[stage].resources.values()) for stage in STAGES)
    assert dev & prod <= {"api", "FailureQueuePolicy"}  # Names within an API, and within a role.
    assert len(dev) == len(prod) > 25


def test_they_are_told_apart_by_name(stages: dict[str, Stack]):
    gateway = stages["dev"].emulator.client("apigateway")
    assert {api["name"] for api in gateway.get_rest_apis()["items"]} == {"order-totals-dev", "order-totals-prod"}


def test_an_order_counts_in_its_own_stage_alone(stages: dict[str, Stack], unique: str, eventually: Callable[..., Any]):
    apis = {stage: Api(stages[stage].api_url) for stage in STAGES}
    for number, api in enumerate(apis.values(), start=1):
        assert api.post("/orders", {"orderId": unique, "product": unique, "quantity": number}).status == 201

    def totals() -> list[Any]:
        return [api.get(f"/totals/{unique}").json.get("totalQuantity") for api in apis.values()]

    assert eventually(totals, [1, 2]) == [1, 2]
