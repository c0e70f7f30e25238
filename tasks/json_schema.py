"""JSON Schemas from callers: refuses invalid ones, and checks model answers against valid ones.

`jsonschema` is imported where it is used, as its import takes 60 ms and a backend that only
summarizes never needs it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from local_llm_service.tasks.request import check_chars, check_unicode, limits_of
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion, JsonSchema

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)


def check_schema(schema: Any, info: ValidationInfo) -> JsonSchema:
    """Raise ValueError if `schema` is not a JSON Schema, too deep, or points outside itself."""
    if not isinstance(schema, dict | bool):
        raise ValueError("must be a JSON Schema: an object, true or false")
    limit = limits_of(info).max_schema_depth
    if _deeper_than(limit, schema):
        raise ValueError(f"nested at most {limit} deep (MAX_SCHEMA_DEPTH)")
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError):
        raise ValueError("must be plain JSON") from None
    check_unicode(text)
    check_chars(len(text), info)
    if schema is False:
        raise ValueError("false allows no answer")
    try:
        _check_meaning(schema)
    except (AttributeError, TypeError):
        # jsonschema and referencing do not check the types of `$id`, `$schema` and of the values
        # that a reference passes through.
        raise ValueError("is not a valid JSON Schema: a keyword has a wrong type") from None
    return schema


#: A JSON Schema of any draft that jsonschema knows; 2020-12 if `$schema` names none.
Schema = Annotated[Any, AfterValidator(check_schema)]


def read_instance(completion: Completion, schema: JsonSchema) -> Any:
    """The JSON value that the model wrote.

    Raises InvalidOutput if the text was cut, is not JSON, or is not an instance of `schema`; the
    message names the keyword that failed and holds no text.
    """
    if completion.finish_reason == "length":
        raise InvalidOutput(
            f"the JSON was cut at {completion.completion_tokens} tokens (MAX_OUTPUT_TOKENS)"
        )
    fenced = _FENCE.match(completion.text)
    try:
        text = fenced[1] if fenced else completion.text
        instance = json.loads(text, parse_constant=_refuse, parse_float=_finite)
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

    # Without an empty registry, jsonschema would fetch remote references over the network.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def _check_meaning(schema: JsonSchema) -> None:
    """Raise ValueError if `schema`, or a target of its references, is not a valid schema.

    The target of a `$ref` becomes a schema by the reference, even at a place where a draft does not
    look for schemas.
    """
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    validator = type(_validator(schema))
    _check_draft(validator, schema)
    root: Resource[Any] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("", root).crawl()
    waiting = [(root, registry.resolver_with_root(root))]
    seen: set[int] = set()
    while waiting:
        resource, resolver = waiting.pop()
        if id(resource.contents) in seen:
            continue
        seen.add(id(resource.contents))
        for keyword, reference in _references(resource.contents):
            found = _look_up(resolver, keyword, reference)
            _check_draft(validator, found.contents)
            target = Resource.from_contents(found.contents, default_specification=DRAFT202012)
            waiting.append((target, found.resolver))
        waiting += [(part, resolver.in_subresource(part)) for part in resource.subresources()]


def _check_draft(validator: type[Validator], schema: Any) -> None:
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, dict | bool):
        raise ValueError("is not a valid JSON Schema: a reference points at a plain value")
    try:
        validator.check_schema(schema)  # type: ignore[arg-type]  # true is one too
    except SchemaError as error:
        raise ValueError(f"is not a valid JSON Schema at {error.json_path}") from None


def _references(schema: Any) -> list[tuple[str, str]]:
    if not isinstance(schema, dict):
        return []
    keywords = ("$ref", "$dynamicRef", "$recursiveRef")
    return [(word, schema[word]) for word in keywords if isinstance(schema.get(word), str)]


def _look_up(resolver: Any, keyword: str, reference: str) -> Any:
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(reference)
    except (Unresolvable, ValueError, TypeError):
        raise ValueError(f"{keyword} must point inside the schema (put it under $defs)") from None


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


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("too large for a float; it could not be stored as JSON")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
