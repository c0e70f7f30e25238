"""JSON Schemas from callers: refuses invalid ones, and checks model answers against valid ones.

A hostile schema must hang nobody: all that is done in this process is linear in the schema, and is
counted before it is done (schema_work.py). What counts as more than a few milliseconds is evaluated
in a process of its own, which the job's deadline and cancel kill.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from local_llm_service.tasks import schema_verdict, schema_work
from local_llm_service.tasks.bounded import run_bounded
from local_llm_service.tasks.request import check_chars, check_unicode, limits_of
from local_llm_service.tasks.schema_graph import SchemaGraph, UnresolvedReference
from local_llm_service.worker.errors import InternalError, InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import JsonSchema

#: Bounds of a schema: characters, as it goes into the prompt; subschemas written in it; how many of
#: them may be evaluated for one value, as a reference repeats its target; characters of a pattern,
#: and the weight of all patterns (schema_work.py).
MOST_SCHEMA_CHARS = 100_000
MOST_SUBSCHEMAS = 5000
MOST_ON_ONE_VALUE = 100_000
MOST_PATTERN_CHARS = 10_000
MOST_PATTERN_WEIGHT = 1_000_000
#: Units (20 ns each, see schema_work.py). Up to 5 ms, which is also how long Python lets a thread
#: run, are done in this process; above ten seconds nothing is done.
UNITS_HERE = 250_000
UNITS_AT_ALL = 500_000_000
#: Finding the keyword that an instance breaks takes this much longer than finding that it does.
_NAMING = 350
#: Bounds of counting the work, and of the program that evaluates.
_MOST_STEPS = 20_000
_CPU_SECONDS = 30


def check_schema(schema: Any, info: ValidationInfo) -> JsonSchema:
    """Raise ValueError if `schema` is not a JSON Schema, too deep, or points outside itself."""
    if not isinstance(schema, dict | bool):
        raise ValueError(
            "must be a JSON Schema: an object, true or false; a class goes to Client only"
        )
    text = json_text(schema, info)
    if len(text) > MOST_SCHEMA_CHARS:
        raise ValueError(f"at most {MOST_SCHEMA_CHARS} characters, got {len(text)}")
    if schema is False:
        raise ValueError("false allows no answer")
    _check_meaning(text)
    return schema


def json_text(value: Any, info: ValidationInfo) -> str:
    """A value from a caller as JSON. Raises ValueError for what is not JSON, too deep, too long."""
    limit = limits_of(info).max_schema_depth
    if _deeper_than(limit, value, info):
        raise ValueError(f"nested at most {limit} deep (MAX_SCHEMA_DEPTH)")
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError):
        raise ValueError("must be plain JSON") from None
    check_unicode(text)
    check_chars(len(text), info)
    return text


#: A JSON Schema of draft 4 or later; 2020-12 if `$schema` names none.
Schema = Annotated[Any, AfterValidator(check_schema)]


@dataclass(frozen=True, slots=True)
class Breach:
    """The first keyword of a schema that an instance breaks, and where in the instance.

    All is empty where finding it takes too long. `demand` is what the schema says there, as JSON;
    `place` is a JSON Pointer, which may hold names that a model made up.
    """

    keyword: str = ""
    demand: str = field(default="", repr=False)
    place: str = field(default="", repr=False)

    @property
    def message(self) -> str:
        """What an error may say of it."""
        return "the model's JSON breaks the schema" + (f"'s {self.keyword!r}" * bool(self.keyword))


def check_instance(instance: Any, schema: JsonSchema) -> None:
    """Raise InvalidOutput if a JSON value that the model wrote is not an instance of `schema`."""
    broken = breach(instance, schema)
    if broken is not None:
        raise InvalidOutput(broken.message)


def breach(instance: Any, schema: JsonSchema) -> Breach | None:
    """How a JSON value breaks a schema; None if it is an instance.

    Raises InvalidRequest if the schema makes too much work, and the reasons of `run_bounded`.
    """
    return _breach(_Reading.of(json.dumps(schema)), instance)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A schema as the validator is to read it, and its graph."""

    draft: str
    schema: Any
    graph: SchemaGraph

    @classmethod
    def of(cls, text: str) -> _Reading:
        """Read a schema, which need not be a valid one. Raises ValueError."""
        schema = json.loads(text)  # a copy that shares no parts and may be changed
        named = schema.get("$schema") if isinstance(schema, dict) else None
        address = named.rstrip("#") if isinstance(named, str) else ""
        if address == "http://json-schema.org/draft-03/schema":
            raise ValueError("is of draft 3; write it in draft 4 or later")
        draft = schema_verdict.DRAFTS.get(address, schema_verdict.NEWEST)
        legacy = draft in schema_verdict.LEGACY
        graph = SchemaGraph(schema, legacy=legacy, most=MOST_SUBSCHEMAS)
        for node in graph:
            other = node.schema.get("$schema")
            if isinstance(other, str) and other.rstrip("#") not in schema_verdict.DRAFTS:
                del node.schema["$schema"]  # a metaschema of somebody's own counts as the newest
            if legacy:  # two words that say something and demand nothing
                node.schema.pop("contentMediaType", None)
                node.schema.pop("contentEncoding", None)
        return cls(draft, schema, graph)


