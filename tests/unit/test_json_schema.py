"""Callers' schemas: the check that admits them and the reading of instances against them."""

import json
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.tasks.json_answers.reading import read_instance
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.schema_verdict import NEWEST, validator
from local_llm_service.tasks.structured_output import StructuredRequest
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion, JsonSchema

LIMITS = Limits(max_prompt_chars=20_000, max_messages=1, max_schema_depth=32, max_output_tokens=100)
SUITE = Path(__file__).parents[1] / "data/json-schema-test-suite/draft2020-12"

#: How many schemas of the suite are refused. They are `false` as a whole schema, and schemas that
#: need a document from outside the schema: a remote one or the metaschema.
REFUSED = {
    "boolean_schema.json": 1,  # false
    "defs.json": 1,  # the metaschema
    "dynamicRef.json": 5,  # remote
    "ref.json": 1,  # the metaschema
    "refRemote.json": 15,  # remote, all of them
}
#: The check treats a caller's own metaschema as 2020-12, which is stricter.
STRICTER = {("vocabulary.json", "no validation: invalid number, but it still validates")}


def admitted(schema: Any) -> JsonSchema:
    """The schema as a request holds it. Raises InvalidRequest if it is refused."""
    request: StructuredRequest = parse(StructuredRequest, ["p"], {"schema": schema}, LIMITS)
    checked: JsonSchema = request.json_schema
    return checked


def refusal(schema: Any) -> str:
    """The reason why the schema is refused."""
    with pytest.raises(InvalidRequest) as refused:
        admitted(schema)
    return refused.value.message


def accepts(schema: JsonSchema, text: str) -> bool:
    """Whether the model's `text` counts as an instance of the schema."""
    try:
        read_instance(Completion(text, "m", "stop", 1, 1, 0, 0, 0), schema)
    except InvalidOutput:
        return False
    return True


def suite() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every group of the suite: a schema and its instances."""
    for file in sorted(SUITE.glob("*.json")):
        for group in json.loads(file.read_text()):
            yield file.name, group


def suite_files() -> list[str]:
    """The files of the suite, one for each keyword."""
    return sorted(file.name for file in SUITE.glob("*.json"))


def is_admitted(schema: Any) -> bool:
    """Whether the check lets a schema through."""
    try:
        admitted(schema)
    except InvalidRequest:
        return False
    return True


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection fails."""

    def explode(*_: Any, **__: Any) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "create_connection", explode)
    monkeypatch.setattr(socket, "getaddrinfo", explode)
    monkeypatch.setattr(urllib.request, "urlopen", explode)


def test_the_suite_is_complete() -> None:
    """The tests over the suite must not pass because it is missing."""
    assert len(suite_files()) == 46
    assert sum(len(group["tests"]) for _, group in suite()) > 1200


def test_only_known_schemas_of_the_suite_are_refused() -> None:
    """All keywords of draft 2020-12 are admitted; the exceptions above have their reasons."""
    assert Counter(file for file, group in suite() if not is_admitted(group["schema"])) == REFUSED


@pytest.mark.parametrize("file", suite_files())
def test_an_admitted_schema_accepts_exactly_the_suites_valid_instances(file: str) -> None:
    """The check of the model's answer follows draft 2020-12, keyword by keyword."""
    wrong = [
        (group["description"], case["description"])
        for name, group in suite()
        if name == file and is_admitted(group["schema"])
        for case in group["tests"]
        if accepts(group["schema"], json.dumps(case["data"])) != case["valid"]
        and (file, case["description"]) not in STRICTER
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object"},
        {"type": ["string", "null"]},
        {"enum": [1, "a", None]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "string"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"$comment": "free text", "x-of-mine": {"any": ["thing"]}},
    ],
)
def test_a_json_schema_is_admitted_as_it_is(schema: Any) -> None:
    """Schemas of any draft are admitted, and unknown keywords too, as JSON Schema says."""
    assert admitted(schema) == schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (None, "must be a JSON Schema"),
        ("object", "must be a JSON Schema"),
        ([], "must be a JSON Schema"),
        (False, "false allows no answer"),
        ({"type": "nosuch"}, "is not a valid JSON Schema at $.type"),
        ({"properties": {"a": {"minLength": -1}}}, "at $.properties.a.minLength"),
        ({"required": "name"}, "at $.required"),
        ({"pattern": "("}, "at $.pattern"),
        ({"const": {1, 2}}, "must be plain JSON"),
        ({"const": b"bytes"}, "must be plain JSON"),
    ],
)
def test_a_bad_json_schema_is_refused_at_its_place(schema: Any, reason: str) -> None:
    """The refusal says where the fault is and quotes no value."""
    message = refusal(schema)
    assert message.startswith("schema: ")
    assert reason in message


def test_the_deepest_schema_is_admitted_and_one_deeper_is_not() -> None:
    """MAX_SCHEMA_DEPTH counts the objects and lists inside the schema itself."""
    schema: dict[str, Any] = {}
    for _ in range(LIMITS.max_schema_depth):
        schema = {"not": schema}
    assert admitted(schema) == schema
    assert "32 deep (MAX_SCHEMA_DEPTH)" in refusal({"not": schema})


