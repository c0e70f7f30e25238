"""What to send to Ollama as `format` for a JSON Schema: a grammar that cannot kill it.

What is on the list (grammar_limits.toml) is left out, so the model is told less; the answer is
checked against the whole schema all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local_llm_service.worker.engine.ollama.grammar_limits import GrammarLimits, grammar_limits
from local_llm_service.worker.engine.ollama.grammar_pattern import unfit
from local_llm_service.worker.engine.ollama.schema_references import References
from local_llm_service.worker.prompt import JsonSchema

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
#: Keywords that make a grammar without a `type`.
_FORMS = ("$ref", "oneOf", "anyOf", "const", "enum", "properties", "allOf", "items", "prefixItems")
FORMATS = ("date", "time", "date-time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4", "uuid5")
#: What grammars have in every case, bytes.
_BASE_BYTES = 2000
_LARGEST_GRAMMAR_BYTES = 1_000_000


def constraints(schema: JsonSchema, version: str | None) -> list[dict[str, object]]:
    """What to send, strictest first.

    `version` is Ollama's. Where it refuses the first one, the next leaves out all that any version
    cannot take, and the last has the type alone. Ollama takes an object only, and `{}` as "any JSON
    object".
    """
    strict = schema if isinstance(schema, dict) else {}
    found = [loosened(strict, grammar_limits(version)), loosened(strict, grammar_limits(None))]
    kind = strict.get("type", "object")
    if kind in TYPES:
        found.append({"type": kind})
    return [one for place, one in enumerate(found) if one not in found[:place]]


def loosened(schema: dict[str, object], limits: GrammarLimits) -> dict[str, object]:
    """The schema without what is on the list; the schema itself if nothing is."""
    loose = _result(_Loosening(schema, limits), schema, limits)
    return schema if loose == schema else loose


def loosened_parts(schema: dict[str, object], limits: GrammarLimits) -> dict[int, dict[str, Any]]:
    """What becomes of each subschema, by its `id()`; of those alone that are sent."""
    loosening = _Loosening(schema, limits)
    loose = _result(loosening, schema, limits)
    if loose.keys() == {"type"}:
        return {id(schema): loose}
    return {**loosening.made, id(schema): loose}


def _result(
    loosening: _Loosening, schema: dict[str, object], limits: GrammarLimits
) -> dict[str, object]:
    loose = loosening.result()
    if _is_too_large(loose, limits):
        kind = schema.get("type")
        loose = {"type": kind if kind in TYPES else list(TYPES)}
    return loose


def _any_value() -> dict[str, object]:
    return {"type": list(TYPES)}


class _Loosening:
    """One pass over a schema. Its methods return copies and leave the caller's schema alone."""

    def __init__(self, root: dict[str, object], limits: GrammarLimits) -> None:
        self._root, self._limits = root, limits
        self._references = References(root)
        #: What each subschema of the caller's became, by its `id()`.
        self.made: dict[int, dict[str, Any]] = {}

    def result(self) -> dict[str, object]:
        loose = self._object(self._root) if self._root else {}
        return loose if isinstance(loose, dict) else {}

    def _part(self, schema: Any) -> Any:
        """A schema within the schema; None where it allows nothing."""
        if schema is True or schema == {}:
            return _any_value()
        if schema is False:
            return None
        return self._object(schema) if isinstance(schema, dict) else schema

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        loose = self.made[id(schema)] = self._loose(schema)
        return loose

    def _loose(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            good = self._references.is_good(schema)
            kept = {"$ref": schema["$ref"]} if good else _any_value()
            return {**kept, **self._definitions(schema)}
        loose = {name: self._member(name, value) for name, value in schema.items()}
        loose = {n: one for n, one in loose.items() if one is not None or schema[n] is None}
        self._bound_text(loose)
        self._bound(loose, "minItems", "maxItems")
        self._bound(loose, "minLength", "maxLength")
        self._close_shapes(loose)
        if not _has_form(loose):
            loose.pop("type", None)
            loose = {**loose, **_any_value()}
        return loose

    def _definitions(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {n: self._member(n, schema[n]) for n in ("$defs", "definitions") if n in schema}

    def _member(self, name: str, value: Any) -> Any:
        """The value of one keyword; None to leave it out."""
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            parts = {key: self._part(part) for key, part in value.items()}
            # A property of that name would be taken for a reference.
            longest = self._limits.most("property_name")
            named = any(key == "$ref" or len(key) > longest for key in parts)
            return None if named else {k: part for k, part in parts.items() if part is not None}
        if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            parts_of = [self._part(part) for part in value]
            return [part for part in parts_of if part is not None] or None
        if name == "items":
            return [self._part(p) for p in value] if isinstance(value, list) else self._part(value)
        if name == "additionalProperties" and isinstance(value, dict):
            return self._part(value)
        if name == "type":
            kinds = [kind for kind in value if kind in TYPES] if isinstance(value, list) else None
            return kinds or None if kinds is not None else value
        # The converter follows references wherever they stand, even where it reads nothing else.
        return None if _mentions_reference(value) else value

    def _bound_text(self, loose: dict[str, Any]) -> None:
        pattern = loose.get("pattern")
        if "pattern" in loose and (not isinstance(pattern, str) or unfit(pattern, self._limits)):
            del loose["pattern"]
        if not isinstance(loose.get("format", ""), str):
            del loose["format"]

    def _bound(self, loose: dict[str, Any], least: str, most: str) -> None:
        limit = self._limits.most("repetition")
        if _above(loose.get(most), limit):
            del loose[most]
        if _above(loose.get(least), limit):
            loose[least] = int(limit)
        if "repetition_reversed" in self._limits and _above(loose.get(least), loose.get(most)):
            del loose[least], loose[most]

    def _close_shapes(self, loose: dict[str, Any]) -> None:
        if "items_after_prefix" in self._limits and "prefixItems" in loose:
            loose.pop("items", None)
        if "parts_without_form" in self._limits and "allOf" in loose:
            parts = loose["allOf"]
            if not isinstance(parts, list) or not all(map(self._has_members, parts)):
                del loose["allOf"]

    def _has_members(self, part: Any) -> bool:
        """Whether the converter finds properties or an enum in a part of `allOf`."""
        if not isinstance(part, dict):
            return False
        if "anyOf" in part:
            return all(map(self._has_members, part["anyOf"]))
        if "$ref" in part:
            target = self._references.target(part)
            return isinstance(target, dict) and ("properties" in target or "enum" in target)
        return "properties" in part or "enum" in part


def _has_form(loose: Mapping[str, Any]) -> bool:
    """Whether the converter finds a grammar in this schema."""
    kind = loose.get("type")
    if isinstance(kind, list) or kind in TYPES:
        return True
    if "type" in loose:
        return False
    if any(word in loose for word in (*_FORMS, "pattern")) or loose.get("format") in FORMATS:
        return True
    return loose.get("additionalProperties", True) is not True


def _mentions_reference(value: Any) -> bool:
    """Whether `$ref` is a name anywhere within a value."""
    return isinstance(value, dict | list) and '"$ref":' in json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _above(one: Any, other: Any) -> bool:
    """Whether both are numbers and the first is larger."""
    return bool(_is_number(one) and _is_number(other) and one > other)


def _is_too_large(schema: dict[str, object], limits: GrammarLimits) -> bool:
    if "grammar_size" not in limits:
        return False
    sent = len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode())
    room = max(limits.most("grammar_size"), limits.times_the_schema * sent)
    return _grammar_bytes(schema) > min(room, _LARGEST_GRAMMAR_BYTES)


def _grammar_bytes(schema: Any) -> float:
    """About how long the grammar of a loosened schema gets, rather too long than too short.

    Each rule begins with the path of its property, and a property is named in up to six rules.
    """
    total, todo = float(_BASE_BYTES), [(schema, 0)]
    while todo:
        node, path = todo.pop()
        if isinstance(node, list):
            todo += [(one, path + 14) for one in node]
            total += 20 * len(node)
        elif isinstance(node, dict):
            for name, value in node.items():
                if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
                    for key, part in value.items():
                        total += 6 * (path + len(json.dumps(key)) + 12)
                        todo.append((part, path + len(key) + 1))
                elif name in ("const", "enum", "pattern"):
                    total += 1.5 * len(json.dumps(value)) + path
                elif isinstance(value, dict | list):
                    todo.append((value, path + 12))
                else:
                    total += path
    return total
