"""What of a schema the engine's grammar does not enforce, before it costs a generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service import tasks
from local_llm_service.producers.python_types import as_json
from local_llm_service.tasks.json_answers.lint import lint


def lint_schema(schema: Any) -> list[str]:
    """The keywords that only the check of an answer enforces, as "$.properties.age: minimum".

    `schema` is what `structured_output` takes, also a class; or what `extract_parameters` takes, in
    the form of a function with its "parameters", or of a list of functions. A line about one
    of a list begins with the function's name. A model that breaks such a keyword is asked again,
    twice at most; with `strict=True` a call with such a schema is refused. Raises InvalidRequest.
    It asks nobody.
    """
    if _is_of_functions(schema):
        return _of_functions(schema)
    arguments, _ = as_json("structured_output", {"prompt": "lint", "schema": schema})
    request: Any = tasks.structured_output.parse(None, arguments)
    return lint(request.json_schema)


def _is_of_functions(schema: Any) -> bool:
    """As a JSON Schema, a function would say nothing, and so pass as enforced."""
    if isinstance(schema, Mapping):
        return any(isinstance(schema.get(word), Mapping) for word in ("parameters", "function"))
    return isinstance(schema, list)


def _of_functions(schema: Any) -> list[str]:
    arguments, _ = as_json("extract_parameters", {"user_message": "-", "function_schema": schema})
    request: Any = tasks.extract_parameters.parse(None, arguments)
    several = isinstance(schema, list)
    return [
        f"{function.name}: {line}" if several else line
        for function in request.functions
        for line in lint(function.parameters)
    ]
