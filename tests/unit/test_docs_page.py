"""The page at /docs: it describes every operation, its requests can be copied, and it is safe."""

import copy
import re
import shlex
from html import unescape
from pathlib import Path

import pytest

from chalicelib import dashboard
from chalicelib.api import openapi
from chalicelib.api.access import Access, Settings

URL = "https://shop.example/api"
STYLE = (Path(dashboard.__file__).parent / "style.css").read_text(encoding="utf-8")
DOCUMENT = openapi.document("/api")
PAGE = dashboard.docs_page(STYLE, DOCUMENT, URL)
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
]


def commands(page: str) -> dict[str, list[str]]:
    """Return the words of each operation's command, by the operation's id."""
    found = re.findall(r'<section class="card" id="(\w+)">.*?<pre><code>(.*?)</code></pre>', page, re.DOTALL)
    return {name: shlex.split(unescape(command)) for name, command in found}


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[each[2]["operationId"] for each in OPERATIONS]
)
def test_every_operation_has_a_request_to_copy(method: str, path: str, operation: dict[str, str]):
    words = commands(PAGE.body)[operation["operationId"]]
    assert words[0] == "curl"
    assert (words[words.index("-X") + 1] if "-X" in words else "GET") == method
    (url,) = [word for word in words if word.startswith(URL)]
    assert re.fullmatch(re.escape(URL) + re.sub(r"\\{\w+\\}", "[^/?{]+", re.escape(path)) + r"(\?\w+=\d+)?", url)
    assert ("-d" in words) is ("requestBody" in operation)
    assert f'href="#{operation["operationId"]}"' in PAGE.body


def test_parameters_body_and_responses_are_listed():
    section = re.search(r'id="placeOrder">(.*?)</section>', PAGE.body, re.DOTALL)
    assert section
    text = unescape(re.sub(r"<[^>]+>", " ", section[1]))
    for expected in ("product", "orderId", "1 to 1000000000", "409", "with other content", '"quantity": 5'):
        assert expected in text
    assert "recent integer, 1 to 20" in re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", PAGE.body)))


def test_commands_of_a_protected_stage_have_credentials():
    document = openapi.document("/api", Settings(Access.KEY, Access.IAM))
    found = commands(dashboard.docs_page(STYLE, document, URL).body)
    assert "x-api-key: YOUR-KEY" in found["listTotals"]
    assert "--aws-sigv4" in found["placeOrder"]
    assert found["showDashboard"] == ["curl", f"{URL}/"]


def test_page_allows_no_script_and_has_the_dashboards_style():
    policy = PAGE.headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "<script" not in PAGE.body
    assert f"<style>{STYLE}</style>" in PAGE.body


def test_hostile_host_and_example_are_shown_as_text():
    hostile = "</code><script>alert(1)</script>'; rm -rf ~ #"
    document = copy.deepcopy(DOCUMENT)
    document["components"]["schemas"]["NewOrder"]["examples"] = [{"product": hostile}]
    page = dashboard.docs_page(STYLE, document, f"http://{hostile}")
    assert "<script>" not in page.body
    assert commands(page.body)["placeOrder"][3].endswith(f"{hostile}/orders")
    assert commands(page.body)["placeOrder"][-1] == '{"product": "' + hostile + '"}'
