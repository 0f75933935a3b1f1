"""Tests for the dashboard's HTML and headers. Its security policy allows only its own style and script."""

import base64
import gzip
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
def test_policy_has_the_hashes_of_the_script_and_style(element: str):
    (text,) = re.findall(rf"<{element}\b[^>]*>(.*?)</{element}>", PAGE.body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert directives()[f"{element}-src"] == f"'sha256-{digest}'"


def test_policy_allows_nothing_by_default():
    assert directives()["default-src"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", PAGE.headers["Content-Security-Policy"])


def test_page_loads_nothing_from_other_hosts():
    without_names = PAGE.body.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", without_names)


def test_placeholder_in_a_script_is_not_replaced():
    page = dashboard.page("<body>{reads}", "a{reads}", "b{reads}", "c{writes}")
    assert "<body>open<script" in page.body
    assert "<style>a{reads}</style>" in page.body
    assert '<script type="module">b{reads}c{writes}</script>' in page.body


def test_page_is_below_25_kilobytes_as_api_gateway_sends_it():
    assert len(gzip.compress(PAGE.body.encode())) < 25_000


def test_page_is_html_in_utf_8():
    assert PAGE.headers["Content-Type"] == "text/html; charset=utf-8"
    assert PAGE.body.startswith("<!doctype html>")
