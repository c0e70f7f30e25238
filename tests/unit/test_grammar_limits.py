"""What kills Ollama, or what it refuses, is not sent; everything else is sent as it came."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.engine.ollama import grammar, grammar_pattern, schema_references
from local_llm_service.worker.engine.ollama.grammar import constraints, loosened
from local_llm_service.worker.engine.ollama.grammar_limits import all_rules, grammar_limits
from local_llm_service.worker.engine.ollama.grammar_pattern import unfit

WIRE = Path(__file__).parents[1] / "wire"
VERSIONS = {"": "0.33.0-rc2", "0.24/": "0.24.0"}
#: Recordings of a `format` that Ollama did not take: it died, ran for ever or refused.
NOT_TAKEN = (
    *("schema_", "chat_format_bad", "chat_native_format_bad", "chat_format_not"),
    *("chat_format_ref", "chat_format_description"),
)
ANY = {"type": ["object", "array", "string", "number", "integer", "boolean", "null"]}


def recorded_schemas() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, version and schema of each recorded chat with one, on the template path."""
    for folder, version in VERSIONS.items():
        for file in sorted((WIRE / folder).glob("*.json")):
            body = json.loads(file.read_text())["request"].get("body")
            schema = body.get("format") if isinstance(body, dict) else None
            if isinstance(schema, dict):
                yield f"{folder}{file.stem}", version, schema


SCHEMAS = list(recorded_schemas())


def was_taken(name: str) -> bool:
    """Whether Ollama took the schema of this recording."""
    return not name.removeprefix("0.24/").startswith(NOT_TAKEN)


def with_pattern(pattern: str) -> dict[str, Any]:
    """An object with one text of this pattern."""
    return {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
    }


def test_there_are_recordings_of_both_kinds() -> None:
    """The tests over recordings must not pass because they found none."""
    taken = [name for name, *_ in SCHEMAS if was_taken(name)]
    others = [name for name, *_ in SCHEMAS if not was_taken(name)]
    assert "0.24/chat_format_schema_stream" in taken
    assert {"0.24/schema_pattern_never_ends", "chat_format_bad_pattern"} <= set(others)


@pytest.mark.parametrize(("version", "schema"), [one[1:] for one in SCHEMAS if was_taken(one[0])])
def test_a_schema_that_ollama_took_is_sent_as_it_came(version: str, schema: dict[str, Any]) -> None:
    """Unchanged, also to a version that is not known."""
    assert constraints(schema, version)[0] is schema
    assert constraints(schema, None)[0] is schema


@pytest.mark.parametrize(
    ("version", "schema"), [one[1:] for one in SCHEMAS if not was_taken(one[0])]
)
def test_a_schema_that_ollama_did_not_take_is_not_sent(
    version: str, schema: dict[str, Any]
) -> None:
    """Neither first nor as one of the looser ones."""
    for given in (version, None):
        sent = constraints(schema, given)
        assert schema not in sent
        assert all(loosened(dict(one), grammar_limits(given)) == one for one in sent)


def test_every_rule_has_its_effect_and_a_source_that_exists() -> None:
    """The list is data: whoever doubts a rule can look."""
    for name, rule in all_rules().items():
        assert rule.keys() >= {"effect", "instead", "source"}, name
        assert rule["source"], name
        for source in rule["source"]:
            known = source.startswith(("read: ", "tried: ")) or any(
                (WIRE / f"{source}{end}").exists() for end in (".json", ".md")
            )
            assert known, f"{name}: {source}"


