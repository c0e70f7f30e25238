"""Functions of callers: a name, a description, and the JSON Schema of the parameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, WithJsonSchema

from local_llm_service.tasks.json_schema import check_schema, json_text
from local_llm_service.tasks.request import check_unicode

#: As many as a chat may have tools (tools.py).
MOST_FUNCTIONS = 128
_SHAPE = 'must be {"name", "description"?, "parameters": JSON Schema of an object}'


class Function(BaseModel):
    """A function and the JSON Schema of its parameters."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    name: str = "function"
    description: str = ""
    parameters: dict[str, Any]

    @property
    def properties(self) -> dict[str, Any]:
        """The schema of each parameter that the function's schema names."""
        named = self.parameters.get("properties")
        return named if isinstance(named, dict) else {}

    @property
    def required(self) -> list[str]:
        """The names of the parameters that the function cannot do without."""
        names = self.parameters.get("required")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _functions(value: Any, info: ValidationInfo) -> Function | list[Function]:
    if not isinstance(value, list | tuple):
        return _function(value, info)
    if not value:
        raise ValueError("the list holds no function")
    if len(value) > MOST_FUNCTIONS:
        raise ValueError(f"at most {MOST_FUNCTIONS} functions, got {len(value)}")
    functions = []
    for place, one in enumerate(value, 1):
        try:
            functions.append(_function(one, info))
        except ValueError as error:
            raise ValueError(f"function {place}: {error}") from None
    if len({one.name for one in functions}) < len(functions):
        raise ValueError("two functions have one name")
    # Each schema is within its bound; together they may still be more than any prompt holds.
    json_text([one.parameters for one in functions], info)
    return functions


def _function(value: Any, info: ValidationInfo) -> Function:
    """Also OpenAI's `{"type": "function", "function": {…}}`, and a bare `parameters` object."""
    if isinstance(value, Function):
        return value
    if callable(value):
        raise ValueError("must be plain JSON; a Python function goes to Client only")
    if not isinstance(value, dict):
        raise ValueError(_SHAPE)
    inner = value.get("function")
    function = inner if isinstance(inner, dict) else value
    bare = "properties" in function or function.get("type") == "object"
    if bare and "parameters" not in function:
        function = {"parameters": function}
    for word in ("name", "description"):
        text = function.get(word, "")
        if not isinstance(text, str):
            raise ValueError(f"{word}: must be a text")
        check_unicode(text)
    if not isinstance(function.get("parameters"), dict):
        raise ValueError("parameters: must be a JSON Schema of an object")
    parameters = {"type": "object", **function["parameters"]}
    if parameters["type"] != "object":
        raise ValueError("parameters: must be of type object")
    try:
        check_schema(parameters, info)
    except ValueError as error:
        raise ValueError(f"parameters: {error}") from None
    named = {word: function[word] for word in ("name", "description") if word in function}
    return Function(**named, parameters=parameters)


_ONE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "function"},
        "description": {"type": "string", "default": ""},
        "parameters": {"type": "object"},
    },
    "required": ["parameters"],
}
_SEVERAL = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MOST_FUNCTIONS}
#: One function, or a list of which one is to be chosen.
Functions = Annotated[Any, AfterValidator(_functions), WithJsonSchema({"anyOf": [_ONE, _SEVERAL]})]
