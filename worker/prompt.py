"""What goes into an engine and what comes out: small frozen values, free of any HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

#: A JSON Schema: an object, or true/false.
JsonSchema = dict[str, object] | bool


class Message(TypedDict):
    """One turn of a conversation, as `/api/chat` takes it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    `max_tokens` bounds the answer. `temperature` 0 is the most likely text. `schema` constrains the
    answer to JSON of this schema where the model server can express it; the caller still checks.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    schema: JsonSchema | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote. Token counts are the server's own; durations in seconds.

    `finish_reason` "length" means that `max_tokens` was reached: the text is cut there.
    """

    text: str
    model: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    load_seconds: float
    prompt_seconds: float
    generation_seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model on a model server. `context_tokens` is what it was trained for, where known."""

    name: str
    digest: str
    size_bytes: int
    context_tokens: int | None
