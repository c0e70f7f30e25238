"""A JSON Schema as a graph: its subschemas, and where each reference leads, without recursion.

The graph says, in time linear in the schema, whether all references stay inside it, and it is what
schema_work.py counts. No document is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

#: Keyword → the edges of Node that it makes; "" for schemas that only references reach.
_ALONE = {
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "not", "if", "then", "else"), "in_place"),
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), "per_member"),
    **dict.fromkeys(("items", "additionalItems", "unevaluatedItems", "contains"), "per_item"),
    "prefixItems": "by_position",
    "propertyNames": "per_name",
    "contentSchema": "",
}
#: The same for keywords that hold schemas by name.
_NAMED = {
    "properties": "by_name",
    "patternProperties": "per_member",
    "dependentSchemas": "in_place",
    "dependencies": "in_place",
    "$defs": "",
    "definitions": "",
}
_MOST_ID_CHARS = 1000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
#: Compared with the whole instance below them.
_COMPARING = ("enum", "const", "uniqueItems")
#: For these a validator evaluates the schemas beside them again.
_EXPLORING = ("unevaluatedProperties", "unevaluatedItems")


@dataclass(eq=False, slots=True)
class Node:
    """One subschema, with edges to the subschemas that it applies to the same value or below it."""

    schema: dict[str, Any]
    base: str
    in_place: list[Node] = field(default_factory=list)
    #: Targets that depend on where evaluation came from: all that are possible.
    dynamic: list[Node] = field(default_factory=list)
    by_name: dict[str, Node] = field(default_factory=dict)
    per_member: list[Node] = field(default_factory=list)
    per_name: list[Node] = field(default_factory=list)
    by_position: list[Node] = field(default_factory=list)
    per_item: list[Node] = field(default_factory=list)
    references: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_comparing(self) -> bool:
        """Whether a keyword compares whole instances."""
        return any(word in self.schema for word in _COMPARING)

    @property
    def is_exploring(self) -> bool:
        """Whether the schemas in place are evaluated more than once."""
        return any(word in self.schema for word in _EXPLORING)

    @property
    def patterns(self) -> list[str]:
        """Its regular expressions."""
        own, names = self.schema.get("pattern"), self.schema.get("patternProperties")
        found = [own] if isinstance(own, str) else []
        return found + (list(names) if isinstance(names, dict) else [])


class UnresolvedReference(ValueError):
    """A reference that leads out of the schema; its text is the keyword."""


class SchemaGraph:
    """The graph of `schema`, which must be plain JSON without shared parts (out of `json.loads`).

    `legacy`: a draft in which nothing beside `$ref` counts (7 and older). Raises ValueError with
    more than `most` subschemas. It need not be a valid schema: keywords of a wrong type count as
    values.
    """

    def __init__(self, schema: dict[str, Any] | bool, *, legacy: bool, most: int) -> None:
        self._legacy, self._most = legacy, most
        self._nodes: dict[int, Node] = {}
        self._in_order: list[Node] = []
        self._resources: dict[str, dict[str, Any]] = {}
        self._anchors: dict[tuple[str, str], dict[str, Any]] = {}
        self._dynamic: dict[str, list[Node]] = {}
        #: Targets of references at places where a draft expects no schema.
        self.hidden: list[Any] = []
        self.root: Node | None = None
        if isinstance(schema, dict):
            self._resources[""] = schema
            self.root = self._add(schema, "")

    def __iter__(self) -> Iterator[Node]:
        return iter(self._in_order)

    def __len__(self) -> int:
        return len(self._nodes)

    def resolve(self) -> None:
        """Follow all references. Raises UnresolvedReference, and ValueError for too many."""
        for node in self._in_order:  # which grows on the way
            for keyword, reference in node.references:
                target, base = self._look_up(node.base, keyword, reference)
                if not isinstance(target, dict):
                    self.hidden.append(target)
                    continue
                if id(target) not in self._nodes:
                    self.hidden.append(target)
                    self._add(target, base)
                node.in_place.append(self._nodes[id(target)])
        edges = 0
        for node in self._in_order:
            for keyword, reference in node.references:
                if keyword != "$ref":
                    targets = self._dynamic.get(urldefrag(reference)[1], [])
                    edges += len(targets)
                    if edges > self._most:
                        raise ValueError("has too many dynamic references")
                    node.dynamic += targets

    def _add(self, schema: dict[str, Any], base: str) -> Node:
        """Add a schema with all that are written in it."""
        first = self._node(schema, base)
        waiting = [first]
        while waiting:
            node = waiting.pop()
            for edges, name, part in self._parts(node.schema):
                if not isinstance(part, dict):
                    continue
                known = id(part) in self._nodes
                child = self._node(part, node.base)
                if not known:
                    waiting.append(child)
                if edges == "by_name":
                    node.by_name[name] = child
                elif edges:
                    getattr(node, edges).append(child)
        return first

    def _node(self, schema: dict[str, Any], base: str) -> Node:
        found = self._nodes.get(id(schema))
        if found is not None:
            return found
        if len(self._nodes) >= self._most:
            raise ValueError(f"has more than {self._most} subschemas")
        base = self._name(schema, base)
        node = self._nodes[id(schema)] = Node(schema, base)
        self._in_order.append(node)
        node.references = [
            (word, schema[word]) for word in _REFERENCES if isinstance(schema.get(word), str)
        ]
        anchor = schema.get("$dynamicAnchor")
        if isinstance(anchor, str):
            self._dynamic.setdefault(anchor, []).append(node)
        if schema.get("$recursiveAnchor") is True:
            self._dynamic.setdefault("", []).append(node)
        return node

    def _name(self, schema: dict[str, Any], base: str) -> str:
        """Enter the names that a schema gives itself; returns the base of what is in it."""
        if self._legacy and "$ref" in schema:
            return base
        own = schema.get("$id", schema.get("id") if self._legacy else None)
        if isinstance(own, str):
            if len(own) > _MOST_ID_CHARS:
                raise ValueError(f"has an $id of more than {_MOST_ID_CHARS} characters")
            address, fragment = urldefrag(own)
            if address:
                base = _join(base, address)
                self._resources[base] = schema
            if fragment:
                self._anchors[base, fragment] = schema
        for word in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(word), str):
                self._anchors[base, schema[word]] = schema
        return base

    def _parts(self, schema: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """The schemas written in a schema: (its edges, name of the property, schema)."""
        unused = self._legacy and "$ref" in schema
        for word, value in schema.items():
            if word in _NAMED and isinstance(value, dict):
                edges = "" if unused else _NAMED[word]
                yield from ((edges, name, part) for name, part in value.items())
            elif word in _ALONE and isinstance(value, list):
                edges = "by_position" if word == "items" else _ALONE[word]
                yield from (("" if unused else edges, "", part) for part in value)
            elif word in _ALONE:
                yield "" if unused else _ALONE[word], "", value

    def _look_up(self, base: str, keyword: str, reference: str) -> tuple[Any, str]:
        """The value that a reference names, and the base there."""
        try:
            address, fragment = urldefrag(reference)
            base = _join(base, address) if address else base
        except ValueError:
            raise UnresolvedReference(keyword) from None
        resource = self._resources.get(base)
        if resource is None:
            raise UnresolvedReference(keyword)
        if not fragment:
            return resource, base
        name = unquote(fragment)
        if name.startswith("/"):
            return self._follow(resource, base, keyword, name)
        if (base, name) not in self._anchors:
            raise UnresolvedReference(keyword)
        return self._anchors[base, name], base

    def _follow(self, value: Any, base: str, keyword: str, pointer: str) -> tuple[Any, str]:
        """Follow a JSON Pointer (RFC 6901), and `$id`s on the way."""
        resource = value
        for step in pointer.split("/")[1:]:
            if isinstance(value, dict) and value is not resource and id(value) in self._nodes:
                base = self._nodes[id(value)].base
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                raise UnresolvedReference(keyword)
        return value, base


def _join(base: str, address: str) -> str:
    return urldefrag(urljoin(base, address))[0]


def moved(schema: dict[str, Any], place: str) -> Any:
    """A copy of a schema for a place inside another one, "#/$defs/a": its references begin there.

    Raises as SchemaGraph.
    """
    text = json.dumps(schema)
    copy = json.loads(text)
    for node in SchemaGraph(copy, legacy=False, most=len(text)):
        reference = node.schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            node.schema["$ref"] = place + reference[1:]
    return copy
