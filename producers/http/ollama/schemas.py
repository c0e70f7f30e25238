"""What Ollama's API replies, for the OpenAPI document. Durations are nanoseconds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from local_llm_service.tasks.answer import Route


class Call(BaseModel):
    """A call that a model makes."""

    id: str
    function: dict[str, Any]


class Message(BaseModel):
    """What a model says, or calls."""

    role: Literal["assistant"]
    content: str
    tool_calls: list[Call] | None = None


class _Reply(BaseModel):
    """What the records of chat and generate share. Those that end a call have counts and times."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    logprobs: list[dict[str, Any]] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    route: Route | None = None


class ChatReply(_Reply):
    """The one record of a chat, or a line of its stream."""

    message: Message


class GenerateReply(_Reply):
    """The one record of a prompt's text, or a line of its stream."""

    response: str


class EmbedReply(BaseModel):
    """One vector for each text."""

    model: str
    embeddings: list[list[float]]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


class EmbeddingsReply(BaseModel):
    """The vector of one text."""

    embedding: list[float]


class ListedModel(BaseModel):
    """A model that a worker has."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: dict[str, Any]
    capabilities: list[str]


class TagsReply(BaseModel):
    """All models."""

    models: list[ListedModel]


class LoadedModel(BaseModel):
    """A model in memory."""

    name: str
    model: str
    size: int
    digest: str
    details: dict[str, Any]
    expires_at: str
    size_vram: int
    context_length: int


class LoadedReply(BaseModel):
    """What is in memory."""

    models: list[LoadedModel]


class ShowReply(BaseModel):
    """One model. `modelfile`, `parameters`, `template` and `tensors` are empty here."""

    modelfile: str
    parameters: str
    template: str
    details: dict[str, Any]
    model_info: dict[str, Any]
    tensors: list[Any]
    capabilities: list[str]
    modified_at: str


class VersionReply(BaseModel):
    """A version of Ollama."""

    version: str
