"""The documentation page: HTML made of the OpenAPI document, with nothing to load but one style and
one small script. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from string import Template
from typing import Any

from local_llm_service.producers.http.pages.markup import json_words, prose, table, type_words

Json = Mapping[str, Any]


_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API documentation: $title</title>
<link rel="icon" href="assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="assets/style.css">
<script src="assets/docs.js" defer></script>
</head>
<body>
<a class="skip" href="#content">To the text</a>
<header class="top">
  <h1>$title</h1>
  <p class="health">API documentation, version $version</p>
  <nav aria-label="More about this service">
    <a href=".">Overview</a>
    <a href="openapi.json">OpenAPI</a>
  </nav>
</header>
<main class="docs">
<nav class="contents" aria-label="Operations">
<div id="search"></div>
<ul>
$contents
<li class="tag"><a href="#errors">Errors</a></li>
<li class="tag"><a href="#schemas">Schemas</a></li>
</ul>
</nav>
<div id="content">
<p>$about</p>
<p>$key</p>
$sections
$errors
$schemas
</div>
</main>
</body>
</html>
"""
)


def reference_page(document: Json, address: str) -> str:
    """The whole page. `address`: where the service is, for the examples."""
    tags = {tag["name"]: (tag["description"], list(_tagged(document, tag["name"])))
            for tag in document["tags"]}  # fmt: skip
    contents = "".join(_contents(tag, listed) for tag, (_, listed) in tags.items())
    sections = "".join(
        _section(tag, words, listed, document, address) for tag, (words, listed) in tags.items()
    )
    return _PAGE.substitute(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        contents=contents,
        about=prose(document["info"]["description"]),
        key=_key_words(document),
        sections=sections,
        errors=_errors(document),
        schemas=_schemas(document),
    )


def anchor(method: str, path: str) -> str:
    """The id of an operation's section."""
    return re.sub(r"\W+", "-", f"{method.lower()}{path}").strip("-")


