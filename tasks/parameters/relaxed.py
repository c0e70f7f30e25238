"""The schema that the engine keeps: each parameter may be null, which stands for "not said"."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from local_llm_service.tasks.parameters.functions import Function
from local_llm_service.tasks.schema_graph import SchemaGraph, moved

#: Beside these a schema's `properties` do not say alone what an instance is.
_COMPOSING: Final = frozenset(
    (
        *("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if"),
        *("dependentRequired", "dependentSchemas", "dependencies", "minProperties", "enum"),
        *("const", "propertyNames", "unevaluatedProperties"),
    )
)
#: With more parameters the optional ones are the model's to leave out: null for each takes tokens.
MOST_ASKED: Final = 40
_NULL: Final = {"type": "null"}


def is_open(function: Function) -> bool:
    """Whether what is required can be left out of an instance without breaking all of it.

    It cannot where alternatives or conditions speak of the object as a whole.
    """
    properties = function.properties
    known = all(name in properties for name in function.required)
    return bool(properties) and known and not (_COMPOSING & function.parameters.keys())


def takes_nothing(function: Function) -> bool:
    """Whether the function has no parameters: its schema says which it has, and these are none."""
    parameters = function.parameters
    if function.properties or function.required:
        return False
    if {"patternProperties", *_COMPOSING} & parameters.keys():
        return False
    others = parameters.get("additionalProperties")
    return others is False or (others is None and "properties" in parameters)


def asked(function: Function) -> list[str]:
    """The parameters that the model has to write, with null if need be."""
    properties = function.properties
    if len(properties) <= MOST_ASKED:
        return list(properties)
    required = set(function.required)
    return [name for name in properties if name in required]


def relaxed(
    function: Function, names: Collection[str], *, alone: bool, most_elements: int
) -> dict[str, Any]:
    """The schema of an object with the named parameters, each of which may be null.

    `alone`: it has no others. A list has at most `most_elements` where its schema does not say.
    """
    schema = dict(function.parameters)
    parts: dict[str, Any] = {}
    if _refers(schema):
        parts = {"whole": moved(schema, "#/$defs/whole")}
        properties = {name: {"$ref": _pointer(name)} for name in function.properties}
        schema = {"type": "object", "$defs": parts}
    else:
        properties = function.properties
        schema = {word: schema[word] for word in schema if word != "$schema"}
    schema["properties"] = {
        name: {"anyOf": [part, _NULL]} if name in names else part
        for name, part in ((name, _ending(properties[name], most_elements)) for name in properties)
        if name in names or not alone
    }
    return {**schema, "required": list(names), "additionalProperties": False}


def _ending(schema: Any, most_elements: int) -> Any:
    """The schema of a list with an end: small models repeat elements for as long as they may."""
    is_list = isinstance(schema, dict) and schema.get("type") == "array"
    if not is_list or schema.keys() & {"maxItems", "minItems", "prefixItems"}:
        return schema
    return {**schema, "maxItems": most_elements}


def without_required(function: Function, missing: Collection[str]) -> dict[str, Any]:
    """The function's schema for an instance that lacks what the message does not say."""
    required = [name for name in function.required if name not in missing]
    return {**function.parameters, "required": required}


def allows_null(function: Function, name: str) -> bool:
    """Whether null is a value of the parameter like others."""
    return _says(function.properties.get(name), "null")


def is_chosen(schema: Any) -> bool:
    """Whether the schema lists the values itself, so that none of them is copied."""
    if not isinstance(schema, dict):
        return False
    if "enum" in schema or "const" in schema:
        return True
    parts = [part for word in ("anyOf", "oneOf") for part in schema.get(word, ())]
    return any(is_chosen(part) for part in parts)


def _says(schema: Any, kind: str) -> bool:
    if not isinstance(schema, dict):
        return False
    named = schema.get("type")
    if named == kind or (isinstance(named, list) and kind in named):
        return True
    parts = [part for word in ("anyOf", "oneOf") for part in schema.get(word, ())]
    return any(_says(part, kind) for part in parts)


def _refers(schema: dict[str, Any]) -> bool:
    graph = SchemaGraph(json.loads(json.dumps(schema)), legacy=False, most=len(json.dumps(schema)))
    return any(node.references for node in graph)


def _pointer(name: str) -> str:
    step = name.replace("~", "~0").replace("/", "~1").replace("%", "%25")
    return f"#/$defs/whole/properties/{step}"
