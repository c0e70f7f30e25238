"""`structured_output`: an answer that is an instance of the caller's JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self

from pydantic import Field, model_validator
from typing_extensions import TypeVar  # pydantic's own; typing's has no defaults before 3.13

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.json_answers.asking import ask_for_json
from local_llm_service.tasks.json_answers.lint import check_strict
from local_llm_service.tasks.json_schema import Schema
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.prompt import Prompt

D = TypeVar("D", default=Any)

INSTRUCTION = "Answer with JSON only, an instance of this JSON Schema: {schema}"


class StructuredRequest(JobRequest):
    """`schema` is any JSON Schema whose references stay inside it.

    With `strict` one with keywords that Ollama's grammar does not enforce is refused: without it
    these are checked when the model has written its answer.
    """

    POSITIONAL: ClassVar = ("prompt", "schema", "model")

    prompt: Text
    # pydantic's BaseModel has a method of this name.
    json_schema: Schema = Field(alias="schema")
    strict: bool = False

    @model_validator(mode="after")
    def _is_enforced(self) -> Self:
        if self.strict:
            try:
                check_strict(self.json_schema)
            except ValueError as error:
                raise ValueError(f"schema: {error}") from None
        return self


class StructuredAnswer(Answer, Generic[D]):
    """`data` is an instance of the schema: any JSON value, or an instance of a client's class."""

    CONTENT: ClassVar = "data"
    CONTENT_IS_JSON: ClassVar = True

    data: D


def _prompt(request: StructuredRequest, max_output_tokens: int) -> Prompt:
    schema = json.dumps(request.json_schema, ensure_ascii=False)
    return Prompt(
        (
            {"role": "system", "content": INSTRUCTION.format(schema=schema)},
            {"role": "user", "content": request.prompt},
        ),
        max_output_tokens,
        SAMPLING["structured_output"],
        schema=request.json_schema,
    )


def _work(request: StructuredRequest, ask: Steps) -> Mapping[str, object]:
    prompt = _prompt(request, ask.max_output_tokens)
    kept = ask_for_json(ask, prompt, request.json_schema)
    # What may have been cut of the last completion came after the value.
    return {"data": kept.found.value, "finish_reason": "length" if kept.is_short else "stop"}


structured_output = register(
    Kind(
        name="structured_output",
        description="An instance of the caller's JSON Schema.",
        request=StructuredRequest,
        answer=StructuredAnswer,
        default_priority="high",
        work=_work,
        template_version=3,
    )
)
