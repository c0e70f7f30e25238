"""Pieces of the documentation page: words, tables and types as HTML. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

#: What 64 bits hold is no bound that a reader wants to know.
READABLE = 10**12

_CODE = re.compile(r"`([^`]+)`")
_BLANK = re.compile(r"\n\s*\n")


def prose(text: str) -> str:
    """Plain text with `code`, as HTML; an empty line begins a paragraph."""
    parts = [_CODE.sub(r"<code>\1</code>", escape(one)) for one in _BLANK.split(text.strip())]
    return "</p><p>".join(parts)


def type_words(schema: Any) -> str:
    """A schema in a few words, with links to those that have a name."""
    if not isinstance(schema, Mapping):
        return "anything"
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(map(type_words, schema[word])))
    if "enum" in schema:
        return " or ".join(f"<code>{json_words(one)}</code>" for one in schema["enum"])
    if "const" in schema:
        return f"<code>{json_words(schema['const'])}</code>"
    kind = schema.get("type", "anything")
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if named == "array":
        return f"array of {type_words(schema.get('items', {}))}"
    return escape(f"{named}{_bounds(schema)}")


def _bounds(schema: Json) -> str:
    words = (
        ("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"),
        ("exclusiveMaximum", "< {}"), ("maxLength", "≤ {} characters"),
    )  # fmt: skip
    given = ((schema[word], text) for word, text in words if word in schema)
    said = [text.format(f"{number:,}") for number, text in given if abs(number) < READABLE]
    return f" {', '.join(said)}" if said else ""


def json_words(value: Any) -> str:
    """A value as JSON, for HTML."""
    return escape(json.dumps(value, ensure_ascii=False))


def table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{one}</th>' for one in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    shown = f"<h4>{title}</h4>" if title else ""
    return f"{shown}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
