"""The input and the output of an engine: small frozen values, free of any HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

#: A JSON Schema: an object, or true/false.
JsonSchema = dict[str, object] | bool
#: A text's place among others: the closer, the more alike in meaning. Of length 1.
Vector = Sequence[float]


class FunctionCall(TypedDict):
    """A function that a model wants called, with its arguments."""

    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict):
    """A call that a model makes, as `/api/chat` writes and reads it."""

    function: FunctionCall


class Message(TypedDict):
    """One turn of a conversation, as `/api/chat` accepts it.

    An assistant's turn may hold calls; a tool's turn names the function whose result it is.
    """

    role: str
    content: str
    tool_calls: NotRequired[list[ToolCall]]
    tool_name: NotRequired[str]


#: A function that a model may call: `{"type": "function", "function": {"name", "description",
#: "parameters"}}`.
Tool = Mapping[str, object]


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
    the schema. The model may call any of `tools`; the text ends before the first of the texts in
    `stop`. What is not `spoken` is no text for readers, but a call that is still to be read out of
    it. `in_sentences`: readers get whole sentences, as the answer may leave out one that is cut.
    `top_logprobs`: ask for each token's probability beside that of as many likely others;
    None: do not ask.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    sampling: Sampling = REPEATABLE
    schema: JsonSchema | None = None
    grammar: bool = True
    tools: tuple[Tool, ...] = ()
    stop: tuple[str, ...] = ()
    spoken: bool = True
    in_sentences: bool = False
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """What a model is to turn into vectors, one for each text."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model wrote, with the server's own token counts, and durations in seconds.

    `finish_reason` "length" means that the text was cut at `max_tokens`. `tool_calls` were made
    beside the text or instead of it. `logprobs` has one entry for each token, as the server writes
    it: `{"token", "logprob", "bytes", "top_logprobs"}`; empty where nobody asked. `vectors` are the
    whole answer to `ToEmbed`, in their order.
    """

    text: str
    model: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    load_seconds: float
    prompt_seconds: float
    generation_seconds: float
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    vectors: tuple[Vector, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's own file says, as far as it does.

    `context_tokens` is the context it was trained for. `details` has `format`, `family`,
    `parameter_size`, `quantization_level` and so on, as Ollama writes them; `capabilities` what the
    model is for: "completion", "tools", "embedding".
    """

    context_tokens: int | None = None
    architecture: str = ""
    parameter_count: int | None = None
    embedding_length: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in its server's memory, until `expires_at` (RFC 3339) if nobody uses it again.

    `context_tokens` is the context that it runs with. `vram_bytes` are part of `size_bytes`.
    """

    size_bytes: int
    vram_bytes: int
    context_tokens: int | None
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model on a model server. `context_tokens`: the context it was trained for, if known.

    `modified_at` (RFC 3339) is when it was pulled or made. `loaded` is None while it is not in
    memory, and where the server does not say.
    """

    name: str
    digest: str
    size_bytes: int
    context_tokens: int | None
    modified_at: str | None = None
    facts: ModelFacts | None = None
    loaded: LoadedModel | None = None
