"""A Python function as a function schema: what `extract_parameters(message, my_function)` needs.

Signature and docstring are read; the function is never called. The message of a job holds plain
JSON; only the caller's process knows the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NotRequired, Required, TypeGuard, get_type_hints

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from local_llm_service.producers.docstring import read_docstring
from local_llm_service.producers.model_schema import ModelSchema
from local_llm_service.worker.errors import InvalidRequest

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_HINT = "Give each parameter a name and a type that JSON has, or write the JSON Schema yourself."


class FunctionSchema:
    """A function's name, summary and parameters: `schema`. `read` makes arguments of parameters.

    Raises InvalidRequest, which names the parameter, for *args and **kwargs, for one without a
    name to callers or without an annotation, and for a type that JSON does not have.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__name__
        says = read_docstring(function.__doc__)
        hints = _hints(function)
        fields = {
            name: _field(parameter, hints, says.parameters.get(name))
            for name, parameter in _signature(function).parameters.items()
        }
        arguments = _arguments(self._name, fields)
        #: For reading all are optional: an answer lacks what its message had not said.
        self._arguments = _arguments(self._name, {k: _optional(v) for k, v in fields.items()})
        parameters = {k: v for k, v in arguments.schema.items() if k != "title"}
        self.schema: dict[str, Any] = {"name": self._name, "description": says.summary}
        self.schema["parameters"] = {"properties": {}, **parameters}

    def read(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that JSON parameters stand for, which may lack some.

        Raises InvalidOutput; see ModelSchema.
        """
        return self._arguments.read(parameters)


def is_function(function_schema: object) -> TypeGuard[Callable[..., Any]]:
    """Whether a function schema is given as a Python function or method."""
    return inspect.isroutine(function_schema)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise _refusal(f"{function.__name__} has no signature that can be read") from None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise _refusal(
            f"an annotation of {function.__name__} names {error.name!r}, which its module lacks"
        ) from None
    except Exception as error:  # annotations may be any expression
        raise _refusal(
            f"the annotations of {function.__name__} cannot be read ({type(error).__name__})"
        ) from error


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any], text: str | None) -> Any:
    """A parameter as a field of a TypedDict."""
    name = parameter.name
    if parameter.kind not in _BY_NAME:
        raise _refusal(f"parameter {name!r} cannot be given by name")
    if name not in hints:
        raise _refusal(f"parameter {name!r} has no annotation")
    about: dict[str, Any] = {"description": text} if text else {}
    is_required = parameter.default is inspect.Parameter.empty
    if isinstance(parameter.default, str | int | float | None):  # others need not be JSON
        about["json_schema_extra"] = {"default": parameter.default}
    type_: Any = Annotated[hints[name], Field(**about)]
    return Required[type_] if is_required else NotRequired[type_]


def _optional(field: Any) -> Any:
    return NotRequired[field.__args__[0]]


def _arguments(name: str, fields: dict[str, Any]) -> ModelSchema[dict[str, Any]]:
    try:
        return _typed_dict(name, fields)
    except InvalidRequest as error:
        for field, type_ in fields.items():
            try:
                _typed_dict(name, {field: type_})
            except InvalidRequest:
                raise _refusal(f"parameter {field!r} has a type that JSON lacks") from error
        raise


def _typed_dict(name: str, fields: dict[str, Any]) -> ModelSchema[dict[str, Any]]:
    # Not a model: its attributes would forbid names as `schema`, `copy` and `_private`.
    arguments = TypedDict(name, fields)  # type: ignore[misc]
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return ModelSchema(arguments)


def _refusal(what: str) -> InvalidRequest:
    return InvalidRequest(f"function_schema: {what}", _HINT)
