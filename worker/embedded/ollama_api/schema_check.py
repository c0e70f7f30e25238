"""Refuses a JSON Schema that cannot become a grammar, in llama.cpp's words.

xllamacpp turns a schema into a grammar with llguidance. Where that fails, it goes on silently
*without* any constraint, so this module first looks for what Ollama would refuse.
"""

import json
import re
from typing import Any

from local_llm_service.worker.embedded.ollama_api.wire import ApiError

_TYPES = {"boolean", "number", "integer", "string", "array", "object", "null"}
_MAPS = ("properties", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties")
# llguidance knows no lookaround, no back references and no word boundaries.
_UNSUPPORTED_PATTERN = re.compile(r"\(\?[=!<]|\\[1-9bB]")
# Compact, on one line: free white space is where small models run away.
GUIDANCE = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}


def checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Prepare `schema` for llguidance; ApiError 400 with llama.cpp's error in JSON."""
    problems = _Problems(schema)
    problems.visit(schema)
    if problems.found:
        raise schema_error("\n".join(problems.found))
    # Lenient: a keyword it does not know is ignored, as llama.cpp's own converter does.
    # A schema without any keyword asks for an object there, and for any value here.
    wanted = closed(schema) if schema else {"type": "object"}
    return {**wanted, "x-guidance": {**GUIDANCE, "lenient": True}}


def closed(schema: Any) -> Any:
    """Forbid properties that an object with `properties` does not list, as llama.cpp does.

    llguidance would let the model invent some. Schemas with `allOf` stay open: each part is
    matched by the same object, and closing every part would leave nothing.
    """
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict) or "allOf" in schema:
        return schema
    inner = {name: _closed_under(name, part) for name, part in schema.items()}
    open_by_word = {"additionalProperties", "patternProperties", "unevaluatedProperties"}
    if isinstance(inner.get("properties"), dict) and not open_by_word & inner.keys():
        inner["additionalProperties"] = False
    return inner


def _closed_under(keyword: str, part: Any) -> Any:
    if keyword in {"const", "enum", "default", "examples", "required"}:
        return part
    if keyword in {*_MAPS, "$defs", "definitions", "dependentSchemas"} and isinstance(part, dict):
        return {name: closed(inner) for name, inner in part.items()}
    return closed(part)


def schema_error(reason: str) -> ApiError:
    """Ollama's answer to a schema that llama-server refuses."""
    message = f"Field 'json_schema': \"json_schema\": JSON schema conversion failed:\n{reason}"
    return runner_error(400, message)


def runner_error(code: int, message: str) -> ApiError:
    """An error of llama-server, which Ollama passes on unchanged, as a string."""
    inner = {"error": {"code": code, "message": message, "type": "invalid_request_error"}}
    return ApiError(code, _compact(inner), late=True)


class _Problems:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._seen_references: set[str] = set()
        self.found: list[str] = []

    def visit(self, schema: Any) -> None:
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            self._follow(schema["$ref"])
            return
        if "const" in schema or "enum" in schema:
            return
        self._check_type(schema)
        self._check_pattern(schema)
        for name in _MAPS:
            for inner in _values(schema.get(name)):
                self.visit(inner)
        for name in _LISTS:
            for inner in schema.get(name) or []:
                self.visit(inner)
        for name in _SINGLES:
            self.visit(schema.get(name))

    def _check_type(self, schema: dict[str, Any]) -> None:
        kinds = schema.get("type", [])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if not isinstance(kind, str) or kind not in _TYPES:
                self.found.append(f"Unrecognized schema: {_compact(schema)}")

    def _check_pattern(self, schema: dict[str, Any]) -> None:
        pattern = schema.get("pattern")
        if not isinstance(pattern, str):
            return
        if not (pattern.startswith("^") and pattern.endswith("$")):
            self.found.append("Pattern must start with '^' and end with '$'")
        elif _UNSUPPORTED_PATTERN.search(pattern) or not _compiles(pattern):
            self.found.append("Unsupported pattern syntax")

    def _follow(self, reference: Any) -> None:
        if reference in self._seen_references:
            return
        self._seen_references.add(reference)
        if not isinstance(reference, str) or not reference.startswith("#"):
            self.found.append(f"Unsupported ref: {reference}")
            return
        target: Any = self._root
        for step in filter(None, reference[1:].split("/")):
            if not isinstance(target, dict) or step not in target:
                self.found.append(
                    f"Error resolving ref {reference}: {step} not in {_compact(target)}"
                )
                return
            target = target[step]
        self.visit(target)


def _values(mapping: Any) -> list[Any]:
    return list(mapping.values()) if isinstance(mapping, dict) else []


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
