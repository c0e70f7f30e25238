"""What the scripted engine says where a test has scripted nothing.

For free text it is "Echo:" and the first words of the question, so that different questions have
different answers; for a JSON kind, the smallest instance of the schema that it can think of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local_llm_service.worker.prompt import Prompt

#: Words of the question in the answer.
MOST_WORDS = 12
_EMPTY: Mapping[str, Any] = {
    "null": None,
    "boolean": False,
    "integer": 0,
    "number": 0,
    "string": "",
    "array": [],
    "object": {},
}
#: A schema that goes on without end has no smallest instance.
MOST_DEPTH = 32


def default_answer(prompt: Prompt) -> str:
    """An answer within the prompt's budget. With a schema it may not fit: then script one."""
    if prompt.schema is not None:
        return json.dumps(instance_of(prompt.schema, prompt.schema), separators=(",", ":"))
    words = prompt.messages[-1]["content"].split()[:MOST_WORDS]
    kept = words[: max(0, prompt.max_tokens - 1)]
    return " ".join(["Echo:", *kept]) + ("." if kept else "")


def instance_of(schema: Any, root: Any, depth: int = 0) -> Any:
    """A small instance of a JSON Schema, made of what it requires; `root` resolves references."""
    if not isinstance(schema, dict) or depth > MOST_DEPTH:
        return {}
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return instance_of(_referred(schema["$ref"], root), root, depth + 1)
    if "default" in schema:
        return schema["default"]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return instance_of({**_without(schema, word), **schema[word][0]}, root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        inner = schema.get("properties") or {}
        required = schema.get("required") or ()
        return {name: instance_of(inner.get(name, {}), root, depth + 1) for name in required}
    if kind == "array":
        one = instance_of(schema.get("items", {}), root, depth + 1)
        return [one] * int(schema.get("minItems", 0))
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    if kind in ("integer", "number"):
        return _number(schema)
    return _EMPTY.get(kind)


def _number(schema: dict[str, Any]) -> Any:
    above = schema.get("exclusiveMinimum")
    least = above + 1 if above is not None else schema.get("minimum", 0)
    most = schema.get("maximum", least)
    return min(least, most) if "minimum" not in schema and above is None else least


def _without(schema: dict[str, Any], word: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != word}


def _referred(reference: str, root: Any) -> Any:
    """What a reference inside the schema names; an empty schema where that is not there."""
    found = root
    for word in reference.removeprefix("#").strip("/").split("/"):
        word = word.replace("~1", "/").replace("~0", "~")
        if word:
            found = found.get(word, {}) if isinstance(found, dict) else {}
    return found
