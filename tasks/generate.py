"""`generate`: free text for a prompt, up to `max_tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, Tokens
from local_llm_service.tasks.sampling import SAMPLING, at_temperature
from local_llm_service.tasks.steps.one_step import one_step
from local_llm_service.worker.prompt import Completion, Message, Prompt


class GenerateRequest(JobRequest):
    """`temperature` 0 gives the most likely text, 2 the wildest."""

    POSITIONAL: ClassVar = ("prompt", "system_prompt", "max_tokens", "temperature", "model")

    prompt: Text
    system_prompt: Text | None = None
    max_tokens: Tokens = 500
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7


class GenerateAnswer(Answer):
    """`finish_reason` "length" at the caller's own `max_tokens` is an answer."""

    CONTENT: ClassVar = "text"

    text: str


def _prompt(request: GenerateRequest, _: int) -> Prompt:
    """Without a `system_prompt` there is no system message, so the Modelfile's SYSTEM applies."""
    messages: list[Message] = []
    if request.system_prompt is not None:
        messages.append({"role": "system", "content": request.system_prompt})
    messages.append({"role": "user", "content": request.prompt})
    sampling = at_temperature(SAMPLING["generate"], request.temperature)
    return Prompt(tuple(messages), request.max_tokens, sampling)


def _read(_: GenerateRequest, completion: Completion) -> Mapping[str, object]:
    return {"text": completion.text}


generate = register(
    Kind(
        name="generate",
        description="Free text for a prompt.",
        request=GenerateRequest,
        answer=GenerateAnswer,
        default_priority="high",
        work=one_step(_prompt, _read),
        template_version=2,
        cut_is_answer=True,
    )
)
