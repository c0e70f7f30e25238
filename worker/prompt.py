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
class Sampling:
    """How the next token is chosen. Nothing of it is left to the model server's own defaults.

    These differ between versions: Ollama 0.24 has a `repeat_penalty` of 1.1, which punishes a model
    for copying a word or a number out of the message; 0.33 has 1.0 (`api/types.go` of both).

    `temperature` 0 gives the most likely text. `top_k`, `top_p` and `min_p` bound the choice.
    Penalties of 1 (`repeat_penalty`) and 0 are none. A `seed` makes the text repeatable; None: it
    differs from call to call.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    # Not 0: Ollama leaves a 0 out when it hands the options to its runner.
    seed: int | None = 1


#: The most likely text, the same at each call.
REPEATABLE = Sampling()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    `max_tokens` bounds the answer. `schema` constrains the answer to JSON of this schema as far as
    the model server can; the caller still checks it. Without `grammar` the server is not told of
    the schema.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    sampling: Sampling = REPEATABLE
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
