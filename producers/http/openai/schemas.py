"""The objects that OpenAI's API replies, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from local_llm_service.producers.http.openai.bodies import ToolCall
from local_llm_service.tasks.answer import Route, Timings


class _Said(BaseModel):
    model_config = ConfigDict(defer_build=True)


class Local(_Said):
    """What this service knows of the job beside OpenAI's members."""

    task_id: str
    origin: Literal["computed", "cached", "joined"]
    timings: Timings
    route: Route | None = None
    keep_local: bool = False
    paid_usd: float = 0.0


class Usage(_Said):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class SaidMessage(_Said):
    """What the model says, or calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    annotations: list[Any]
    tool_calls: list[ToolCall] | None = None


class TokenLogprob(_Said):
    """A token's log probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class ContentLogprob(TokenLogprob):
    """The same, with the likeliest other tokens."""

    top_logprobs: list[TokenLogprob]


class Logprobs(_Said):
    """The tokens of a text."""

    content: list[ContentLogprob]
    refusal: None


class ChatChoice(_Said):
    """The one answer."""

    index: int
    message: SaidMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class _Whole(_Said):
    id: str
    created: int
    model: str
    usage: Usage
    system_fingerprint: str | None
    service_tier: Literal["priority", "default", "flex"]
    local: Local


class ChatCompletion(_Whole):
    """OpenAI's `chat.completion`."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class CompletionChoice(_Said):
    """A prompt's text."""

    text: str
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class Completion(_Whole):
    """OpenAI's `text_completion`."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class LocalModel(_Said):
    """What this service knows of a model beside OpenAI's members: of a route, next to nothing."""

    default: bool
    context_tokens: int | None
    size_bytes: int
    digest: str
    workers: int
    leaves_the_house: bool
    alias_of: str | None = None
    is_route: bool = False


class Model(_Said):
    """OpenAI's `model`. `created`: Unix seconds, 0 where workers do not tell it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    local: LocalModel


class ModelList(_Said):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class Embedding(_Said):
    """A text's vector: numbers, or base64 of 32-bit floats, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(_Said):
    """Tokens that were evaluated for this call."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(_Said):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
