"""Tests for two stages in one account and region: they share no resources, and orders count only in their stage."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.package import read_template
from localcloud.emulator import Emulator
from localcloud.stack import Stack, deploy
from tests.e2e.http import Api
from tests.projects import package_open

STAGES = ("dev", "prod")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stack]]:
    """Deploy two stages to one emulator, with the stack names of docs/operations.md."""
    with Emulator() as emulator:
        stacks = {}
        for stage in STAGES:
            build: Path = package_open(stage, tmp_path_factory.mktemp(stage)).parent
            stacks[stage] = deploy(emulator, build, name=f"order-totals-{stage}")
        yield stacks


def test_stages_share_no_resource(stages: dict[str, Stack]):
    dev, prod = (set(stages[stage].resources.values()) for stage in STAGES)
    assert dev & prod <= {"api"}  # Both APIs have a stage with this name.
    assert len(dev) == len(prod) > 25


def test_apis_of_stages_have_different_names(stages: dict[str, Stack]):
    gateway = stages["dev"].emulator.client("apigateway")
    assert {api["name"] for api in gateway.get_rest_apis()["items"]} == {"order-totals-dev", "order-totals-prod"}


def test_order_counts_only_in_its_own_stage(stages: dict[str, Stack], unique: str, eventually: Callable[..., Any]):
    apis = {stage: Api(stages[stage].api_url) for stage in STAGES}
    for number, api in enumerate(apis.values(), start=1):
        assert api.post("/orders", {"orderId": unique, "product": unique, "quantity": number}).status == 201

    def totals() -> list[Any]:
        return [api.get(f"/totals/{unique}").json.get("totalQuantity") for api in apis.values()]

    assert eventually(totals, [1, 2]) == [1, 2]


@pytest.fixture(scope="module")
def with_gateway_responses(stages: dict[str, Stack], tmp_path_factory: pytest.TempPathFactory) -> Api:
    """Return the API of stage prod with the template's gateway responses, which the emulator ignores otherwise."""
    stack = stages["prod"]
    gateway = stack.emulator.client("apigateway")
    api = read_template(package_open("prod", tmp_path_factory.mktemp("prod")))["Resources"]["RestAPI"]["Properties"]
    for kind, response in api["GatewayResponses"].items():
        gateway.put_gateway_response(
            restApiId=stack.resources["RestAPI"],
            responseType=kind,
            statusCode=str(response["StatusCode"]),
            responseTemplates=response["ResponseTemplates"],
        )
    gateway.create_deployment(restApiId=stack.resources["RestAPI"], stageName=api["StageName"])
    return Api(stack.api_url)


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PATCH", "/orders"), ("GET", "/totals/Pen/x")])
def test_missing_route_is_a_404(with_gateway_responses: Api, method: str, path: str):
    response = with_gateway_responses(method, path)
    assert (response.status, response.json["Code"]) == (404, "NotFoundError")
    assert response.body.endswith(b"}\n")
