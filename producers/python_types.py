"""Calls with Python's own types: their arguments as JSON, and their answers as those types.

A class stands for the schema of its instances, a function for that of its call. All else goes to
the kind's request unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Makes the answer that the caller's types ask for of the one that Redis holds.
Reader = Callable[[Any], Any]


def as_json(kind: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Reader | None]:
    """The arguments for a message, and a reader for the answer where a Python type was given.

    Raises InvalidRequest for a class or function of which no schema can be made.
    """
    plain = dict(arguments)
    if kind == "structured_output":
        return _with_class(plain)
    if kind == "extract_parameters":
        return _with_function(plain)
    if kind == "chat":
        return _with_tools(plain), None
    return plain, None


def _with_class(plain: dict[str, Any]) -> tuple[dict[str, Any], Reader | None]:
    # Imported here, because few callers have a use for it.
    from local_llm_service.producers.model_schema import ModelSchema, is_class

    if not is_class(plain.get("schema")):
        return plain, None
    made = ModelSchema.of(plain["schema"])

    def read(answer: Any) -> Any:
        return answer.model_copy(update={"data": made.read(answer.data)})

    return {**plain, "schema": made.schema}, read


def _with_function(plain: dict[str, Any]) -> tuple[dict[str, Any], Reader | None]:
    given = plain.get("function_schema")
    several = given if isinstance(given, list) else [given]
    if all(isinstance(one, Mapping) for one in several):
        return plain, None
    from local_llm_service.producers.function_schema import FunctionSchema, is_function

    made = [FunctionSchema(one) if is_function(one) else None for one in several]
    if not any(made):
        return plain, None
    several_given = given is several
    schemas = [one if own is None else own.schema for one, own in zip(several, made, strict=True)]
    by_name = {own.schema["name"]: own for own in made if own is not None}

    def read(answer: Any) -> Any:
        # An older worker does not name the function.
        own = by_name.get(answer.function) if several_given else made[0]
        return answer if own is None else answer.with_arguments(own.read(answer.parameters))

    return {**plain, "function_schema": schemas if several_given else schemas[0]}, read


def _with_tools(plain: dict[str, Any]) -> dict[str, Any]:
    """A chat's functions as tools, and a class as the format of its answer."""
    tools, wanted = plain.get("tools"), plain.get("response_format")
    if isinstance(tools, list) and any(map(callable, tools)):
        plain["tools"] = [_as_tool(tool) for tool in tools]
    if wanted is not None and not isinstance(wanted, Mapping):
        from local_llm_service.producers.model_schema import ModelSchema, is_class

        if is_class(wanted):
            schema = {"schema": ModelSchema.of(wanted).schema}
            plain["response_format"] = {"type": "json_schema", "json_schema": schema}
    return plain


def _as_tool(tool: Any) -> Any:
    from local_llm_service.producers.function_schema import FunctionSchema, is_function

    if not is_function(tool):
        return tool
    return {"type": "function", "function": FunctionSchema(tool).schema}