@pytest.mark.parametrize("wrap", [lambda inner: {"not": inner}, lambda inner: [inner]])
def test_a_schema_100_000_deep_is_refused_and_breaks_nothing(wrap: Any) -> None:
    """Depth is measured level by level: no RecursionError, no crash of the interpreter."""
    inner: Any = {}
    for _ in range(100_000):
        inner = wrap(inner)
    assert "MAX_SCHEMA_DEPTH" in refusal({"allOf": inner})
    while inner:  # unwrap it by hand, because freeing it would recurse
        inner = inner.popitem()[1] if isinstance(inner, dict) else inner.pop()


def test_a_schema_that_contains_itself_is_refused() -> None:
    """A cycle of Python objects is endlessly deep."""
    schema: dict[str, Any] = {}
    schema["not"] = schema
    assert "MAX_SCHEMA_DEPTH" in refusal(schema)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#missing"},
        {"$ref": "http://[bad"},
        {"properties": {"a": {"items": {"$ref": "http://127.0.0.1:1/a"}}}},
        {"$id": "http://127.0.0.1:1/base/", "$ref": "other.json"},
        {"$dynamicRef": "#missing"},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {"$ref": "http://127.0.0.1:1/a"}},
        },
    ],
)
def test_a_reference_out_of_the_schema_is_refused_and_never_fetched(schema: Any) -> None:
    """A caller must not make a worker read files or open addresses."""
    assert "must point inside the schema" in refusal(schema)


@pytest.mark.usefixtures("_no_network")
def test_reading_an_instance_never_fetches_either() -> None:
    """As a second and a third barrier, even an unchecked schema opens no connection."""
    schema = {"$ref": "http://127.0.0.1:1/schema.json"}
    with pytest.raises(ValueError, match=r"\$ref"):
        accepts(schema, "1")
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        validator(NEWEST, schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/word", "$defs": {"word": {"type": "string"}}},
        {"$ref": "#word", "$defs": {"word": {"$anchor": "word", "type": "string"}}},
        {"$ref": "word", "$defs": {"w": {"$id": "word", "type": "string"}}},
        {
            "$id": "http://127.0.0.1:1/root",
            "$ref": "http://127.0.0.1:1/word",
            "$defs": {"w": {"$id": "http://127.0.0.1:1/word", "type": "string"}},
        },
        {"$ref": "urn:example:word", "$defs": {"w": {"$id": "urn:example:word", "type": "string"}}},
        {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "string"}}},
        {"$dynamicRef": "#word", "$defs": {"w": {"$dynamicAnchor": "word", "type": "string"}}},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$ref": "#/definitions/word",
            "definitions": {"word": {"type": "string"}},
        },
    ],
    ids=["$defs", "$anchor", "$id", "absolute $id", "urn", "escaped", "dynamic", "draft 7"],
)
def test_a_reference_inside_the_schema_resolves(schema: Any) -> None:
    """The schema itself resolves `$defs`, `$anchor` and `$id`, in the check and in reading."""
    assert admitted(schema) == schema
    assert accepts(schema, '"text"')
    assert not accepts(schema, "5")


def test_a_schema_may_contain_itself_by_reference() -> None:
    """Trees need references to themselves."""
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert accepts(admitted(tree), '{"left": {"right": {}}}')
    assert not accepts(tree, '{"left": {"right": 5}}')


def test_a_reference_in_a_circle_is_refused() -> None:
    """JSON Schema's grammar allows such a circle, but nobody can evaluate it."""
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert "never ends" in refusal(circle)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[NaN]"])
def test_numbers_that_json_lacks_are_refused(text: str) -> None:
    """Python would read them, but other languages would not."""
    assert not accepts(True, text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 5000 + "]" * 5000])
def test_json_without_end_is_refused(text: str) -> None:
    """A model can write brackets until its budget is used up; the worker survives that."""
    assert not accepts(True, text)


@pytest.mark.parametrize("text", ["1 2", "{'a': 1}", "// no\n1", '{"a": 1,}', "```json\n1", "yes"])
def test_text_that_is_nearly_json_is_refused(text: str) -> None:
    """The reader guesses and repairs nothing."""
    assert not accepts(True, text)


@pytest.mark.parametrize("schema", [{"$id": 5}, {"$schema": 5}, {"$schema": []}])
def test_a_keyword_of_the_wrong_type_is_refused_like_any_other(schema: Any) -> None:
    """The caller has to correct any fault of a schema."""
    assert refusal(schema).startswith("schema: ")


@pytest.mark.parametrize("place", ["minLength", "uniqueItems"])
def test_a_reference_through_a_plain_value_is_refused(place: str) -> None:
    """The reference points inside the schema, but not at a schema."""
    value = {"minLength": 1, "uniqueItems": True}[place]
    assert "must point inside" in refusal({place: value, "$ref": f"#/{place}/a"})


@pytest.mark.parametrize(
    "hidden", [{"$ref": "http://127.0.0.1:1/a"}, {"type": "nosuch"}, {"minLength": "z"}, 5]
)
def test_the_target_of_a_reference_is_checked_as_a_schema_too(hidden: Any) -> None:
    """A reference turns its target into a schema, even where no draft expects one."""
    assert not is_admitted({"$ref": "#/x-mine/a", "x-mine": {"a": hidden}})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_schema_with_a_number_that_json_lacks_is_refused(number: float) -> None:
    """`json.dumps` writes NaN and Infinity; JSON has neither."""
    assert "must be plain JSON" in refusal({"const": number})


def test_a_number_too_large_for_a_float_is_refused() -> None:
    """1e400 is JSON, but Celery would store it as `Infinity`, which is not."""
    assert not accepts(True, "1e400")
