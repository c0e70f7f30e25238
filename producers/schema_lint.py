"""What of a schema the engine's grammar does not enforce, before it costs a generation."""

from __future__ import annotations

from typing import Any

from local_llm_service import tasks
from local_llm_service.producers.python_types import as_json
from local_llm_service.tasks.json_answers.lint import lint


def lint_schema(schema: type[Any] | dict[str, Any] | bool) -> list[str]:
    """The keywords that only the check of an answer enforces, as "$.properties.age: minimum".

    `schema` is what `structured_output` takes, also a class. A model that breaks such a keyword is
    asked again, twice at most; with `strict=True` a call with such a schema is refused. Raises
    InvalidRequest. It asks nobody.
    """
    arguments, _ = as_json("structured_output", {"prompt": "lint", "schema": schema})
    request: Any = tasks.structured_output.parse(None, arguments)
    return lint(request.json_schema)
