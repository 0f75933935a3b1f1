"""The dashboard's document: whole, small, and with a policy that allows its own style and script alone."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from chalicelib import dashboard

FOLDER = Path(dashboard.__file__).parent
PAGE = dashboard.page(*[(FOLDER / name).read_text(encoding="utf-8") for name in dashboard.FILES])


def directives() -> dict[str, str]:
    listed = [each.strip().partition(" ") for each in PAGE.headers["Content-Security-Policy"].split(";")]
    return {name: value for name, _, value in listed}


@pytest.mark.parametrize("element", ["script", "style"])
def test_the_policy_has_the_hash_of_the_very_script_and_style(element: str):
    (text,) = re.findall(rf"<{element}\b[^>]*>(.*?)</{element}>", PAGE.body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert directives()[f"{element}-src"] == f"'sha256-{digest}'"


def test_what_is_not_named_in_the_policy_is_not_allowed():
    assert directives()["default-src"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", PAGE.headers["Content-Security-Policy"])


def test_nothing_is_fetched_from_elsewhere():
    without_names = PAGE.body.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", without_names)


def test_a_script_that_holds_a_placeholder_stays_as_it_is():
    page = dashboard.page("<style>{style}</style><script>{script}</script>", "a{script}", "b{style}")
    assert page.body == "<style>a{script}</style><script>b{style}</script>"


def test_it_stays_small():
    assert len(PAGE.body.encode()) < 45_000


def test_it_is_html_in_utf_8():
    assert PAGE.headers["Content-Type"] == "text/html; charset=utf-8"
    assert PAGE.body.startswith("<!doctype html>")