def _check_meaning(text: str) -> None:
    """Raise ValueError if a schema is invalid, costs too much, or a reference leads out of it."""
    reading = _Reading.of(text)
    _check_draft(reading.schema)
    graph = reading.graph
    try:
        graph.resolve()
    except UnresolvedReference as error:
        raise ValueError(f"{error} must point inside the schema (put it under $defs)") from None
    for target in graph.hidden:
        # A reference turns its target into a schema, even where no draft looks for one.
        if not isinstance(target, dict | bool):
            raise ValueError("is not a valid JSON Schema: a reference points at a plain value")
        _check_draft(target)
    if schema_work.circle(graph):
        raise ValueError("refers to itself for the same value, which never ends")
    most = schema_work.most_on_one_value(graph)
    if most > MOST_ON_ONE_VALUE:
        raise ValueError(
            f"is too large with its references followed: at most {MOST_ON_ONE_VALUE} subschemas "
            "for one value"
        )
    if any(len(one) > MOST_PATTERN_CHARS for node in graph for one in node.patterns):
        raise ValueError(f"has a pattern of more than {MOST_PATTERN_CHARS} characters")
    if schema_work.building(graph) <= UNITS_HERE:
        _check_build(reading)
    else:
        _check_patterns(graph)


def _check_draft(schema: Any) -> None:
    from jsonschema_rs import ReferencingError, ValidationError, meta

    try:
        meta.validate(schema)
    except ValidationError as error:
        raise ValueError(f"is not a valid JSON Schema at {place_of(error.instance_path)}") from None
    except (ReferencingError, ValueError):
        raise ValueError("is not a valid JSON Schema: a keyword has a wrong type") from None


def _check_build(reading: _Reading) -> None:
    from jsonschema_rs import ReferencingError, ValidationError

    try:
        schema_verdict.validator(reading.draft, reading.schema)
    except ValidationError as error:
        raise ValueError(f"is not a valid JSON Schema at {place_of(error.instance_path)}") from None
    except (ReferencingError, ValueError):
        raise ValueError("is not a valid JSON Schema: a keyword has a wrong type") from None


def _check_patterns(graph: SchemaGraph) -> None:
    """Compile the patterns one at a time, once it is known that all take no longer than 0.1 s."""
    from jsonschema_rs import ValidationError

    if schema_work.pattern_weight(graph) > MOST_PATTERN_WEIGHT:
        raise ValueError(
            "has patterns that are too large with their repeats written out: shorten them, or use "
            "minLength and maxLength"
        )
    for pattern in {pattern for node in graph for pattern in node.patterns}:
        try:
            schema_verdict.validator(schema_verdict.NEWEST, {"pattern": pattern})
        except ValidationError:
            raise ValueError("is not a valid JSON Schema: a pattern is wrong or huge") from None


def place_of(steps: Iterable[str | int]) -> str:
    """A place in a schema, in words: "$.properties.age"."""
    return "$" + "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)


def _breach(reading: _Reading, instance: Any) -> Breach | None:
    graph = reading.graph
    graph.resolve()
    units = schema_work.evaluating(graph, instance, most_steps=_MOST_STEPS)
    if schema_work.CEILING > units > UNITS_AT_ALL:
        raise _too_much()
    if units + schema_work.building(graph) > UNITS_HERE:
        return _judge_elsewhere(reading, instance)
    built = schema_verdict.validator(reading.draft, reading.schema)
    if built.is_valid(instance):
        return None
    if units * _NAMING > UNITS_HERE:
        return _judge_elsewhere(reading, instance)
    return Breach(*schema_verdict.breach(built, instance))


def _judge_elsewhere(reading: _Reading, instance: Any) -> Breach | None:
    """`_breach` in a process of its own."""
    command = [sys.executable, "-P", schema_verdict.__file__, str(_CPU_SECONDS)]
    question = json.dumps([reading.draft, reading.schema, instance])
    code, output = run_bounded(command, question)
    verdict, _, found = output.partition("\n")
    if verdict == "valid":
        return None
    if verdict == "invalid":
        return Breach(*json.loads(found)) if code == 0 else Breach()
    if code < 0:  # its bounds of CPU seconds or memory
        raise _too_much()
    raise InternalError("the check of the answer against its schema failed")


def _too_much() -> InvalidRequest:
    return InvalidRequest("schema: checking the model's answer against it would take too long")


def _deeper_than(limit: int, value: object, info: ValidationInfo) -> bool:
    """Whether lists and objects nest deeper than `limit`; level by level, without recursion.

    Raises ValueError if a level alone is larger than MAX_PROMPT_CHARS: parts that share Python
    objects can double at each level, and are never written out.
    """
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
        check_chars(2 * len(level), info)
    return True