def _tagged(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _key_words(document: Json) -> str:
    if document["security"] == [{}]:
        return "This service asks for no API key."
    return prose(
        "Send your API key with each request: `Authorization: Bearer KEY`, or `x-api-key: KEY`."
    )


def _contents(tag: str, listed: Iterable[tuple[str, str, Json]]) -> str:
    items = "".join(
        f'<li><a href="#{anchor(method, path)}"><span class="method">{method}</span> '
        f"<code>{_breakable(path)}</code></a></li>"
        for method, path, _ in listed
    )
    name = anchor("tag", f"-{tag}")
    return f'<li class="tag"><a href="#{name}">{escape(_title(tag))}</a></li>{items}'


def _title(tag: str) -> str:
    return tag[0].upper() + tag[1:]


def _breakable(path: str) -> str:
    return escape(path).replace("/", "/<wbr>")


def _section(
    tag: str, words: str, listed: Iterable[tuple[str, str, Json]], document: Json, address: str
) -> str:
    name = anchor("tag", f"-{tag}")
    operations = "".join(_operation(*one, document, address) for one in listed)
    return (
        f'<h2 id="{name}"><a href="#{name}">{escape(_title(tag))}</a></h2>'
        f"<p>{prose(words)}</p>{operations}"
    )


def _operation(method: str, path: str, operation: Json, document: Json, address: str) -> str:
    name = anchor(method, path)
    parts = [
        f'<section class="panel operation" id="{name}"><h3><a href="#{name}">'
        f'<span class="method">{method}</span> <code>{_breakable(path)}</code></a></h3>'
        f"<p>{prose(operation['summary'])}.</p>"
    ]
    if rows := [_parameter(one) for one in operation.get("parameters", ())]:
        parts.append(table("Parameters", ("Name", "In", "Type", "Meaning"), rows))
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(body["schema"], document)
        parts.append(f"<h4>Body, <code>{escape(media)}</code></h4>")
        parts.append(f"<p>{prose(schema.get('description', ''))}</p>")
        parts.append(_fields(schema) or f"<p>{type_words(body['schema'])}</p>")
    parts.append(f"<h4>Example</h4><pre><code>{escape(curl(method, path, operation, address))}"
                 "</code></pre>")  # fmt: skip
    parts.append(_answers(operation))
    return "".join(parts) + "</section>"


def _parameter(one: Json) -> tuple[str, ...]:
    name = f"<code>{escape(one['name'])}</code>{' *' if one.get('required') else ''}"
    return name, escape(one["in"]), type_words(one["schema"]), prose(one.get("description", ""))


def curl(method: str, path: str, operation: Json, address: str) -> str:
    """The command that sends an operation's example."""
    query = []
    for one in operation.get("parameters", ()):
        if "example" not in one:
            continue
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
        elif one["in"] == "query":
            query.append(f"{one['name']}={one['example']}")
    url = f"{address}{path}{'?' if query else ''}{'&'.join(query)}"
    streams = "text/event-stream" in json.dumps(operation["responses"])
    words = ["curl -N" if streams and method == "GET" else "curl"]
    content = operation.get("requestBody", {}).get("content", {})
    if method != "GET" and not (method == "POST" and content):
        words.append(f"-X {method}")
    words.append(_quoted(url))
    if (body := content.get("application/json")) is not None:
        text = json.dumps(body.get("example", {}), ensure_ascii=False, indent=2)
        words.append(f"\\\n  -H 'Content-Type: application/json' \\\n  -d {_quoted(text)}")
    for name, value in content.get("multipart/form-data", {}).get("example", {}).items():
        words.append(f"\\\n  -F {name}={value}")
    return " ".join(words)


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[\w:/.{}@%-]+", text)
    return text if plain else "'" + text.replace("'", "'\\''") + "'"


def _answers(operation: Json) -> str:
    rows, errors = [], []
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            errors.append(f'<a href="#errors">{status}</a>')
            continue
        bodies = [
            f"<code>{escape(media)}</code> {type_words(body['schema'])}"
            for media, body in answer.get("content", {}).items()
        ]
        rows.append((status, prose(answer["description"]), "<br>".join(bodies)))
    also = f"<p><small>Errors: {', '.join(errors)}</small></p>" if errors else ""
    return table("Answers", ("Status", "Meaning", "Body"), rows) + also


def _errors(document: Json) -> str:
    rows = [
        (name.removeprefix("Error"), prose(one["description"]))
        for name, one in document["components"]["responses"].items()
        if name.startswith("Error")
    ]
    body = (
        "The body of each error is a problem (RFC 9457) that OpenAI's clients read, too; under "
        '<code>/api/</code> it is Ollama\'s <code>{"error": "…"}</code>. '
        "<code>x-should-retry</code> and <code>Retry-After</code> say whether, and when, to try "
        "again."
    )
    listed = table("", ("Status", "Meaning"), rows)
    return f'<h2 id="errors"><a href="#errors">Errors</a></h2><p>{body}</p>{listed}'


def _schemas(document: Json) -> str:
    sections = []
    for name, schema in sorted(document["components"]["schemas"].items()):
        fields = _fields(schema) or f"<p>{type_words(schema)}</p>"
        words = f"<p>{prose(schema['description'])}</p>" if schema.get("description") else ""
        place = f"schema-{escape(name)}"
        sections.append(
            f'<section class="panel" id="{place}"><h3><a href="#{place}">'
            f"<code>{escape(name)}</code></a></h3>{words}{fields}</section>"
        )
    return '<h2 id="schemas"><a href="#schemas">Schemas</a></h2>' + "".join(sections)


def _resolved(schema: Json, document: Json) -> Json:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Json = document["components"]["schemas"].get(name, schema)
    return found


def _fields(schema: Json) -> str:
    required = schema.get("required", ())
    rows = []
    fields = schema.get("properties", {}).items()
    for name, one in sorted(fields, key=lambda field: field[0] not in required):
        default = one.get("default")
        shown = "" if default in (None, [], {}) else f" Default <code>{json_words(default)}</code>."
        mark = " *" if name in required else ""
        about = prose(one.get("description", ""))
        rows.append((f"<code>{escape(name)}</code>{mark}", type_words(one), f"{about}{shown}"))
    return table("", ("Field", "Type", "Meaning"), rows) if rows else ""
