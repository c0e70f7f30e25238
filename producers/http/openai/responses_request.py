"""The body of a request to OpenAI's Responses: which fields there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from local_llm_service.producers.http.metadata import Metadata
from local_llm_service.tasks.request import Priority
from local_llm_service.worker.errors import InvalidRequest

ServiceTier = Literal["auto", "default", "flex", "priority", "fast"]

_NOT_HERE = "cannot be done here"
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


class TextConfig(BaseModel):
    """The form of the answer's text."""

    model_config = STRICT

    format: dict[str, Any] | None = None
    verbosity: Literal["medium"] | None = None


class StreamOptions(BaseModel):
    """Of a stream. There is no obfuscation, whatever is asked."""

    model_config = STRICT

    include_obfuscation: bool | None = None


class BackgroundOptions(BaseModel):
    """How long a background response may take; beyond "soonest" it runs when nobody else waits."""

    model_config = STRICT

    completion_window: Literal["soonest", "2h", "8h"] | None = None
    continuation_id: str | None = None


class Reasoning(BaseModel):
    """How long the model thinks before it answers: not at all."""

    model_config = STRICT

    effort: Literal["none"] | None = None
    summary: None = None
    generate_summary: None = None


class ResponseRequest(BaseModel):
    """What the official client can send, and, by `extra_body`, the service's own options.

    A field that is missing here would change the answer and cannot be done.
    """

    model_config = STRICT

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    input: Any = None
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: TextConfig | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: ServiceTier | None = None
    metadata: Metadata | None = None
    truncation: Literal["disabled"] | None = None
    reasoning: Reasoning | None = None
    # Of no effect on the answer.
    max_tool_calls: int | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    # The service's own.
    priority: Priority | None = None
    deadline_seconds: float | None = None
    cache: bool | None = None
    cache_scope: str | None = None
    keep_local: bool | None = None
    webhook: str | None = None


#: Fields of OpenAI's that are refused when they say something, each with what to do instead.
REFUSED = {
    "conversation": "Use previous_response_id, or send all items.",
    "prompt": "Send the prompt itself as input.",
    "context_management": "Shorten the input by /v1/responses/compact.",
    "moderation": "Leave it out.",
    "image": "Leave it out.",
    "access_programs": "Leave it out.",
}


def refuse(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without fields that say nothing. Raises InvalidRequest for one of REFUSED."""
    for name, remedy in REFUSED.items():
        if body.get(name) is not None:
            raise InvalidRequest(f"{name}: {_NOT_HERE}", remedy)
    return {name: value for name, value in body.items() if name not in REFUSED}
