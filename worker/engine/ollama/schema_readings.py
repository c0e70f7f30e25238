"""What llama.cpp's converter reads of a schema: the first of its tests that holds, and its types.

The order of tests is that of `visit` in common/json-schema-to-grammar.cpp. Whatever the first one
does not read is skipped silently.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from local_llm_service.worker.engine.ollama.grammar import FORMATS
from local_llm_service.worker.engine.ollama.schema_references import References
from local_llm_service.worker.engine.ollama.schema_words import (
    ARRAY,
    EVERY,
    OBJECT,
    STRING,
    demands,
    type_of,
    types_of,
)

#: References and alternatives that are followed for one value; behind them any type may come.
_MOST_FOLLOWED = 100
#: More alternatives than these are not compared with each other.
_MOST_ALTERNATIVES = 50

_MEMBERS = frozenset({"properties", "additionalProperties", "required"})
_LIST = frozenset({"items", "minItems", "maxItems"})
#: A list of fixed length: `items` and `additionalItems` speak of what can no longer come.
_TUPLE = frozenset({"prefixItems", "items", "additionalItems", "minItems", "maxItems"})
_BY_TYPE = {
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}),
}
#: All that a part of `allOf` may hold to be merged whole.
_MERGED = frozenset({"properties", "required", "type"})


@dataclass(frozen=True, slots=True)
class Reading:
    """The keywords that one test reads, and the types of the values that its grammar allows."""

    words: frozenset[str]
    kinds: frozenset[str]


class Readings:
    """The readings of a schema that is sent, and of all within it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._references = References(root)
        #: By `id()`: a reference repeats its target, and two in a row double it.
        self._known_kinds: dict[int, frozenset[str]] = {}
        self._known_values: dict[int, frozenset[str] | None] = {}

    def of(self, schema: Mapping[str, Any], followed: int = 0) -> list[Reading]:
        """One, or one for each type of a list of types."""
        if "$ref" in schema:
            kinds = self._kinds(self._references.target(schema), followed + 1)
            return [Reading(frozenset({"$ref"}), kinds)]
        for word in ("oneOf", "anyOf"):
            if word in schema:
                kinds = _union(self._kinds(one, followed + 1) for one in schema[word])
                return [Reading(frozenset({word}), kinds)]
        kind = schema.get("type")
        return [self._of_type(schema, one) for one in (kind if isinstance(kind, list) else [kind])]

    def are_apart(self, alternatives: Sequence[Any]) -> bool:
        """Whether no value fits two of the alternatives: by their types, or by a fixed value."""
        if len(alternatives) > _MOST_ALTERNATIVES:
            return False
        return all(self._two_are_apart(*two) for two in combinations(alternatives, 2))

    def merges(self, parts: Sequence[Any]) -> bool:
        """Whether the converter keeps all that the parts of an `allOf` say, as one object."""
        names: set[str] = set()
        required: set[str] = set()
        for part in map(self.target, parts):
            own = part.get("properties") if isinstance(part, dict) else None
            if not isinstance(own, dict) or part.get("type", "object") != "object":
                return False
            others = part.keys() - _MERGED
            if own.keys() & names or any(demands(word, part[word], EVERY) for word in others):
                return False
            names |= own.keys()
            required |= set(part.get("required", ()))
        return required <= names

    def target(self, schema: Any) -> Any:
        """The schema itself, or where its references lead."""
        for _ in range(_MOST_FOLLOWED):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._references.target(schema)
        return schema

    def _two_are_apart(self, one: Any, other: Any) -> bool:
        one, other = self.target(one), self.target(other)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return False
        if not self._kinds(one, 0) & self._kinds(other, 0) or self._differ(one, other):
            return True
        members, others = _always_there(one), _always_there(other)
        return any(
            self._differ(self.target(members[name]), self.target(others[name]))
            for name in members.keys() & others.keys()
        )

    def _differ(self, one: Any, other: Any) -> bool:
        """Whether both list their values, and share none."""
        values, others = self._values(one), self._values(other)
        return values is not None and others is not None and values.isdisjoint(others)

    def _values(self, schema: Any) -> frozenset[str] | None:
        if id(schema) not in self._known_values:
            self._known_values[id(schema)] = _literals(schema)
        return self._known_values[id(schema)]

    def _kinds(self, schema: Any, followed: int) -> frozenset[str]:
        if not isinstance(schema, dict) or followed > _MOST_FOLLOWED:
            return EVERY
        if id(schema) not in self._known_kinds:
            self._known_kinds[id(schema)] = EVERY  # where a reference leads back here
            kinds = _union(reading.kinds for reading in self.of(schema, followed))
            self._known_kinds[id(schema)] = kinds
        return self._known_kinds[id(schema)]

    def _of_type(self, schema: Mapping[str, Any], kind: str | None) -> Reading:
        for word in ("const", "enum"):
            if word in schema:
                values = [schema[word]] if word == "const" else schema[word]
                return Reading(frozenset({word}), frozenset(map(type_of, values)))
        is_open = schema.get("additionalProperties", True) is True
        if kind in (None, "object") and ("properties" in schema or not is_open):
            return Reading(_MEMBERS, OBJECT)
        if kind in (None, "object", "string") and "allOf" in schema:
            kinds = OBJECT if self.merges(schema["allOf"]) else EVERY
            return Reading(frozenset({"allOf"}), kinds)
        if kind in (None, "array") and ("items" in schema or "prefixItems" in schema):
            is_tuple = isinstance(schema.get("items", []), list)
            return Reading(_TUPLE if is_tuple else _LIST, ARRAY)
        if kind in (None, "string"):
            for word in ("pattern", "format"):
                if word in schema and (word == "pattern" or schema[word] in FORMATS):
                    return Reading(frozenset({word}), STRING)
        return Reading(_BY_TYPE.get(kind or "", frozenset()), types_of(kind) if kind else EVERY)


def _union(kinds: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*kinds)


def _literals(schema: Any) -> frozenset[str] | None:
    """The values that a schema allows, as JSON; None where it does not list them."""
    if not isinstance(schema, dict) or not {"const", "enum"} & schema.keys():
        return None
    values = [schema["const"]] if "const" in schema else schema["enum"]
    return frozenset(json.dumps(one, sort_keys=True) for one in values)


def _always_there(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that an object of this schema has to have."""
    members = schema.get("properties")
    if not isinstance(members, dict):
        return {}
    return {name: members[name] for name in schema.get("required", ()) if name in members}
