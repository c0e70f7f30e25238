"""The bodies that OpenAI's API takes, for the OpenAPI document. The kinds check what comes in."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from local_llm_service.tasks.chat import MOST_STOP_CHARS, MOST_STOPS, MOST_TOP_LOGPROBS
from local_llm_service.tasks.embed import MOST_DIMENSIONS
from local_llm_service.tasks.request import Priority
from local_llm_service.tasks.tools import MOST_TOOLS
from local_llm_service.worker.store.bounds import LONGEST_DEADLINE_SECONDS

_Stop = Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARS)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Tokens = Annotated[int, Field(ge=1)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Tier = Literal["auto", "default", "flex", "priority", "fast"]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class StreamOptions(_Sent):
    """`include_usage`: one more chunk, with the usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class OurOptions(_Sent):
    """What every call of this service takes, and what says nothing about the answer."""

    model: _Name | None = Field(None, examples=["smollm2:135m"])
    service_tier: _Tier | None = Field(None, description="The queue: high, normal or low")
    priority: Priority | None = Field(None, description="The queue, in this service's words")
    cache: bool | None = None
    cache_scope: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    deadline_seconds: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_SECONDS)] | None = None
    keep_local: bool | None = Field(None, description="Let no word leave one's own hardware")
    user: str | None = None
    metadata: dict[str, str] | None = None


class SampledOptions(OurOptions):
    """How a text is written."""

    max_tokens: _Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Field(ge=1, le=100_000)] | None = None
    min_p: _Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MOST_STOPS)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class TextPart(_Sent):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class CalledFunction(_Sent):
    """A function that was called. `arguments`: a text that holds a JSON object."""

    name: _Name
    arguments: str


class ToolCall(_Sent):
    """A call that the assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(_Sent):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ToolFunction(_Sent):
    """A function with the JSON Schema of its arguments."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Sent):
    """A function that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction


class NamedFunction(_Sent):
    """A function by its name."""

    name: str


class NamedTool(_Sent):
    """The function that the model has to call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchemaFormat(_Sent):
    """The JSON Schema that an answer has to keep."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(_Sent):
    """Text, any JSON object, or JSON by a schema, which counts for nothing elsewhere."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | Any = None


class ChatCompletionBody(SampledOptions):
    """What `/v1/chat/completions` takes."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)] = Field(
        examples=[[{"role": "user", "content": "What is Python?"}]]
    )
    max_completion_tokens: _Tokens | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None


class CompletionBody(SampledOptions):
    """What `/v1/completions` takes."""

    prompt: str | list[str] = Field(examples=["What is Python?"])
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None


class EmbeddingsBody(OurOptions):
    """What `/v1/embeddings` takes."""

    input: str | list[str] = Field(examples=["What is Python?"])
    dimensions: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
