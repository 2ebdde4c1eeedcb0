"""The OpenAPI document as one HTML page: no script, no picture, nothing from anywhere else, so that it works
on a device that nobody has connected to anything. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

from appliance.api.openapi.rows import Row, rows_of

Object = dict[str, Any]

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
_SHELL: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
{body}
</body>
</html>
"""
_INTRODUCTION: Final = (
    '<p>For programs: <a href="/openapi.json">openapi.json</a>. The examples stand for '
    "<code>OUTPOST=http://127.0.0.1:11434</code>, <code>KEY=ek_…</code> and a <code>FILE</code> of yours; "
    "without keys, leave that header out.</p>"
)


def page(document: Object) -> str:
    """Everything that comes from `document` is escaped."""
    info = document["info"]
    title = f"{info['title']} {info['version']}: API"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_prose(info['description'])}</p>",
        _INTRODUCTION,
        *_contents(document),
        *(line for tag in document["tags"] for line in _chapter(document, tag)),
    ]
    return _SHELL.format(title=escape(title), body="\n".join(parts))


def _operations(document: Object) -> Iterator[tuple[str, str, Object]]:
    for path, item in document["paths"].items():
        yield from ((method, path, item[method]) for method in _METHODS if method in item)


def _contents(document: Object) -> list[str]:
    entries = [
        f'<li><a href="#{escape(told["operationId"])}"><code>{method.upper()} {escape(path)}</code></a></li>'
        for method, path, told in _operations(document)
    ]
    return ["<nav><ul>", *entries, "</ul></nav>"]


def _chapter(document: Object, tag: Object) -> list[str]:
    found = [one for one in _operations(document) if tag["name"] in one[2]["tags"]]
    head = [f"<h2>{escape(tag['name'])}</h2>", f"<p>{_prose(tag['description'])}</p>"]
    return head + [line for method, path, told in found for line in _operation(document, method, path, told)]


def _operation(document: Object, method: str, path: str, told: Object) -> list[str]:
    scopes = " or ".join(told["x-outpost-scopes"]) or "no key"
    summary = (
        f'<summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
        f'<span class="scopes">{escape(scopes)}</span><br>{_prose(told["summary"])}</summary>'
    )
    lines = [f'<details id="{escape(told["operationId"])}">', summary, '<div class="inside">']
    if "description" in told:
        lines.append(f"<p>{_prose(told['description'])}</p>")
    lines += _parameters(document, told)
    lines += _body(document, told)
    lines += ["<h3>Example</h3>", f"<pre>{escape(curl(method, path, told))}</pre>"]
    lines += _responses(document, told)
    return [*lines, "</div>", "</details>"]


def _parameters(document: Object, told: Object) -> list[str]:
    found = [_resolved(document, one) for one in told.get("parameters", [])]
    rows = [
        Row(
            name=one["name"],
            type=one["in"],
            is_required=one["required"],
            about=one["description"],
        )
        for one in found
    ]
    return ["<h3>Parameters</h3>", *_table(rows)] if rows else []


def _body(document: Object, told: Object) -> list[str]:
    lines = []
    for media_type, content in told.get("requestBody", {}).get("content", {}).items():
        lines += [f"<h3>Body: {escape(media_type)}</h3>", *_table(rows_of(document, content["schema"]))]
    return lines


def _responses(document: Object, told: Object) -> list[str]:
    lines = []
    for status, response in told["responses"].items():
        found = _resolved(document, response)
        if status != "default" and int(status) < 300:
            for media_type, content in found.get("content", {}).items():
                lines.append(f"<h3>{escape(status)}: {escape(media_type)}</h3>")
                schema = content.get("x-outpost-item", content["schema"])
                lines += _table(rows_of(document, schema))
    errors = [
        f"<li>{escape(status)}: {_prose(_resolved(document, response)['description'])}</li>"
        for status, response in told["responses"].items()
        if status == "default" or int(status) >= 300
    ]
    return [*lines, "<h3>Errors</h3>", "<ul>", *errors, "</ul>"]


def _table(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    return [
        "<table>",
        "<tr><th>Field</th><th>Type</th><th></th></tr>",
        *(
            f"<tr><td><code>{escape(row.name)}</code>"
            f"{' <span class=required>required</span>' if row.is_required else ''}</td>"
            f"<td>{escape(row.type)}</td><td>{_prose(row.about)}</td></tr>"
            for row in rows
        ),
        "</table>",
    ]


def curl(method: str, path: str, told: Object) -> str:
    """A command that asks this."""
    words = ["curl -s"]
    if told["security"]:
        words.append('-H "Authorization: Bearer $KEY"')
    if method == "head":
        words.append("--head")
    for media_type, content in told.get("requestBody", {}).get("content", {}).items():
        words.append(f"-H 'Content-Type: {media_type}'")
        if "example" in content:
            text = json.dumps(content["example"], ensure_ascii=False).replace("'", "'\\''")
            words.append(f"-d '{text}'")
        else:
            words.append("--data-binary @FILE")
    if method not in {"get", "head", "post"} or (method == "post" and "requestBody" not in told):
        words.append(f"-X {method.upper()}")
    return " \\\n  ".join([f'{" ".join(words[:1])} "$OUTPOST{path}"', *words[1:]])


def _resolved(document: Object, told: Object) -> Object:
    while "$ref" in told:
        found: Any = document
        for step in told["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        told = found
    return told


def _prose(text: str) -> str:
    """`code` between backticks; all else as it is."""
    pieces = text.split("`")
    return "".join(
        f"<code>{escape(piece)}</code>" if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )
