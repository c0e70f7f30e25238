"""`extract_parameters`: the parameters of a function, read out of a user's message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.json_answers.lint import check_strict
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.parameters.choosing import chosen_function
from local_llm_service.tasks.parameters.functions import Function, Functions
from local_llm_service.tasks.parameters.reading import Found, read_parameters
from local_llm_service.tasks.request import JobRequest, Text
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import InvalidOutput

#: Names of parameters in an error, and characters of each: they are as many and as long as a
#: caller likes.
_MOST_NAMED = 5
_NAME_MOST = 80


class ExtractRequest(JobRequest):
    """`function_schema` is `{"name", "description"?, "parameters": JSON Schema of an object}`.

    Of a list of them one is chosen. With `strict` a parameter that is missing or ungrounded fails
    the job, and a schema with keywords that Ollama's grammar does not enforce is refused.
    """

    POSITIONAL: ClassVar = ("user_message", "function_schema", "model")

    user_message: Text
    function_schema: Functions
    strict: bool = False

    @property
    def functions(self) -> list[Function]:
        """The one function, or those to choose from."""
        given: Function | list[Function] = self.function_schema
        return given if isinstance(given, list) else [given]

    @model_validator(mode="after")
    def _is_enforced(self) -> Self:
        for function in self.functions if self.strict else ():
            try:
                check_strict(function.parameters)
            except ValueError as error:
                raise ValueError(f"function_schema: {error}") from None
        return self


class ExtractAnswer(Answer):
    """`parameters` is an instance of the function's schema, but for what is `missing`.

    `missing` are required parameters that the message does not say; `ungrounded` those for which
    the model, asked twice, had a value that the message does not say. At the top of `parameters`
    such a value is left out, and stands in `guesses`; an object stays whole. `defaulted` are filled
    in with the schema's default. `function` is the name of the function; None: of several none
    fits, and there are no parameters.

    `arguments` are the parameters for a call, as values of the function's own types where a client
    was given a Python function. What is left out is left out, and the function's default stands.
    """

    CONTENT: ClassVar = "parameters"
    CONTENT_IS_JSON: ClassVar = True

    parameters: dict[str, Any]
    missing: list[str] = Field(default_factory=list)
    ungrounded: list[str] = Field(default_factory=list)
    defaulted: list[str] = Field(default_factory=list)
    guesses: dict[str, Any] = Field(default_factory=dict)
    function: str | None = None
    _arguments: dict[str, Any] | None = PrivateAttr(None)

    @property
    def arguments(self) -> dict[str, Any]:
        """See the class."""
        return self.parameters if self._arguments is None else self._arguments

    def with_arguments(self, arguments: dict[str, Any]) -> Self:
        """The same answer with arguments of Python's types."""
        answer = self.model_copy()
        answer._arguments = arguments
        return answer


def _work(request: ExtractRequest, ask: Steps) -> Mapping[str, object]:
    function: Function | None = request.functions[0]
    if isinstance(request.function_schema, list):
        function = chosen_function(ask, request.functions, request.user_message)
    found = Found()
    if function is not None:
        found = read_parameters(ask, function, request.user_message)
    if request.strict and function is not None and (found.missing or found.ungrounded):
        raise _not_said(function, found)
    return {
        "parameters": found.parameters,
        "missing": found.missing,
        "ungrounded": found.ungrounded,
        "defaulted": found.defaulted,
        "guesses": found.guesses,
        "function": None if function is None else function.name,
        "finish_reason": "length" if found.is_short else "stop",
    }


def _not_said(function: Function, found: Found) -> InvalidOutput:
    lists = {"missing": found.missing, "ungrounded": found.ungrounded}
    told = "; ".join(f"{word}: {_named(function, names)}" for word, names in lists.items() if names)
    return InvalidOutput(
        f"parameters: the message does not say all of them ({told})",
        "Ask the user for them, or leave out strict=True and look at `missing` and `ungrounded`.",
    )


def _named(function: Function, names: Sequence[str]) -> str:
    """The names that the schema has; others are the model's own words, and only counted."""
    known = [name for name in names if name in function.properties or name in function.required]
    shown = ", ".join(repr(name[:_NAME_MOST]) for name in known[:_MOST_NAMED])
    more = len(names) - len(known[:_MOST_NAMED])
    return " and ".join([*([shown] if shown else []), *([f"{more} more"] if more else [])])


extract_parameters = register(
    Kind(
        name="extract_parameters",
        description="The parameters of a function, read out of a user's message.",
        request=ExtractRequest,
        answer=ExtractAnswer,
        default_priority="high",
        work=_work,
        template_version=3,
    )
)
