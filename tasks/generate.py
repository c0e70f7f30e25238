"""`generate`: free text for a prompt, up to `max_tokens`; with a `context`, an answer from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from local_llm_service.tasks.answer import Answer, Usage
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, Tokens
from local_llm_service.tasks.sampling import SAMPLING, at_temperature
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.texts.material import Material, answered_from, as_it_is, shortened
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.fleet.price import usd_of
from local_llm_service.worker.prompt import Message, Prompt


class GenerateRequest(JobRequest):
    """`temperature` 0 gives the most likely text, 2 the wildest.

    A `context` is a text to answer from. It is made short for the prompt, on one's own hardware,
    where the model's context does not hold it, where it has more than `max_context_tokens`, and
    always before a model that leaves the house is asked (then to 100 tokens, if nothing is said).
    """

    POSITIONAL: ClassVar = ("prompt", "system_prompt", "max_tokens", "temperature", "model")

    prompt: Text
    system_prompt: Text | None = None
    max_tokens: Tokens = 500
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    context: Text | None = None
    max_context_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _has_what_it_bounds(self) -> Self:
        if self.max_context_tokens is not None and self.context is None:
            raise ValueError("max_context_tokens: there is no context")
        return self


class ContextUse(BaseModel):
    """What became of a context. All tokens are those of the model at home; `tokens` by estimate.

    `sent_tokens` went to the model that answered: of the context itself, or of what it was made
    short to. `saved_usd` is what the difference would have cost there, 0 for a model without a
    price. `usage` is what making it short has taken; of a model that also answered, it is part of
    the answer's own.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    tokens: int
    sent_tokens: int
    saved_tokens: int
    saved_usd: float
    usage: Usage


class GenerateAnswer(Answer):
    """`finish_reason` "length" at the caller's own `max_tokens` is an answer.

    `context` is there where the call had one.
    """

    CONTENT: ClassVar = "text"

    text: str
    context: ContextUse | None = None


def _prompt(request: GenerateRequest, asked: str) -> Prompt:
    """Without a `system_prompt` there is no system message, so the Modelfile's SYSTEM applies."""
    messages: list[Message] = []
    if request.system_prompt is not None:
        messages.append({"role": "system", "content": request.system_prompt})
    messages.append({"role": "user", "content": asked})
    sampling = at_temperature(SAMPLING["generate"], request.temperature)
    return Prompt(tuple(messages), request.max_tokens, sampling)


def _work(request: GenerateRequest, ask: Steps) -> Mapping[str, object]:
    if request.context is None:
        return {"text": ask(_prompt(request, request.prompt)).text}
    return _from_context(request, request.context, ask)


def _from_context(request: GenerateRequest, context: str, ask: Steps) -> Mapping[str, object]:
    beside = f"{request.system_prompt or ''}\n{request.prompt}"
    most, answer_tokens = request.max_context_tokens, request.max_tokens
    if as_it_is(ask, context, beside, answer_tokens, most):
        likely = ask.likely_tokens(context)
        try:
            completion = ask(_prompt(request, answered_from(context, request.prompt)))
        except ContextOverflow:
            pass  # the estimate was too low: the model has read nothing
        else:
            return _fields(completion.text, Material(context, likely, likely), ask)
    material = shortened(ask, context, request.prompt, beside, answer_tokens, most)
    if ask.at_home is not ask:
        ask.at_home.keep()
    ask.progress(ask.at_home.steps, ask.at_home.steps + 1, "answering")
    completion = ask(_prompt(request, answered_from(material.text, request.prompt)))
    return _fields(completion.text, material, ask)


def _fields(text: str, material: Material, ask: Steps) -> Mapping[str, object]:
    saved_nano = ask.prompt_nano_usd(material.tokens) - ask.prompt_nano_usd(material.sent_tokens)
    use = ContextUse(
        tokens=material.tokens,
        sent_tokens=material.sent_tokens,
        saved_tokens=material.tokens - material.sent_tokens,
        saved_usd=float(usd_of(saved_nano)),
        usage=Usage(
            prompt_tokens=material.prompt_tokens, completion_tokens=material.completion_tokens
        ),
    )
    return {"text": text, "context": use.model_dump()}


generate = register(
    Kind(
        name="generate",
        description="Free text for a prompt.",
        request=GenerateRequest,
        answer=GenerateAnswer,
        default_priority="high",
        work=_work,
        template_version=3,
        cut_is_answer=True,
    )
)
