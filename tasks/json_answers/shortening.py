"""A schema whose instances are short: for an answer that had no end, or did not fit its budget.

Small models count on for ever in a list that nothing bounds. So when they are asked again, lists
and texts are bounded by a quarter of what they had come to: there may be several. What was of usual
length has room for that, since a grammar cuts a name as readily as a loop. Every instance is one of
the schema before, as far as bounds go; the answer is checked against that one all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.prompt import JsonSchema

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)
#: Where a keyword's value is a schema that instances keep, a list of them, or some by name. Not
#: within `not` and `if`: what is bounded there allows more.
_ONE, _MANY = ("items", "additionalProperties"), ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
#: A text that has one of these is bounded, or an end cannot be put to it.
_FIXED = ("const", "enum", "pattern", "format")


@dataclass(frozen=True, slots=True)
class Lengths:
    """The most items of a list, members of an object, and characters of a text."""

    items: int = 0
    members: int = 0
    characters: int = 0

    def quarters(self) -> Lengths:
        """A quarter of each, and no less than what is usual."""
        return Lengths(
            max(_USUAL.items, self.items // 4),
            max(_USUAL.members, self.members // 4),
            max(_USUAL.characters, self.characters // 4),
        )


#: A short list, the members of a large object, a long sentence.
_USUAL = Lengths(8, 16, 120)


def lengths(text: str) -> Lengths:
    """How long things have become in JSON that need not have an end."""
    most = {"[": 0, "{": 0}
    characters, open_ = 0, list[list[Any]]()
    for token in _TOKEN.findall(text):
        if token[0] == '"':
            characters = max(characters, len(token[1:].removesuffix('"')))
        elif token in "[{":
            open_.append([token, 1])
        elif token == ",":
            if open_:
                open_[-1][1] += 1
        elif open_:
            open_.pop()
        if open_:
            kind, parts = open_[-1]
            most[kind] = max(most[kind], parts)
    return Lengths(most["["], most["{"], characters)


def shorter(schema: JsonSchema | None, most: Lengths) -> JsonSchema | None:
    """The schema with bounds where it has none, or larger ones. What it demands at least stays."""
    return _shorter(schema, most) if isinstance(schema, dict) else schema


def _shorter(schema: Any, most: Lengths) -> Any:
    if not isinstance(schema, dict):
        return schema
    bounded = {word: _part(word, value, most) for word, value in schema.items()}
    if _is(schema, "array"):
        _bound(bounded, "minItems", "maxItems", most.items)
    if _is(schema, "string") and not any(word in schema for word in _FIXED):
        _bound(bounded, "minLength", "maxLength", most.characters)
    if _is(schema, "object"):
        required = schema.get("required", ())
        _bound(bounded, "minProperties", "maxProperties", max(most.members, len(required)))
    return bounded


def _part(word: str, value: Any, most: Lengths) -> Any:
    if word in _NAMED and isinstance(value, dict):
        return {name: _shorter(part, most) for name, part in value.items()}
    if word in _MANY and isinstance(value, list):
        return [_shorter(part, most) for part in value]
    return _shorter(value, most) if word in _ONE else value


def _is(schema: Mapping[str, Any], kind: str) -> bool:
    kinds = schema.get("type")
    return kinds == kind or (isinstance(kinds, list) and kind in kinds)


def _bound(schema: dict[str, Any], least: str, most: str, length: int) -> None:
    """Bound what is not; numbers of a schema may be 3.0 as well as 3."""
    lowest = schema.get(least, 0)
    highest = schema.get(most)
    wanted = max(length, int(lowest))
    if highest is None or highest > wanted:
        schema[most] = wanted
