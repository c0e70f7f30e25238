"""A request to OpenAI's Responses as the `chat` that it asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.openai.dialect import priority_of_tier, tier_of
from local_llm_service.producers.http.openai.responses_items import items_of, messages_of
from local_llm_service.producers.http.openai.responses_request import (
    ResponseRequest,
    ServiceTier,
    TextConfig,
)
from local_llm_service.tasks.chat import ChatRequest
from local_llm_service.tasks.request import Priority
from local_llm_service.worker.errors import InvalidRequest

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
_DEFAULT_TEMPERATURE = ChatRequest.model_fields["temperature"].default
#: Arguments of `chat` as the body has them. A place among messages is none among items.
_OWN_WORDS = {
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "logprobs": "include",
}


def own_words(name: str, path: str) -> str:
    """A field of `chat` in the words of the body."""
    if name == "messages":
        return "input"
    return (
        f"{_OWN_WORDS.get(name, name)}{path.replace('.function', '').replace('.json_schema', '')}"
    )


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


def ask_of(
    request: ResponseRequest, caller: Caller, before: Sequence[Mapping[str, Any]]
) -> ResponseAsk:
    """Translate a request; `before`: the conversation that it continues. Raises InvalidRequest."""
    _check(request)
    own = [] if request.input is None and before else items_of(request.input)
    items = [*map(dict, before), *own]
    usual: Priority = "normal" if _window(request) is None else "low"
    priority = priority_of(request.priority, request.service_tier, caller, usual)
    arguments = {**_arguments(request, items), "priority": priority}
    asked = Asked("chat", {name: one for name, one in arguments.items() if one is not None})
    return ResponseAsk(
        asked,
        items,
        _echo(request, asked),
        is_stored=request.store is not False,
        in_background=bool(request.background),
        streams=bool(request.stream),
        webhook=request.webhook,
    )


def _arguments(request: ResponseRequest, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tools, choice = _chosen(_tools(request.tools or []), request.tool_choice)
    response_format = _format(request.text)
    wants_json = response_format is not None and response_format.get("type") != "text"
    wants_logprobs = request.top_logprobs is not None or _LOGPROBS in (request.include or ())
    return {
        "messages": messages_of(items, request.instructions),
        "model": request.model,
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": response_format,
        "allow_cut_json": True if wants_json else None,  # the status says so
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "logprobs": True if wants_logprobs else None,
        "top_logprobs": request.top_logprobs,
        "deadline_seconds": request.deadline_seconds or _window(request),
        "cache": request.cache,
        "cache_scope": request.cache_scope,
        "keep_local": request.keep_local,
    }


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


def priority_of(
    priority: Priority | None, tier: ServiceTier | None, caller: Caller, usual: Priority = "normal"
) -> Priority:
    """The queue of a call. Of one that names none, the usual, or the caller's where that is less
    urgent. Raises InvalidRequest for two that differ."""
    if tier is not None:
        return priority_of_tier(tier, priority)
    return priority or caller.at_most(usual)


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


def _echo(request: ResponseRequest, asked: Asked) -> dict[str, Any]:
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
        "service_tier": tier_of(asked),
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
