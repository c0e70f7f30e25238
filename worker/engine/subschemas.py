"""Walks through the schemas within a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties")


def schemas(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All schemas within a schema, itself first."""
    todo: list[Any] = [root]
    while todo:
        schema = todo.pop()
        if not isinstance(schema, dict):
            continue
        yield schema
        for name in _MAPS:
            if isinstance(schema.get(name), dict):
                todo += schema[name].values()
        for name in _LISTS:
            if isinstance(schema.get(name), list):
                todo += schema[name]
        for name in _SINGLES:
            value = schema.get(name)
            todo += value if isinstance(value, list) else [value]
