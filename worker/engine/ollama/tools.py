"""Tools in the form that Ollama takes: what it cannot read it refuses, with the whole request.

Its server reads a tool into a structure of Go (`api/types.go`: Tool, ToolFunction, ToolProperty),
where a keyword of JSON Schema has one type only, and writes that into the model's prompt. So a
keyword of another type is left out: the model is told less, and what it calls is checked against
the whole schema all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service.worker.prompt import Tool


def accepted(tool: Tool) -> dict[str, object]:
    """The tool, with nothing in it that makes Ollama refuse the request."""
    function: Any = tool["function"]
    parameters = _schema(function.get("parameters") or {})
    # The top has no list of types, and a function without parameters has to say so.
    parameters = {"properties": {}, **parameters, "type": "object"}
    return {"type": "function", "function": {**function, "parameters": parameters}}


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: _member(name, value) for name, value in schema.items()}
    return {name: value for name, value in kept.items() if value is not None}


def _member(name: str, value: Any) -> Any:
    """The value of one keyword; None to leave it out."""
    if name == "properties":
        return {key: _property(part) for key, part in _mapping(value).items()}
    if name == "anyOf":
        return [_property(part) for part in value] if isinstance(value, list) else None
    if name == "type":
        return value if isinstance(value, str) or _is_texts(value) else None
    if name == "required":
        return value if _is_texts(value) else None
    if name == "description":
        return value if isinstance(value, str) else None
    if name == "enum":
        return value if isinstance(value, list) else None
    return value


def _property(part: Any) -> dict[str, Any]:
    """A schema within the schema. `true` allows anything, and `false` nothing: no word for that."""
    return _schema(part) if isinstance(part, dict) else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
