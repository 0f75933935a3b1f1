"""The page at `/docs`: the API's OpenAPI document as a readable page, with requests to copy. It has no script."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

EXAMPLE_QUERIES = {"top": 3, "recent": 20, "days": 30, "limit": 50}
"""Query parameters for example requests. An example has the first of these that the operation accepts."""
SIGNED = '--aws-sigv4 aws:amz:REGION:execute-api --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'

Json = Mapping[str, Any]


def body(document: Json, url: str) -> str:
    """Return the page's content. `url` is the API's URL, without a trailing slash."""
    operations = list(_operations(document))
    info = document["info"]
    parts = [
        f'<header><h1>{escape(info["title"])} API</h1><nav><a href="{escape(url)}/">Dashboard</a> · '
        f'<a href="{escape(url)}/openapi.json">OpenAPI document</a></nav></header><main class="docs">',
        f'<section class="card"><p class="lead">{escape(info["summary"])}</p>{_paragraphs(info["description"])}',
        f"<p>The API is at <code>{escape(url)}</code>.</p></section>",
    ]
    for tag in document["tags"]:
        tagged = [each for each in operations if tag["name"] in each[2]["tags"]]
        links = "".join(
            f'<li><a href="#{operation["operationId"]}">{_title(method, path)}</a> {escape(operation["summary"])}</li>'
            for method, path, operation in tagged
        )
        title = escape(tag["name"].capitalize())
        parts.append(
            f'<section class="card"><h2>{title}</h2>{_paragraphs(tag["description"])}<ul>{links}</ul></section>'
        )
        parts.extend(_section(document, url, *each) for each in tagged)
    return "".join([*parts, "</main>"])


def _operations(document: Json) -> Iterable[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                parameters = [*methods.get("parameters", ()), *operation.get("parameters", ())]
                yield method.upper(), path, {**operation, "parameters": parameters}


def _title(method: str, path: str) -> str:
    return f"<code><b>{method}</b> {escape(path)}</code>"


def _section(document: Json, url: str, method: str, path: str, operation: Json) -> str:
    responses = {status: _resolved(document, each) for status, each in operation["responses"].items()}
    body = _resolved(document, _schema(operation.get("requestBody", {}))).get("properties", {})
    parts = [
        f'<section class="card" id="{operation["operationId"]}"><h3>{_title(method, path)}</h3>',
        _paragraphs(f"{operation['summary']}.\n\n{operation.get('description', '')}"),
        f'<div class="command"><pre><code>{escape(_curl(document, url, method, path, operation))}</code></pre></div>',
        _table("Parameters", ((each["name"], each["schema"], each["description"]) for each in operation["parameters"])),
        _table("Body", ((name, each, each.get("description", "")) for name, each in body.items())),
        _table("Responses", ((status, {}, each["description"]) for status, each in responses.items())),
    ]
    for status, response in responses.items():
        example = _example(document, response)
        if example is not None:
            shown = escape(json.dumps(example, indent=2, ensure_ascii=False))
            parts.append(f"<details><summary>Example of {status}</summary><pre><code>{shown}</code></pre></details>")
    return "".join([*parts, "</section>"])


def _curl(document: Json, url: str, method: str, path: str, operation: Json) -> str:
    """Return a curl command that sends an example request."""
    examples = {each["name"]: each["example"] for each in operation["parameters"] if each["in"] == "path"}
    known = {each["name"] for each in operation["parameters"]}
    query = next((f"?{name}={value}" for name, value in EXAMPLE_QUERIES.items() if name in known - {*examples}), "")
    place = re.sub(r"{(\w+)}", lambda match: quote(examples[match[1]], safe=""), path)
    words = ["curl", *([] if method == "GET" else ["-X", method]), shlex.quote(f"{url}{place}{query}")]
    for scheme in (name for each in operation.get("security", ()) for name in each):
        words.append("-H 'x-api-key: YOUR-KEY'" if scheme == "key" else SIGNED)
    if "requestBody" in operation:
        content = _resolved(document, _schema(operation["requestBody"]))["examples"][0]
        words.append(f"\\\n  -d {shlex.quote(json.dumps(content, ensure_ascii=False))}")
    return " ".join(words)


def _schema(described: Json) -> Json:
    schema: Json = described.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _resolved(document: Json, value: Json) -> Json:
    """Return the target of a reference, or the value itself if it is not a reference."""
    if "$ref" not in value:
        return value
    found: Any = document
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return _resolved(document, found)


def _example(document: Json, response: Json) -> Any:
    """Return a response's example, or None if it has none."""
    content = response.get("content", {}).get("application/json", {})
    examples = _resolved(document, _schema(response)).get("examples", [None])
    return content.get("example", examples[0])


def _table(title: str, rows: Iterable[tuple[str, Json, str]]) -> str:
    """Return a table with names, allowed values and descriptions, or an empty text if there are no rows."""
    lines = [
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{_inline(_values(schema))}</td>'
        f"<td>{_inline(description)}</td></tr>"
        for name, schema, description in rows
    ]
    group = f'<div class="scroller" tabindex="0" role="group" aria-label="{title}">'
    return f"{group}<table><caption>{title}</caption>{''.join(lines)}</table></div>" if lines else ""


def _values(schema: Json) -> str:
    """Return a short description of the values that a schema allows."""
    if "anyOf" in schema:
        return " or ".join(_values(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kinds = schema.get("type", "")
    bounds = f", {schema['minimum']} to {schema['maximum']}" if "minimum" in schema and "maximum" in schema else ""
    return (kinds if isinstance(kinds, str) else " or ".join(kinds)) + bounds


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(each)}</p>" for each in text.split("\n\n") if each)


def _inline(text: str) -> str:
    """Return a text as HTML. Text between backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