def test_every_rule_is_used() -> None:
    """A rule that no code knows would promise something."""
    code = "".join(inspect.getsource(one) for one in (grammar, grammar_pattern))
    always = {"pattern_ends", "reference_missing", "reference_circle", "reference_elsewhere"}
    always |= {"type_unknown", "boolean_schema"}  # these hold for all versions
    assert {name for name in all_rules() if f'"{name}"' not in code} <= always
    assert all("below" not in all_rules()[name] for name in always)


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        *((f"^a{escape}b$", "pattern_escape") for escape in (r"\d", r"\w", r"\s", r"\b", r"\-")),
        (r"^a\/b$", "pattern_escape"),
        (r"^[a-z\d]+$", "pattern_escape"),
        (r"^[\.]+$", "pattern_escape"),
        (r"^\x41$", "pattern_escape"),
        *((f"^{group}a)$", "pattern_group") for group in ("(?:", "(?P<x>", "(?=", "(?!", "(?i:")),
        ("^+a$", "pattern_group"),
        ("^{2}$", "pattern_group"),
        ("^(a|*)$", "pattern_group"),
        ("^(*a)$", "pattern_group"),
        *((pattern, "pattern_unpaired") for pattern in ("^}$", "^]$", "^[^]a]$", "^[]a]$", "^a]$")),
        ("^a{b}$", "pattern_unpaired"),
        ("^" + "(" * 50_000 + ")" * 50_000 + "$", "pattern_length"),
        ("^" + "(" * 900 + "a" + ")" * 900 + "$", None),
        ("^a{2001}$", "repetition"),
        ("^a{1,99999999999999999999}$", "repetition"),
        ("^a$|^b$", "pattern_anchor"),
        (r"^ab\.+$", "pattern_quantifier"),
        *((pattern, "pattern_ends") for pattern in ("", "^", "a", "^a", "a$", r"^a\$")),
        *(
            (pattern, None)
            for pattern in (
                *("^$", "^a$", "^[a-z]{2,5}$", "^(foo|bar)+$", "^.*$", '^"a"$', r"^\\$", "^é+$"),
                *(r"^[A-Z]{2}\.[0-9]+$", r"^\(\)$", "^a{,3}$", "^a{2000}$", "^a+?$", r"^[\]\\]$"),
                *(r"^\n\t$", "^[^a-c]?$", "^a|b$", "^((a)|(b))*$", r"^a\{2\}$"),
            )
        ),
    ],
)
def test_a_pattern_that_024_cannot_take_is_known(pattern: str, rule: str | None) -> None:
    """By its rule; a pattern within what is known to be safe breaks none."""
    assert unfit(pattern, grammar_limits("0.24.0")) == rule


def test_newer_versions_get_the_patterns_that_only_024_dies_of() -> None:
    """The list goes by version; what ends never, or is refused, is left out for all."""
    for pattern in (r"^\d+$", "^(?:foo|bar)$", "^a{3000}$"):
        assert constraints(with_pattern(pattern), "0.33.0")[0] == with_pattern(pattern)
        assert constraints(with_pattern(pattern), "0.24.0")[0] != with_pattern(pattern)
        assert constraints(with_pattern(pattern), "0.0.0")[0] != with_pattern(pattern)
    for pattern in ("^}$", "a"):
        assert constraints(with_pattern(pattern), "0.33.0")[0] != with_pattern(pattern)


def test_only_what_is_on_the_list_is_left_out() -> None:
    """The model is still held to everything else."""
    schema = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "pattern": r"^\d{4}$"},
            "kind": {"enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4000, "minItems": 1},
        },
        "required": ["code", "kind", "tags"],
    }
    assert constraints(schema, "0.24.0") == [
        {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "kind": {"enum": ["a", "b"]},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            },
            "required": ["code", "kind", "tags"],
        },
        {"type": "object"},
    ]


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "array", "items": {"type": "string"}, "minItems": 2100, "maxItems": 4000},
         {"type": "array", "items": {"type": "string"}, "minItems": 2000}),
        ({"type": "string", "minLength": 2001}, {"type": "string", "minLength": 2000}),
        ({"type": "string", "maxLength": 5000}, {"type": "string"}),
        ({"type": "string", "minLength": 5, "maxLength": 3}, {"type": "string"}),
        ({"type": "object", "properties": {"a": {"description": "what it is"}}},
         {"type": "object", "properties": {"a": {"description": "what it is"} | ANY}}),
        ({"type": "object", "properties": {"a": True, "b": False, "c": {}}},
         {"type": "object", "properties": {"a": ANY, "c": ANY}}),
        ({"type": "object", "properties": {"$ref": {"type": "string"}}}, {"type": "object"}),
        ({"type": "object", "properties": {"é" * 1001: {"type": "string"}}}, {"type": "object"}),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
         {"type": "array", "prefixItems": [{"type": "integer"}]}),
        ({"allOf": [{"type": "string"}]}, ANY),
        ({"type": "string", "if": {"$ref": "#/nowhere"}}, {"type": "string"}),
        ({"type": "string", "format": 7}, {"type": "string"}),
        ({"pattern": "a"}, ANY),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}},
         {"$defs": {"a b": {"type": "string"}}} | ANY),
    ],
)  # fmt: skip
def test_a_schema_becomes_looser_and_never_stricter(
    schema: dict[str, object], sent: dict[str, object]
) -> None:
    """What is left out allows more; our own check then finds what breaks the whole schema."""
    assert constraints(schema, "0.24.0")[0] == sent


