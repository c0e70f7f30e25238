"""The lint names the keywords that only our own check enforces: what llama.cpp drops in silence."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field

import local_llm_service
from local_llm_service.producers.cli import cli
from local_llm_service.tasks.json_answers.lint import lint
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.structured_output import StructuredRequest
from local_llm_service.worker.engine.ollama.schema_words import APPLIES
from local_llm_service.worker.engine.ollama.unenforced import unenforced
from local_llm_service.worker.errors import InvalidRequest

LIMITS = Limits(
    max_prompt_chars=200_000, max_messages=1, max_schema_depth=32, max_output_tokens=100
)


def having(**properties: Any) -> dict[str, Any]:
    """An object with these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"description": "any", "title": "x", "default": 1, "x-own": {"pattern": "a"}},
        having(
            a={"type": "string", "minLength": 1, "maxLength": 9}, b={"type": ["null", "number"]}
        ),
        having(a={"type": "integer", "minimum": 0, "maximum": 9}),
        having(a={"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}),
        having(a={"enum": ["a", 1]}, b={"const": None}, c={"type": "string", "enum": ["a"]}),
        having(a={"type": "string", "pattern": "^[a-z]{2,5}$"}),
        having(a={"type": "string", "format": "date-time"}, b={"type": "string", "format": "uuid"}),
        having(a={"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5}),
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "maxItems": 3},
        {"type": "array", "items": {"type": "string"}, "additionalItems": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": ["string", "integer"], "minLength": 2, "minimum": 3},
        {"$ref": "#/$defs/a", "description": "x", "$defs": {"a": {"type": "string"}}},
        {"oneOf": [{"type": "string"}, having(a={"type": "string"})]},
        {"oneOf": [having(kind={"const": "a"}), having(kind={"enum": ["b", "c"]}, x={})]},
        {"allOf": [having(a={"type": "string"}), having(b={"type": "string"})]},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": having(a={"type": "string"})}},
        # What demands nothing.
        {"type": "array", "items": {}, "uniqueItems": False, "minItems": 0},
        {"type": "string", "minLength": 0, "minimum": 4, "items": {"type": "null"}},
        {"type": "object", "minProperties": 0, "required": [], "patternProperties": {}},
    ],
)
def test_what_the_grammar_enforces_is_not_named(schema: Any) -> None:
    """Such a schema needs no check of the answer."""
    assert lint(schema) == []


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        # Beside a reference and beside alternatives nothing is read.
        ({"$ref": "#/$defs/a", "minLength": 2, "$defs": {"a": {"type": "string"}}}, ["minLength"]),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [having(a={}), having(b={})]},
         ["properties"]),
        ({"type": "string", "anyOf": [{"type": "string"}, {"type": "null"}]}, ["type"]),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, ["oneOf"]),
        ({"oneOf": [having(a={}), having(b={})]}, ["oneOf"]),
        ({"type": "string", "enum": ["a", 1]}, ["type"]),
        ({"enum": ["ab", "c"], "minLength": 2}, ["minLength"]),
        # Objects.
        ({"type": "object", "required": ["a"]}, ["required"]),
        ({"properties": {"a": {}}, "required": ["a", "b"]}, ["required"]),
        ({"properties": {"a": False}, "additionalProperties": True}, ["properties"]),
        *(
            ({"type": "object", word: value}, [word])
            for word, value in {
                "patternProperties": {"^a": {"type": "null"}},
                "propertyNames": {"maxLength": 3},
                "minProperties": 1,
                "maxProperties": 2,
                "dependentRequired": {"a": ["b"]},
                "dependentSchemas": {"a": {"required": ["b"]}},
                "dependencies": {"a": ["b"]},
                "unevaluatedProperties": False,
                "not": {"required": ["a"]},
                "if": {"required": ["a"]},
            }.items()
        ),
        ({"allOf": [{"type": "string"}]}, ["allOf"]),
        ({"allOf": [having(a={"type": "string"}), {"required": ["z"]}]}, ["allOf"]),
        ({"allOf": [having(a={}), {**having(b={}), "minProperties": 2}]}, ["allOf"]),
        ({**having(a={}), "allOf": [having(b={})]}, ["allOf"]),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a", "z"]}]}, ["allOf"]),
        ({"allOf": [{"enum": ["ab", 1]}], "minLength": 2}, ["allOf", "minLength"]),
        # Lists.
        ({"type": "array", "minItems": 2, "maxItems": 3}, ["maxItems", "minItems"]),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, ["uniqueItems"]),
        ({"type": "array", "items": {"type": "null"}, "contains": {"const": 1}}, ["contains"]),
        ({"type": "array", "prefixItems": [{"type": "null"}], "minItems": 2}, ["minItems"]),
        # Texts.
        ({"type": "string", "pattern": "abc"}, ["pattern"]),
        ({"type": "string", "pattern": "^a+$", "maxLength": 4}, ["maxLength"]),
        ({"type": "string", "format": "email"}, ["format"]),
        ({"type": "string", "format": "date", "minLength": 3}, ["minLength"]),
        ({"type": ["string", "null"], "pattern": "a"}, ["pattern"]),
        # Numbers.
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 3}, ["exclusiveMaximum", "minimum"]),
        ({"type": "integer", "multipleOf": 5}, ["multipleOf"]),
        ({"type": "integer", "minimum": 2.5}, ["minimum"]),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 5}, ["exclusiveMinimum"]),
        ({"type": ["integer", "number"], "minimum": 1}, ["minimum"]),
        # What is not sent (grammar_limits.toml).
        ({"type": "string", "pattern": r"^\d+$"}, ["pattern"]),
        ({"type": "string", "maxLength": 5000}, ["maxLength"]),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2001}, ["minItems"]),
        ({"properties": {f"some_long_name_{n}": {"type": "string"} for n in range(200)}},
         ["properties"]),
    ],
)  # fmt: skip
def test_what_only_our_check_enforces_is_named(schema: Any, named: list[str]) -> None:
    """At the top, and at any depth with its place."""
    assert lint(schema) == [f"$: {word}" for word in named]
    inner = {name: part for name, part in schema.items() if name != "$defs"}
    outer = {**having(a={"type": "array", "items": inner}), "$defs": schema.get("$defs", {})}
    if len(json.dumps(schema)) < 1000:  # a larger one is not sent at all
        assert lint(outer) == [f"$.properties.a.items: {word}" for word in named]


