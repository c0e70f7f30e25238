"""Where the embedded model server is held to more, or to less, than Ollama.

It makes grammars with llguidance, Ollama with llama.cpp's converter. So the share of valid answers
that is measured on the embedded model is not Ollama's: here is how they differ, keyword by keyword.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from local_llm_service.tasks.json_answers.lint import lint
from local_llm_service.tasks.json_schema import breach
from local_llm_service.worker.embedded.ollama_api.schema_check import checked_schema

BYTES = LLTokenizer("byte")


def having(word: str, value: Any, kind: str = "object", **more: Any) -> dict[str, Any]:
    """A schema of a type with one keyword."""
    return {"type": kind, word: value, **more}


TEXT, MEMBER = {"type": "string"}, {"properties": {"a": {"type": "integer"}}}
#: Schemas with a keyword that Ollama's grammar leaves to our check, and an instance that breaks it.
UNENFORCED: dict[str, tuple[dict[str, Any], Any]] = {
    "minimum": (having("minimum", 3, "number"), 1.5),
    "exclusiveMaximum": (having("exclusiveMaximum", 3, "number"), 3.5),
    "multipleOf": (having("multipleOf", 5, "integer"), 7),
    "pattern": (having("pattern", "^\\d+$", "string"), "abc"),
    "maxLength beside pattern": (having("maxLength", 2, "string", pattern="^[a-z]+$"), "abc"),
    "format email": (having("format", "email", "string"), "abc"),
    "format ipv4": (having("format", "ipv4", "string"), "abc"),
    "format regex": (having("format", "regex", "string"), "("),
    "minItems without items": (having("minItems", 2, "array"), [1]),
    "uniqueItems": (having("uniqueItems", True, "array", items={"type": "integer"}), [1, 1]),
    "contains": (having("contains", {"const": 1}, "array", items={"type": "integer"}), [2]),
    "patternProperties": (having("patternProperties", {"^a": TEXT}), {"a": 1}),
    "propertyNames": (having("propertyNames", {"maxLength": 1}), {"abc": 1}),
    "minProperties": (having("minProperties", 1), {}),
    "maxProperties": (having("maxProperties", 1), {"a": 1, "b": 1}),
    "dependentRequired": (having("dependentRequired", {"a": ["b"]}), {"a": 1}),
    "required without properties": (having("required", ["a"]), {}),
    "not": (having("not", {"required": ["a"]}), {"a": 1}),
    "if": (having("if", {"required": ["a"]}, then={"required": ["b"]}), {"a": 1}),
    "oneOf": ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, 1),
    "properties beside anyOf": ({**MEMBER, "anyOf": [{"type": "object"}]}, {"a": "x"}),
    "allOf without properties": ({"allOf": [TEXT, {"minLength": 3}]}, "a"),
    "keywords beside $ref": ({"$ref": "#/$defs/a", "minLength": 3, "$defs": {"a": TEXT}}, "a"),
}
#: Of these the embedded server is held to those.
ENFORCED_THERE = {
    "minimum",
    "exclusiveMaximum",
    "multipleOf",
    "pattern",
    "maxLength beside pattern",
    "format email",
    "format ipv4",
    "minItems without items",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "required without properties",
    "properties beside anyOf",
    "allOf without properties",
    "keywords beside $ref",
}


def can_be_written(schema: dict[str, Any], value: Any) -> bool:
    """Whether the embedded server's grammar lets the model write this, as it writes JSON."""
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(checked_schema(schema)))
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    text = json.dumps(value, separators=(", ", ": ")).encode()
    return all(matcher.consume_token(byte) for byte in text) and matcher.is_accepting()


@pytest.mark.parametrize("name", UNENFORCED)
def test_ollamas_grammar_leaves_this_to_our_check(name: str) -> None:
    """Each example has a keyword that the lint names, and breaks it, as far as it demands."""
    schema, instance = UNENFORCED[name]
    assert lint(schema)
    assert (breach(instance, schema) is None) is name.startswith("format")


def test_the_embedded_server_is_held_to_some_of_it() -> None:
    """The list is exact: who changes the engine sees here what that means."""
    held = {name for name, example in UNENFORCED.items() if not can_be_written(*example)}
    assert held == ENFORCED_THERE


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        (having("minimum", 3, "integer"), 2),
        (having("maxLength", 3, "string"), "abcd"),
        (having("minItems", 2, "array", items=TEXT), ["a"]),
        (having("format", "date", "string"), "abc"),
        (having("enum", ["a"], "string"), "b"),
        ({"type": "object", **MEMBER, "required": ["a"]}, {}),
        ({"type": "object", **MEMBER}, {"b": 1}),
    ],
)
def test_both_are_held_to_the_rest(schema: dict[str, Any], instance: Any) -> None:
    """What the lint does not name, the embedded server's grammar enforces as well."""
    assert lint(schema) == []
    assert not can_be_written(schema, instance)
