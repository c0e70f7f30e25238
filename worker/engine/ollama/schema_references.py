"""The references inside a JSON Schema, as Ollama's converter follows them.

It takes `#/…` only, splits it at each slash, and knows no escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from local_llm_service.worker.engine.subschemas import schemas


class References:
    """Finds the target of each `$ref`, and those that lead back to themselves."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._schemas = {id(schema) for schema in schemas(root)}
        self._circles = self._find_circles()

    def is_good(self, schema: Mapping[str, Any]) -> bool:
        """Whether a schema's `$ref` leads to a schema and not back to itself."""
        return self.target(schema) is not None and id(schema) not in self._circles

    def target(self, schema: Mapping[str, Any]) -> Any:
        """The schema that a `$ref` leads to; None if it leads nowhere or not to a schema."""
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        target: Any = self._root
        for step in reference[2:].split("/"):
            if isinstance(target, dict) and step in target:
                target = target[step]
            elif isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            else:
                return None
        return target if isinstance(target, bool) or id(target) in self._schemas else None

    def _find_circles(self) -> set[int]:
        """The schemas whose `$ref` closes a circle that takes no character of the answer.

        Depth first, without Python's stack: a schema is on the way from its first visit until all
        that stands for the same value has been visited.
        """
        circles: set[int] = set()
        done: set[int] = set()
        for start in schemas(self._root):
            way: list[tuple[Mapping[str, Any], Iterator[Any]]] = []
            on_way: set[int] = set()
            todo: list[Mapping[str, Any]] = [start]
            while todo or way:
                if todo:
                    schema = todo.pop()
                    if id(schema) not in done:
                        way.append((schema, iter(self._same_value(schema))))
                        on_way.add(id(schema))
                schema, following = way[-1] if way else (start, iter(()))
                for one in following:
                    if id(one) in on_way:
                        circles.add(id(schema))
                    elif id(one) not in done:
                        todo.append(one)
                        break
                else:
                    if way:
                        way.pop()
                    on_way.discard(id(schema))
                    done.add(id(schema))
        return circles

    def _same_value(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The schemas that stand for the same value as this one."""
        if "$ref" in schema:
            found = [self.target(schema)]
        else:
            lists = [schema.get(name) for name in ("anyOf", "oneOf", "allOf")]
            found = [part for parts in lists if isinstance(parts, list) for part in parts]
        return [one for one in found if isinstance(one, dict)]
