"""The keywords of JSON Schema that demand something, and of which types of values."""

from __future__ import annotations

from typing import Any

OBJECT, ARRAY, STRING = frozenset({"object"}), frozenset({"array"}), frozenset({"string"})
NUMBER = frozenset({"number", "integer"})
EVERY = OBJECT | ARRAY | STRING | NUMBER | {"boolean", "null"}

#: Keyword → the types of values that it can refuse. All others only say something.
APPLIES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("type", "const", "enum", "not", "if"), EVERY),
    **dict.fromkeys(("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf"), EVERY),
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties"), OBJECT),
    **dict.fromkeys(("required", "minProperties", "maxProperties", "propertyNames"), OBJECT),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "dependencies"), OBJECT),
    "unevaluatedProperties": OBJECT,
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "unevaluatedItems"), ARRAY),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "contains"), ARRAY),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), STRING),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBER),
    "multipleOf": NUMBER,
}
#: Values of them that refuse nothing.
_NUMBERS = ("minItems", "minLength", "minProperties")
_FLAGS = ("uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
_FIXED = ("const", "enum", "type", "if")


def demands(word: str, value: Any, kinds: frozenset[str]) -> bool:
    """Whether a keyword with this value can refuse a value of one of these types."""
    if not APPLIES.get(word, frozenset()) & kinds:
        return False
    if word in _FIXED:
        return True
    if word in _NUMBERS:
        return bool(value != 0)
    if word in _FLAGS:
        return value is not False
    return value is not True and value not in ({}, [])


def types_of(value: Any) -> frozenset[str]:
    """The types of values that a `type`, alone or in a list, lets through."""
    names = frozenset(value) if isinstance(value, list) else frozenset({value})
    return names | NUMBER if "number" in names else names


def type_of(value: Any) -> str:
    """The type of a JSON value."""
    if value is None:
        return "null"
    by_class = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return by_class.get(type(value), "object")