def test_places_are_named_where_they_are_written() -> None:
    """Of what is referred to several times, or to itself, once."""
    node = {"$ref": "#/$defs/node"}
    schema = {
        **having(a=node, b=node, c={"anyOf": [{"type": "null"}, {"type": "number", "maximum": 2}]}),
        "$defs": {"node": having(next={"anyOf": [node, {"type": "null"}]}, x={"format": "uri"})},
    }
    assert lint(schema) == [
        "$.$defs.node.properties.x: format",
        "$.properties.c.anyOf[1]: maximum",
    ]


def test_a_newer_ollama_enforces_more() -> None:
    """The lint itself speaks of any version that may be met."""
    schema = having(a={"type": "string", "pattern": r"^\d+$"})
    assert unenforced(schema, "0.33.0") == []
    assert [one.keyword for one in unenforced(schema)] == ["pattern"]


def test_every_keyword_of_the_suite_that_demands_something_is_known() -> None:
    """A keyword that the lint does not know would count as enforced."""
    folder = Path(__file__).parents[1] / "data/json-schema-test-suite/draft2020-12"
    says_only = {
        "content",
        "default",
        "vocabulary",
        "format",
        "defs",
        "anchor",
        "id",
        "unknownKeyword",
    }
    others = {"boolean_schema", "infinite-loop-detection", "refRemote", "if-then-else", "ref"}
    others |= {"dynamicRef", "minContains", "maxContains"}  # count with `contains`
    files = {file.stem for file in folder.glob("*.json")}
    assert sorted(files - says_only - others - APPLIES.keys()) == []


def test_strict_refuses_what_is_named() -> None:
    """Before anything is queued."""
    schema = having(age={"type": "number", "minimum": 0})
    assert parse(StructuredRequest, ["p", schema], {}, LIMITS).strict is False
    with pytest.raises(InvalidRequest) as refused:
        parse(StructuredRequest, ["p", schema], {"strict": True}, LIMITS)
    assert refused.value.message == (
        "schema: strict=True refuses what Ollama's grammar does not enforce: "
        "$.properties.age: minimum"
    )
    clean = having(age={"type": "integer", "minimum": 0})
    assert parse(StructuredRequest, ["p", clean], {"strict": True}, LIMITS).strict


def test_a_refusal_names_a_few() -> None:
    """An error is one line."""
    schema = having(**{f"p{n}": {"type": "number", "multipleOf": 2} for n in range(9)})
    with pytest.raises(InvalidRequest, match=r"p4: multipleOf; and 4 more$"):
        parse(StructuredRequest, ["p", schema], {"strict": True}, LIMITS)


def test_callers_can_ask_before(tmp_path: Path) -> None:
    """In Python, also of a class, and on the command line; a wrong schema is refused."""

    class Person(BaseModel):
        age: Annotated[float, Field(ge=0)]

    assert local_llm_service.lint_schema(Person) == ["$.properties.age: minimum"]
    assert local_llm_service.lint_schema({"type": "integer"}) == []
    with pytest.raises(InvalidRequest, match=r"^schema: is not a valid JSON Schema"):
        local_llm_service.lint_schema({"type": "nosuch"})
    file = tmp_path / "schema.json"
    file.write_text('{"type": "number", "multipleOf": 2}')
    assert CliRunner().invoke(cli, ["lint", str(file)]).output == "$: multipleOf\n"
    assert (
        CliRunner().invoke(cli, ["lint", "--json", str(file)]).output == '[\n  "$: multipleOf"\n]\n'
    )


def test_a_hostile_schema_does_not_hold_the_lint() -> None:
    """It runs in the caller's process, and in that of HTTP: references double at each level."""
    doubled = {
        f"n{n}": {"anyOf": [{"$ref": f"#/$defs/n{n + 1}"}, {"$ref": f"#/$defs/n{n + 1}"}]}
        for n in range(1000)
    }
    many = {"oneOf": [having(k={"$ref": "#/$defs/values"}) for _ in range(60)]}
    schemas: list[dict[str, Any]] = [
        {"$ref": "#/$defs/n0", "$defs": {**doubled, "n1000": {"type": "string"}}},
        {**many, "$defs": {"values": {"enum": list(range(10_000))}}},
        {"allOf": [{"allOf": [having(a={})] * 50}] * 50},
    ]
    began = time.thread_time()
    for schema in schemas:
        lint(schema)
    assert time.thread_time() - began < 30  # without memory of what is known: for ever


def test_functions_are_looked_into() -> None:
    """A function, taken for a JSON Schema, would say nothing and pass as enforced."""
    parameters = having(sum={"type": "number", "multipleOf": 2})
    function = {"name": "pay", "parameters": parameters}
    line = "$.properties.sum: multipleOf"
    assert local_llm_service.lint_schema(function) == [line]
    assert local_llm_service.lint_schema({"type": "function", "function": function}) == [line]
    other = {"name": "ask", "parameters": having(question={"type": "string"})}
    assert local_llm_service.lint_schema([other, function]) == [f"pay: {line}"]
