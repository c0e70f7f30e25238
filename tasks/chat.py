"""`chat`: the next message of a conversation, which may be calls of the caller's functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.conversation import Conversation, UnicodeText, instructed
from local_llm_service.tasks.job import register
from local_llm_service.tasks.json_answers.asking import ask_until
from local_llm_service.tasks.json_answers.calls import flaw_of_calls, read_forced_call
from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.reading import read_json
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Tokens, check_chars
from local_llm_service.tasks.response_format import (
    ResponseFormat,
    format_instruction,
    schema_of,
)
from local_llm_service.tasks.sampling import SAMPLING, at_temperature, seeded
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.tools import (
    Tool,
    ToolChoice,
    Tools,
    answered,
    as_text,
    call_instruction,
    call_schema,
    forced,
    sent,
)
from local_llm_service.worker.prompt import Completion, Prompt, Sampling, ToolCall

#: Bounds of OpenAI's API.
MOST_STOPS = 4
MOST_STOP_CHARS = 1000
MOST_TOP_LOGPROBS = 20

Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


def _one_or_many(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _stops(stops: list[str]) -> list[str]:
    if len(stops) > MOST_STOPS:
        raise ValueError(f"at most {MOST_STOPS} texts, got {len(stops)}")
    if not all(0 < len(stop) <= MOST_STOP_CHARS for stop in stops):
        raise ValueError(f"each text must have 1 to {MOST_STOP_CHARS} characters")
    return stops


Stops = Annotated[list[UnicodeText], BeforeValidator(_one_or_many), AfterValidator(_stops)]


class ChatRequest(JobRequest):
    """`messages` oldest first, as OpenAI's or Ollama's clients write them.

    `tools` are functions that the model may call (`tool_choice` "auto"), must call ("required", or
    one by its name), or must not ("none"); `parallel_tool_calls=False`: one of them at most.
    `response_format` asks for JSON. With `allow_cut_json` JSON that is cut at `max_tokens` is an
    answer (`finish_reason` "length"), as OpenAI's and Ollama's clients expect it. The text ends
    before the first of the texts in `stop`. The same `seed` gives the same text. What is None is
    the service's default (tasks/sampling.py).
    """

    POSITIONAL: ClassVar = ("messages", "tools", "response_format", "model")

    messages: Conversation
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    allow_cut_json: bool = False
    stop: Stops = Field(default_factory=list)
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Tokens = 500
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=1, le=100_000)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        must_call = forced(self.tools, self.tool_choice)
        if self.response_format is not None and (must_call or self.offered_tools):
            raise ValueError(
                'response_format: cannot be kept beside tools; set tool_choice "none", or make the '
                "answer a tool"
            )
        if self.logprobs and must_call:
            raise ValueError("logprobs: are not given for a call that the model has to make")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs=True")
        chars = sum(len(message.content) for message in self.messages)
        extra = self.model_dump(mode="json", include={"tools", "response_format"})
        calls = [call.model_dump(mode="json") for one in self.messages for call in one.tool_calls]
        try:
            check_chars(chars + len(json.dumps([extra, calls], ensure_ascii=False)), info)
        except ValueError as error:
            raise ValueError(f"messages: {error}, with calls, tools and schema") from None
        return self

    @property
    def must_call(self) -> list[Tool]:
        """The tools of which the model has to call one."""
        return forced(self.tools, self.tool_choice)

    @property
    def offered_tools(self) -> list[Tool]:
        """The tools that the model may call by itself."""
        return self.tools if self.tool_choice == "auto" else []


class AssistantMessage(BaseModel):
    """What the model says. `arguments` of a call are an object that keeps its tool's schema."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: str = "assistant"
    content: str
    tool_calls: list[dict[str, Any]] | None = None

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"role": self.role, "content": self.content}
        return plain if self.tool_calls is None else {**plain, "tool_calls": self.tool_calls}


class ChatAnswer(Answer):
    """`message` is the conversation's next; `finish_reason` "tool_calls": it makes calls.

    `logprobs`, where they were asked for, has one entry for each token: `{"token", "logprob",
    "bytes", "top_logprobs"}`.
    """

    CONTENT: ClassVar = "message"

    message: AssistantMessage
    logprobs: list[dict[str, Any]] | None = None

    @classmethod
    def text_in(cls, content: Any, *, indent: int | None = None) -> str:
        """What the message says: the text that readers of a stream get, too.

        For people (`indent`) it is the calls, as JSON, where it says nothing.
        """
        calls = [call["function"] for call in content.get("tool_calls") or ()]
        if calls and indent is not None and not content["content"]:
            return json.dumps(calls, ensure_ascii=False, indent=indent)
        return str(content["content"])

    @classmethod
    def is_content(cls, content: Any) -> bool:
        """Whether it is a message."""
        return isinstance(content, dict) and isinstance(content.get("content"), str)


def _prompt(request: ChatRequest) -> Prompt:
    messages = [message.as_sent() for message in request.messages]
    schema = schema_of(request.response_format)
    if request.must_call:
        messages = instructed(as_text(messages), call_instruction(request.must_call))
        schema = call_schema(request.must_call)
    elif schema is not None:
        messages = instructed(messages, format_instruction(request.response_format))
    return Prompt(
        tuple(messages),
        request.max_tokens,
        _sampling(request),
        schema=schema,
        tools=sent(request.offered_tools),
        stop=tuple(request.stop),
        spoken=not request.must_call,
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _sampling(request: ChatRequest) -> Sampling:
    sampling = at_temperature(SAMPLING["chat"], request.temperature)
    own = ("top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty")
    chosen: dict[str, Any] = {name: getattr(request, name) for name in own}
    sampling = replace(sampling, **{name: one for name, one in chosen.items() if one is not None})
    return sampling if request.seed is None else seeded(sampling, request.seed)


def _work(request: ChatRequest, ask: Steps) -> Mapping[str, object]:
    prompt = _prompt(request)
    kept = ask_until(ask, prompt, partial(_read, request), prompt.schema)
    return {"finish_reason": "length", **kept.found} if kept.is_short else kept.found


def _read(request: ChatRequest, completion: Completion) -> Mapping[str, object] | Flaw:
    schema = schema_of(request.response_format)
    content, calls = completion.text, list(completion.tool_calls)
    if request.must_call:
        call = read_forced_call(request.must_call, completion)
        if isinstance(call, Flaw):
            return call
        content, calls = "", [call]
    elif schema is not None:
        if completion.finish_reason != "length" or not request.allow_cut_json:
            found = read_json(completion, schema, "max_tokens")
            if isinstance(found, Flaw):
                return found
            content = content if content.strip() == found.text else found.text
    elif (flaw := flaw_of_calls(request.offered_tools, completion)) is not None:
        return flaw
    return _fields(request, completion, content, calls)


def _fields(
    request: ChatRequest, completion: Completion, content: str, calls: list[ToolCall]
) -> Mapping[str, object]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    fields: dict[str, object] = {"message": message, "logprobs": None}
    if calls:
        kept = calls if request.parallel_tool_calls else calls[:1]
        message["tool_calls"] = [answered(call) for call in kept]
        fields["finish_reason"] = "tool_calls"
    if request.logprobs:
        fields["logprobs"] = [dict(token) for token in completion.logprobs]
    return fields


chat = register(
    Kind(
        name="chat",
        description="The next message of a conversation, or calls of the caller's functions.",
        request=ChatRequest,
        answer=ChatAnswer,
        default_priority="high",
        work=_work,
        template_version=2,
        # Text that was cut at the caller's own budget; cut JSON only where the caller allows it.
        cut_is_answer=True,
    )
)
