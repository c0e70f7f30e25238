"""Writes a tool into a prompt as Go prints the structure that Ollama reads it into.

Recorded in tests/wire/chat_tools_debug_render.json: `{get_weather Weather of a city {object <nil>
<nil> [city] {"city":{"type":"string"}}}}`.
"""

from typing import Any

from local_llm_service.worker.embedded.ollama_api.wire import dumps

#: The fields of api.ToolProperty, in their order; Ollama drops all others.
_PROPERTY = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def function(tool: dict[str, Any]) -> str:
    """One tool's function."""
    given = tool.get("function") or {}
    parameters = given.get("parameters") or {}
    properties = parameters.get("properties") or {}
    fields = [
        str(parameters.get("type", "")),
        printed(parameters.get("$defs")),
        printed(parameters.get("items")),
        printed(parameters.get("required") or []),
        dumps({name: _property(part) for name, part in properties.items()}),
    ]
    return f"{{{given.get('name', '')} {given.get('description', '')} {{{' '.join(fields)}}}}}"


def printed(value: Any) -> str:
    """A value as fmt prints it with %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        members = (f"{name}:{printed(value[name])}" for name in sorted(value))
        return f"map[{' '.join(members)}]"
    if isinstance(value, list):
        return f"[{' '.join(map(printed, value))}]"
    return str(value)


def _property(part: Any) -> dict[str, Any]:
    if not isinstance(part, dict):
        return {}
    kept = {name: part[name] for name in _PROPERTY if part.get(name) not in (None, [], "")}
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_property(one) for one in kept["anyOf"]]
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: _property(one) for name, one in kept["properties"].items()}
    return kept
