"""JSON Schemas from callers: refuse what is none, and check the model's answer against the rest.

`jsonschema` is imported where it is used: it takes 60 ms, and a backend that only summarizes never
needs it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from tasks.request import check_chars, limits_of
from worker.errors import InvalidOutput
from worker.prompt import Completion, JsonSchema

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)


def check_schema(schema: Any, info: ValidationInfo) -> JsonSchema:
    """Raise ValueError where `schema` is no JSON Schema, too deep, or points outside itself."""
    if not isinstance(schema, dict | bool):
        raise ValueError("must be a JSON Schema: an object, true or false")
    limit = limits_of(info).max_schema_depth
    if _deeper_than(limit, schema):
        raise ValueError(f"nested at most {limit} deep (MAX_SCHEMA_DEPTH)")
    try:
        check_chars(len(json.dumps(schema)), info)
    except TypeError:
        raise ValueError("must be plain JSON") from None
    if schema is False:
        raise ValueError("false allows no answer")
    from jsonschema.exceptions import SchemaError

    try:
        type(_validator(schema)).check_schema(schema)  # type: ignore[arg-type]  # true is one
    except SchemaError as error:
        raise ValueError(f"is not a valid JSON Schema at {error.json_path}") from None
    _check_references(schema)
    return schema


#: A JSON Schema of any draft that jsonschema knows; 2020-12 where `$schema` does not say.
Schema = Annotated[Any, AfterValidator(check_schema)]


def read_instance(completion: Completion, schema: JsonSchema) -> Any:
    """The JSON value that the model wrote.

    Raises InvalidOutput where it was cut, is no JSON, or is no instance of `schema`; the message
    names the keyword that failed and holds no text.
    """
    if completion.finish_reason == "length":
        raise InvalidOutput(
            f"the JSON was cut at {completion.completion_tokens} tokens (MAX_OUTPUT_TOKENS)"
        )
    fenced = _FENCE.match(completion.text)
    try:
        instance = json.loads(fenced[1] if fenced else completion.text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidOutput("the model's answer is not JSON") from None
    try:
        error = next(iter(_validator(schema).iter_errors(instance)), None)
    except (RecursionError, re.error):
        raise InvalidOutput("the schema cannot be evaluated: it never ends") from None
    if error is not None:
        raise InvalidOutput(f"the model's JSON breaks the schema's {error.validator!r}")
    return instance


def _validator(schema: JsonSchema) -> Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    # An empty registry: without one jsonschema would fetch remote references over the network.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def _check_references(schema: JsonSchema) -> None:
    """Raise ValueError for a `$ref` that nothing in `schema` itself answers."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root).crawl()
    waiting = [(root, registry.resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop()
        contents = resource.contents
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = contents.get(keyword) if isinstance(contents, dict) else None
            if isinstance(reference, str):
                try:
                    resolver.lookup(reference)
                except (Unresolvable, ValueError):
                    raise ValueError(
                        f"{keyword} must point inside the schema (put it under $defs)"
                    ) from None
        for part in resource.subresources():
            waiting.append((part, resolver.in_subresource(part)))


def _deeper_than(limit: int, value: object) -> bool:
    """Whether lists and objects nest deeper than `limit`; level by level, without recursion."""
    level: list[object] = [value]
    for _ in range(limit + 1):
        level = [
            child
            for item in level
            for child in (
                item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            )
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