def test_a_reference_to_itself_is_left_out_and_a_tree_is_not() -> None:
    """A circle that takes no character of the answer ends a runner; a tree is a grammar."""
    tree = {
        "type": "object",
        "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
    }
    circles = {
        "a": {"$ref": "#/$defs/a"},
        "b": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/b"}]},
        "c": {"allOf": [{"$ref": "#/$defs/d"}]},
        "d": {"oneOf": [{"$ref": "#/$defs/c"}]},
    }
    leads = {name: {"$ref": f"#/$defs/{name}"} for name in ("t", *circles)}
    schema = {"$defs": {"t": tree, **circles}, "type": "object", "properties": leads}
    for version in ("0.24.0", "0.33.0"):
        sent: Any = constraints(schema, version)[0]
        assert sent["$defs"]["t"] == tree
        assert sent["$defs"]["a"] == ANY
        assert sent["$defs"]["b"] == {"anyOf": [{"type": "string"}, ANY]}
        left = json.dumps([sent["$defs"][name] for name in circles])
        assert left.count("$ref") <= 1  # of c and d, one leads to the other
        assert constraints(sent, version)[0] is sent


def test_a_long_chain_of_references_is_followed_without_pythons_stack() -> None:
    """A caller's schema must not end a slot."""
    chain = {f"n{i}": {"anyOf": [{"$ref": f"#/$defs/n{i + 1}"}]} for i in range(5000)}
    schema = {"$defs": {**chain, "n5000": {"$ref": "#/$defs/n0"}}, "$ref": "#/$defs/n0"}
    assert schema_references.References(schema).is_good({"$ref": "#/$defs/n0"})
    assert "$ref" not in json.dumps(constraints(schema, "0.24.0")[0].get("$defs", {}).get("n5000"))


def test_a_schema_whose_grammar_024_would_cut_off_goes_out_as_its_type() -> None:
    """200 properties killed a runner, 100 did not."""

    def wide(count: int) -> dict[str, object]:
        names = [f"some_long_name_{number}" for number in range(count)]
        return {"type": "object", "properties": {name: {"type": "string"} for name in names}}

    assert constraints(wide(200), "0.24.0") == [{"type": "object"}]
    assert constraints(wide(100), "0.24.0")[0] == wide(100)
    assert constraints(wide(200), "0.33.0")[0] == wide(200)
    many = {"enum": [f"value number {number}" for number in range(3000)]}
    assert constraints(many, "0.24.0")[0] == many  # the room grows with the schema


def test_the_callers_schema_is_left_alone() -> None:
    """Our own check reads it afterwards."""
    schema = with_pattern(r"^\d+$")
    constraints(schema, "0.24.0")
    assert schema == with_pattern(r"^\d+$")


@pytest.mark.parametrize("schema", [True, {}])
def test_any_json_is_asked_for_as_an_object(schema: Any) -> None:
    """Ollama reads `{}` so."""
    assert constraints(schema, "0.24.0")[0] == {}
