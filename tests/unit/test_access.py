"""Tests for the API's access settings, which come from environment variables."""

import pytest

from chalicelib.api.access import Access, InvalidSettingError, settings


def test_default_is_open_without_other_origins():
    assert settings({}) == (Access.OPEN, Access.OPEN, None)


def test_reads_and_writes_have_separate_settings():
    assert settings({"READ_ACCESS": "key", "WRITE_ACCESS": "iam"})[:2] == (Access.KEY, Access.IAM)


@pytest.mark.parametrize("name", ["READ_ACCESS", "WRITE_ACCESS"])
@pytest.mark.parametrize("value", ["", "Key", "keys", "none", "true"])
def test_unknown_value_is_an_error(name: str, value: str):
    with pytest.raises(InvalidSettingError, match=rf"{name} is {value!r}\. Set it to one of: open, key, iam\."):
        settings({name: value})


@pytest.mark.parametrize("origin", ["https://shop.example.com", "http://localhost:3000", "*"])
def test_valid_origin_is_kept_unchanged(origin: str):
    assert settings({"CORS_ORIGIN": origin}).origin == origin


@pytest.mark.parametrize(
    "origin",
    ["", "shop.example.com", "https://shop.example.com/", "https://a.example https://b.example", "null", "https://a'b"],
)
def test_invalid_origin_is_an_error(origin: str):
    with pytest.raises(InvalidSettingError, match="CORS_ORIGIN"):
        settings({"CORS_ORIGIN": origin})
