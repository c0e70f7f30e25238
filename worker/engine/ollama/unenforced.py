"""Which keywords of a JSON Schema Ollama's grammar does not enforce: not sent, or not read.

grammar.py decides what is sent, schema_readings.py says what is read. The answer is checked against
the whole schema all the same (tasks/json_schema.py).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.engine.ollama.grammar import loosened_parts
from local_llm_service.worker.engine.ollama.grammar_limits import grammar_limits
from local_llm_service.worker.engine.ollama.schema_readings import Reading, Readings
from local_llm_service.worker.engine.ollama.schema_references import References
from local_llm_service.worker.engine.ollama.schema_words import APPLIES, demands, types_of
from local_llm_service.worker.prompt import JsonSchema

#: Names and places on the way to a subschema.
Steps = tuple[str | int, ...]
_HELD = ("anyOf", "oneOf", "allOf", "prefixItems")


@dataclass(frozen=True, slots=True)
class Unenforced:
    """A keyword, and the way to the subschema that has it."""

    steps: Steps
    keyword: str


def unenforced(schema: JsonSchema, version: str | None = None) -> list[Unenforced]:
    """The keywords of a valid schema that an Ollama of this version leaves to our own check.

    `version` None: at least one of the versions that may be met. A subschema counts once, at the
    first place that leads to it; of a keyword that is not read nothing within it is named.
    """
    if not isinstance(schema, dict):
        return []
    root: dict[str, Any] = json.loads(json.dumps(schema))  # shares no parts
    return list(_Lint(root, version).found())


class _Lint:
    """One pass over a schema, beside what of it is sent."""

    def __init__(self, root: dict[str, Any], version: str | None) -> None:
        self._root = root
        self._sent = loosened_parts(root, grammar_limits(version))
        self._references = References(root)
        self._readings = Readings(self._sent[id(root)])

    def found(self) -> Iterator[Unenforced]:
        waiting: deque[tuple[Steps, Any]] = deque([((), self._root)])
        seen: set[int] = set()
        while waiting:
            steps, schema = waiting.popleft()
            if id(schema) in seen or id(schema) not in self._sent:
                continue
            seen.add(id(schema))
            readings = self._readings.of(self._sent[id(schema)])
            kinds = frozenset[str]().union(*(one.kinds for one in readings))
            for word, value in schema.items():
                if demands(word, value, kinds) and not self._is_kept(word, schema, readings):
                    yield Unenforced(steps, word)
            read = frozenset[str]().union(*(one.words for one in readings))
            waiting.extend(self._children(steps, schema, read))

    def _is_kept(self, word: str, schema: dict[str, Any], readings: Sequence[Reading]) -> bool:
        """Whether every reading of the schema that the keyword concerns enforces it."""
        if word == "type":
            return all(one.kinds <= types_of(schema["type"]) for one in readings)
        if word == "additionalItems" and not isinstance(schema.get("items"), list):
            return True  # it says nothing then
        concerned = [one for one in readings if one.kinds & APPLIES[word]]
        return all(word in one.words for one in concerned) and self._is_whole(
            word, schema, self._sent[id(schema)]
        )

    def _is_whole(self, word: str, schema: dict[str, Any], sent: dict[str, Any]) -> bool:
        """Whether a keyword that is read is enforced as it stands in the caller's schema."""
        value = schema[word]
        members: dict[str, Any] = sent.get("properties", {})
        if word == "required":
            return set(value) <= members.keys()
        if word == "properties":
            is_closed = not sent.get("additionalProperties")
            return word in sent and (is_closed or len(members) == len(value))
        if word == "oneOf":
            return self._readings.are_apart(sent.get(word, ()))
        if word == "allOf":
            parts = sent.get(word, ())
            return len(parts) == len(value) and self._readings.merges(parts)
        if word in ("minItems", "maxItems") and not isinstance(sent.get("items"), dict):
            items = len(sent.get("items", sent.get("prefixItems", ())))
            return bool(items >= value if word == "minItems" else items <= value)
        if word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            hides = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}.get(word)
            return type(value) is int and hides not in sent
        if word in ("items", "additionalItems") and word not in sent:
            return True  # of a list that ends before it
        if word == "prefixItems":
            return len(sent.get(word, ())) == len(value)
        return word in sent and (isinstance(value, dict | list) or bool(sent[word] == value))

    def _children(
        self, steps: Steps, schema: dict[str, Any], read: frozenset[str]
    ) -> Iterator[tuple[Steps, Any]]:
        """The subschemas that the grammar reads, each with the way to it."""
        if "$ref" in read:
            pointer = schema["$ref"].removeprefix("#/").split("/")
            yield tuple(pointer), self._references.target(schema)
        for word in read & schema.keys():
            value = schema[word]
            if word == "properties":
                yield from (((*steps, word, name), part) for name, part in value.items())
            elif word == "allOf":
                yield from self._merged(steps, value)
            elif isinstance(value, list) and word in (*_HELD, "items"):
                yield from (((*steps, word, place), part) for place, part in enumerate(value))
            elif word in ("items", "additionalProperties"):
                yield (*steps, word), value

    def _merged(self, steps: Steps, parts: Sequence[Any]) -> Iterator[tuple[Steps, Any]]:
        """The properties of the parts of an `allOf`: nothing else of them is read."""
        for place, part in enumerate(parts):
            own = part
            if isinstance(part, dict) and "$ref" in part:
                own = self._references.target(part)
            if isinstance(own, dict) and isinstance(own.get("properties"), dict):
                for name, member in own["properties"].items():
                    yield (*steps, "allOf", place, "properties", name), member
