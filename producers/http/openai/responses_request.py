"""A request to OpenAI's Responses: which fields there are, and the `chat` that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.openai.responses_items import items_of, messages_of
from local_llm_service.tasks.chat import ChatRequest
from local_llm_service.tasks.request import Priority
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.keys import PRIORITIES

Tier = Literal["auto", "default", "flex", "priority", "fast"]

_PRIORITY_OF: Mapping[str, Priority] = {
    "auto": "normal",
    "default": "normal",
    "flex": "low",
    "priority": "high",
    "fast": "high",
}
_TIER_OF: Mapping[Priority, str] = {"high": "priority", "normal": "default", "low": "flex"}
#: Seconds of OpenAI's completion windows; "soonest" is no bound.
_WINDOWS = {"2h": 7200.0, "8h": 28_800.0}
_LOGPROBS = "message.output_text.logprobs"
#: What a response may include of tools that are not here: nothing.
_NOTHING = (
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
_NOT_HERE = "cannot be done here"
_DEFAULT_TEMPERATURE = ChatRequest.model_fields["temperature"].default
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


def _metadata(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > 16:
        raise ValueError("at most 16 pairs")
    if any(len(name) > 64 or len(value) > 512 for name, value in pairs.items()):
        raise ValueError("a key has at most 64 characters, a value 512")
    return pairs


Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]


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
    service_tier: Tier | None = None
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


@dataclass(frozen=True)
class ResponseAsk:
    """What a request asks for. `items`: the whole conversation; `echo`: what the object repeats."""

    asked: Asked
    items: list[dict[str, Any]] = field(repr=False)
    echo: dict[str, Any] = field(repr=False)
    is_stored: bool
    in_background: bool
    streams: bool
    webhook: str | None


def refuse(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without fields that say nothing. Raises InvalidRequest for one of REFUSED."""
    for name, remedy in REFUSED.items():
        if body.get(name) is not None:
            raise InvalidRequest(f"{name}: {_NOT_HERE}", remedy)
    return {name: value for name, value in body.items() if name not in REFUSED}


def ask_of(
    request: ResponseRequest,
    caller: Caller,
    before: Sequence[Mapping[str, Any]],
    most_tokens: int,
) -> ResponseAsk:
    """Translate a request; `before`: the conversation that it continues.

    `most_tokens` is the budget of a request that names none. Raises InvalidRequest.
    """
    _check(request)
    own = [] if request.input is None and before else items_of(request.input)
    items = [*map(dict, before), *own]
    tools, choice = _tools(request.tools or []), request.tool_choice
    tools, choice = _chosen(tools, choice)
    priority = _priority(request, caller)
    budget = most_tokens if request.max_output_tokens is None else request.max_output_tokens
    arguments: dict[str, Any] = {
        "messages": messages_of(items, request.instructions),
        "model": request.model,
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _format(request.text),
        "max_tokens": budget,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "priority": priority,
        "deadline_seconds": request.deadline_seconds or _window(request),
        "cache": request.cache,
        "cache_scope": request.cache_scope,
        "stream": bool(request.stream or request.background) or None,
    }
    if request.top_logprobs is not None or _LOGPROBS in (request.include or ()):
        arguments |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    given = {name: value for name, value in arguments.items() if value is not None}
    return ResponseAsk(
        Asked("chat", given),
        items,
        _echo(request, priority),
        is_stored=request.store is not False,
        in_background=bool(request.background),
        streams=bool(request.stream),
        webhook=request.webhook,
    )


def _check(request: ResponseRequest) -> None:
    if request.background and request.store is False:
        raise InvalidRequest(
            "store: a background response has to be stored", "Leave store out, or background."
        )
    if _window(request) is not None and (not request.background or request.stream):
        raise InvalidRequest(
            "background_options.completion_window: is for background=true without a stream"
        )
    for place, name in enumerate(request.include or ()):
        if name != _LOGPROBS and name not in _NOTHING:
            raise InvalidRequest(f"include.{place}: is not known here", f"There is {_LOGPROBS}.")


def _window(request: ResponseRequest) -> float | None:
    window = request.background_options and request.background_options.completion_window
    return _WINDOWS.get(window or "")


def _priority(request: ResponseRequest, caller: Caller) -> Priority:
    """The queue. Of a response that nobody named one for, not above the caller's ceiling."""
    if request.priority is not None:
        return request.priority
    if request.service_tier is not None:
        return _PRIORITY_OF[request.service_tier]
    default: Priority = "high"
    if request.background:
        default = "low" if _window(request) else "normal"
    return max(default, caller.ceiling, key=PRIORITIES.index)


def _tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for place, tool in enumerate(tools):
        if tool.get("type") != "function":
            raise InvalidRequest(
                f"tools.{place}.type: must be function", "This service has no tools of its own."
            )
        function = {name: value for name, value in tool.items() if name != "type"}
        found.append({"type": "function", "function": function})
    return found


def _chosen(tools: list[dict[str, Any]], choice: Any) -> tuple[list[dict[str, Any]], Any]:
    """The tools and the choice, as `chat` takes them."""
    if choice is None or isinstance(choice, str):
        return tools, choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "function":
        return tools, {"type": "function", "function": {"name": choice.get("name")}}
    if kind != "allowed_tools":
        raise InvalidRequest(
            "tool_choice: must be auto, none, required, a function, or allowed_tools"
        )
    allowed, mode = choice.get("tools"), choice.get("mode")
    if mode not in ("auto", "required") or not isinstance(allowed, list):
        raise InvalidRequest("tool_choice: allowed_tools needs tools and mode auto or required")
    names = {one.get("name") for one in allowed if isinstance(one, dict)}
    return [one for one in tools if one["function"].get("name") in names], mode


def _format(text: TextConfig | None) -> dict[str, Any] | None:
    given = text.format if text is not None else None
    if given is None or given.get("type") != "json_schema":
        return given
    inner = {name: value for name, value in given.items() if name != "type" and value is not None}
    return {"type": "json_schema", "json_schema": inner}


def _echo(request: ResponseRequest, priority: Priority) -> dict[str, Any]:
    """What the object says of the request, in the object's own names."""
    text = request.text
    return {
        "background": bool(request.background),
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": request.model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": _TIER_OF[priority],
        "store": request.store is not False,
        "temperature": _DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        "text": {
            "format": (text.format if text is not None else None) or {"type": "text"},
            "verbosity": "medium",
        },
        "tool_choice": "auto" if request.tool_choice is None else request.tool_choice,
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }
