"""`extract_parameters`: the arguments of a function call, read out of a user's message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    ValidationInfo,
)

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.json_answers.reading import read_instance
from local_llm_service.tasks.json_schema import check_schema
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, check_unicode
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.one_step import one_step
from local_llm_service.worker.prompt import Completion, Message, Prompt

INSTRUCTION = (
    "Extract the arguments of {name} from the user's message as JSON. {description}"
    "Copy words and numbers from the message. The JSON Schema is {schema}"
)
#: One worked example, with which a 135M model got 4 of 8 simple calls right instead of 1.
EXAMPLE: tuple[Message, ...] = (
    {
        "role": "user",
        "content": "Fields: item, count, customer\nMessage: Order 3 blue chairs for Ann",
    },
    {"role": "assistant", "content": '{"item": "blue chairs", "count": 3, "customer": "Ann"}'},
)


class Function(BaseModel):
    """A function and the JSON Schema of its arguments."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)

    name: str = "function"
    description: str = ""
    parameters: dict[str, Any]


def _unwrap(value: object) -> object:
    """Accept OpenAI's `{"type": "function", "function": {…}}` and a bare `parameters` object."""
    if callable(value):
        raise ValueError("must be plain JSON; a Python function goes to Client only")
    if not isinstance(value, dict):
        return value
    inner = value.get("function")
    function: dict[Any, Any] = inner if isinstance(inner, dict) else value
    bare = "properties" in function or function.get("type") == "object"
    return {"parameters": function} if bare and "parameters" not in function else function


def _check_function(function: Function, info: ValidationInfo) -> Function:
    parameters = {"type": "object", **function.parameters}
    if parameters["type"] != "object":
        raise ValueError("parameters must be of type object")
    check_unicode(function.name + function.description)
    check_schema(parameters, info)
    return function.model_copy(update={"parameters": parameters})


class ExtractRequest(JobRequest):
    """`function_schema` is `{"name", "description"?, "parameters": JSON Schema of an object}`."""

    POSITIONAL: ClassVar = ("user_message", "function_schema", "model")

    user_message: Text
    function_schema: Annotated[Function, BeforeValidator(_unwrap), AfterValidator(_check_function)]


class ExtractAnswer(Answer):
    """`parameters` is an instance of the function's schema.

    `arguments` are the same for a call, as values of the function's own types where a client was
    given a Python function. What the model left out is left out, and the function's default stands.
    """

    CONTENT: ClassVar = "parameters"
    CONTENT_IS_JSON: ClassVar = True

    parameters: dict[str, Any]
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


def _prompt(request: ExtractRequest, max_output_tokens: int) -> Prompt:
    function = request.function_schema
    instruction = INSTRUCTION.format(
        name=function.name,
        description=f"It does this: {function.description} " if function.description else "",
        schema=json.dumps(function.parameters, ensure_ascii=False),
    )
    properties = function.parameters.get("properties")
    fields = ", ".join(properties) if isinstance(properties, dict) else "as in the schema"
    return Prompt(
        (
            {"role": "system", "content": instruction},
            *EXAMPLE,
            {"role": "user", "content": f"Fields: {fields}\nMessage: {request.user_message}"},
        ),
        max_output_tokens,
        SAMPLING["extract_parameters"],
        schema=function.parameters,
    )


def _read(request: ExtractRequest, completion: Completion) -> Mapping[str, object]:
    return {"parameters": read_instance(completion, request.function_schema.parameters)}


extract_parameters = register(
    Kind(
        name="extract_parameters",
        description="The arguments of a function call, read out of a user's message.",
        request=ExtractRequest,
        answer=ExtractAnswer,
        default_priority="high",
        work=one_step(_prompt, _read),
        template_version=2,
    )
)
