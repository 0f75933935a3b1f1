"""chalicelib/api/access.py: a stage's settings are read as they are meant, or refused."""

import pytest

from chalicelib.api.access import Access, Misconfigured, settings


def test_a_stage_that_says_nothing_is_open_to_everybody_but_to_no_foreign_page():
    assert settings({}) == (Access.OPEN, Access.OPEN, None)


def test_reads_and_writes_are_set_apart():
    assert settings({"READ_ACCESS": "key", "WRITE_ACCESS": "iam"})[:2] == (Access.KEY, Access.IAM)


@pytest.mark.parametrize("name", ["READ_ACCESS", "WRITE_ACCESS"])
@pytest.mark.parametrize("value", ["", "Key", "keys", "none", "true"])
def test_a_setting_that_there_is_not_is_refused_and_not_taken_for_open(name: str, value: str):
    with pytest.raises(Misconfigured, match=f"{name} is {value!r}: give open, key, iam"):
        settings({name: value})


@pytest.mark.parametrize("origin", ["https://shop.example.com", "http://localhost:3000", "*"])
def test_an_origin_is_taken_as_it_is(origin: str):
    assert settings({"CORS_ORIGIN": origin}).origin == origin


@pytest.mark.parametrize(
    "origin",
    ["", "shop.example.com", "https://shop.example.com/", "https://a.example https://b.example", "null", "https://a'b"],
)
def test_what_no_browser_sends_as_its_origin_is_refused(origin: str):
    with pytest.raises(Misconfigured, match="CORS_ORIGIN"):
        settings({"CORS_ORIGIN": origin})
