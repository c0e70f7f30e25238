"""No schema of a caller's tool makes Ollama refuse the request."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local_llm_service.worker.engine.ollama.tools import accepted

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = ("type", "properties", "required", "anyOf", "enum", "description", "items", "$defs", "x")
SCHEMA = st.recursive(
    st.dictionaries(st.sampled_from(WORDS), JSON, max_size=4),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.text(max_size=3), inner | st.booleans(), max_size=3),
            "anyOf": st.lists(inner | st.booleans(), max_size=3),
            "items": inner,
            "type": JSON,
        },
    ),
    max_leaves=6,
)


def check_property(schema: Any) -> None:
    """Whether Go's ToolProperty can be read from it (api/types.go of 0.24 and 0.33)."""
    assert isinstance(schema, dict)
    kind = schema.get("type", "")
    assert isinstance(kind, str) or all(isinstance(one, str) for one in kind)
    assert isinstance(schema.get("description", ""), str)
    assert isinstance(schema.get("enum", []), list)
    assert all(isinstance(one, str) for one in schema.get("required", []))
    for part in [*schema.get("anyOf", []), *schema.get("properties", {}).values()]:
        check_property(part)


def of(parameters: Any) -> dict[str, Any]:
    """The parameters that are sent."""
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    sent: Any = accepted(tool)
    assert sent["function"]["name"] == "f"
    found: dict[str, Any] = sent["function"]["parameters"]
    return found


@given(SCHEMA)
def test_every_schema_can_be_read_by_ollama(schema: dict[str, Any]) -> None:
    """Its types are Go's; a keyword of another type would be 400 for the whole request."""
    sent = of(schema)
    assert sent["type"] == "object"
    assert isinstance(sent["properties"], dict)
    check_property(sent)


def test_what_ollama_can_read_is_sent_as_it_is() -> None:
    """The model is told as much as can be."""
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where", "enum": ["Bern"]},
            "days": {"anyOf": [{"type": ["integer", "null"]}], "minimum": 1},
        },
        "required": ["city"],
        "$defs": {"a": {"type": "string"}},
    }
    assert of(schema) == schema
    assert of({}) == {"type": "object", "properties": {}}
