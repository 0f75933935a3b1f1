"""Tests for the error messages about an incomplete setup on a developer's machine."""

import pytest

from chalicelib import hints


@pytest.mark.parametrize(
    ("region", "credentials", "missing"),
    [(None, None, "region"), (None, "some", "region"), ("us-east-1", None, "credentials")],
)
def test_message_names_the_missing_setting_and_what_to_do(region: str | None, credentials: str | None, missing: str):
    message = hints.missing_settings(region, credentials)
    assert message
    assert message.startswith(f"No AWS {missing}")
    assert "make local" in message


def test_complete_settings_need_no_message():
    assert hints.missing_settings("us-east-1", "some") is None


def test_message_names_the_missing_table_and_what_to_do():
    assert hints.error_hint("ResourceNotFoundException", "OrdersTable", "eu-west-1") == (
        "There is no table OrdersTable in eu-west-1. Run `make local`, or `make provision STAGE=dev`."
    )


@pytest.mark.parametrize("code", [None, "ConditionalCheckFailedException", "ThrottlingException"])
def test_other_errors_have_no_hint(code: str | None):
    assert hints.error_hint(code, "OrdersTable", "eu-west-1") is None
