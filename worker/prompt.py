"""The input and the output of an engine: small frozen values, free of any HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

#: A JSON Schema: an object, or true/false.
JsonSchema = dict[str, object] | bool


class Message(TypedDict):
    """One turn of a conversation, as `/api/chat` accepts it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    `max_tokens` bounds the answer. `temperature` 0 gives the most likely text. `schema` constrains
    the answer to JSON of this schema as far as the model server can; the caller still checks it.
    Without `grammar` the server is not told of the schema.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    schema: JsonSchema | None = None
    grammar: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model wrote, with the server's own token counts, and durations in seconds.

    `finish_reason` "length" means that the text was cut at `max_tokens`.
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
    """A model on a model server. `context_tokens`: the context it was trained for, if known."""

    name: str
    digest: str
    size_bytes: int
    context_tokens: int | None
