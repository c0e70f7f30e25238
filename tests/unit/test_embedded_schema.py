"""The embedded server refuses the JSON Schemas that Ollama refuses, in the same nested words."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.embedded.ollama_api.schema_check import checked_schema
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

WIRE = Path(__file__).parents[1] / "wire"


@pytest.mark.parametrize(
    "name", ["chat_format_bad_schema", "chat_format_bad_pattern", "chat_format_ref_missing"]
)
def test_a_bad_schema_is_refused_in_the_recorded_words(name: str) -> None:
    """The refusal is a 400 whose error is llama-server's own error object, as a string."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    with pytest.raises(ApiError) as refusal:
        checked_schema(exchange["request"]["body"]["format"])
    assert refusal.value.status == exchange["response"]["status"]
    assert refusal.value.message == exchange["response"]["body"]["error"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "nope"}}},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "nope"}]}},
        {"$defs": {"d": {"type": "nope"}}, "type": "array", "items": {"$ref": "#/$defs/d"}},
        {"type": "string", "pattern": "^(?=a)b$"},
        {"type": "string", "pattern": "^(unclosed$"},
        {"$ref": "https://example.org/schema"},
    ],
)
def test_a_fault_is_found_at_any_depth(schema: dict[str, Any]) -> None:
    """llguidance would silently drop the whole constraint."""
    with pytest.raises(ApiError):
        checked_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"next": {"$ref": "#"}},
            "additionalProperties": False,
        },
        {"enum": ["a", 1, None]},
        {"type": ["string", "null"], "pattern": "^a+$"},
        {"description": "anything"},
    ],
)
def test_a_good_schema_passes_with_its_keywords(schema: dict[str, Any]) -> None:
    """Only the instructions to llguidance are added."""
    passed = checked_schema(schema)
    assert passed.pop("x-guidance")["lenient"] is True
    assert passed == schema


def test_the_empty_schema_means_an_object() -> None:
    """llama.cpp reads `format: {}` as "some object"."""
    assert checked_schema({})["type"] == "object"


def test_objects_that_name_their_properties_take_no_others() -> None:
    """llama.cpp's converter reads them so; a property may itself be called `properties`."""
    schema = {"properties": {"properties": {"type": "object", "properties": {"a": {}}}, "b": {}}}
    passed = checked_schema(schema)
    assert passed["additionalProperties"] is False
    assert set(passed["properties"]) == {"properties", "b"}
    assert passed["properties"]["properties"]["additionalProperties"] is False


def test_objects_that_allow_others_and_parts_of_allof_stay_open() -> None:
    """The caller's own choice counts, and the parts of `allOf` are one object."""
    opened = {"properties": {"a": {}}, "additionalProperties": {"type": "string"}}
    assert checked_schema(opened)["additionalProperties"] == {"type": "string"}
    both = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}
    assert checked_schema(both)["allOf"] == both["allOf"]
