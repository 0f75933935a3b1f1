"""What the routes say on a machine that lacks something."""

import pytest

from chalicelib import hints


@pytest.mark.parametrize(
    ("region", "credentials", "missing"),
    [(None, None, "region"), (None, "some", "region"), ("us-east-1", None, "credentials")],
)
def test_a_missing_setting_is_named_with_what_to_do(region: str | None, credentials: str | None, missing: str):
    problem = hints.missing_settings(region, credentials)
    assert problem
    assert problem.startswith(f"No AWS {missing}")
    assert "make local" in problem


def test_complete_settings_are_no_problem():
    assert hints.missing_settings("us-east-1", "some") is None


def test_a_missing_table_is_named_with_what_to_do():
    assert hints.refusal("ResourceNotFoundException", "OrdersTable", "eu-west-1") == (
        "There is no table OrdersTable in eu-west-1. Run `make local`, or `make provision STAGE=dev`."
    )


@pytest.mark.parametrize("code", [None, "ConditionalCheckFailedException", "ThrottlingException"])
def test_other_errors_have_no_hint(code: str | None):
    assert hints.refusal(code, "OrdersTable", "eu-west-1") is None
