"""From a body of Ollama's API to a job: both `chat` and `generate` become the kind `chat`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.ollama.bodies import ChatBody, GenerateBody

#: Arguments of `chat`, by the names that Ollama's callers know them under.
_OPTIONS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
#: The members of a message that Ollama knows; of a tool's, clients have other words for some.
_KNOWN = {"role", "content", "images", "thinking", "tool_calls", "tool_name"}
_WORDS: Mapping[str, str] = {
    **{name: f"options.{name}" for name in _OPTIONS},
    "max_tokens": "options.num_predict",
    "response_format": "format",
}


def asked_by_chat(body: ChatBody, most_tokens: int) -> Asked:
    """The job of a chat. `most_tokens` bounds its answer where the caller does not."""
    messages = [
        {
            name: one
            for name, one in message.items()
            if name in _KNOWN or message.get("role") == "tool"
        }
        for message in body.messages or ()
    ]
    arguments = _shared(body, most_tokens) | {"messages": _with_tool_names(messages)}
    return Asked("chat", arguments | ({"tools": body.tools} if body.tools else {}))


def asked_by_generate(body: GenerateBody, most_tokens: int) -> Asked:
    """The job of a prompt: a conversation of one message, after the system's."""
    messages = [{"role": "user", "content": body.prompt}]
    if body.system:
        messages.insert(0, {"role": "system", "content": body.system})
    return Asked("chat", _shared(body, most_tokens) | {"messages": messages})


def words_of(body: ChatBody | GenerateBody) -> Callable[[str, str], str]:
    """How the caller has named the fields of the job's request; see renaming.py."""
    told = ("system", "prompt") if isinstance(body, GenerateBody) and body.system else ("prompt",)

    def rename(name: str, path: str) -> str:
        if isinstance(body, GenerateBody) and name == "messages":
            place = path.removeprefix(".").partition(".")[0]
            return told[int(place)] if place.isdecimal() and int(place) < len(told) else told[-1]
        return f"{_WORDS.get(name, name)}{path}"

    return rename


def _shared(body: ChatBody | GenerateBody, most_tokens: int) -> dict[str, Any]:
    arguments = {"model": body.model, **body.given.arguments(most_tokens)}
    if body.format is not None:
        arguments |= {"response_format": _response_format(body.format), "allow_cut_json": True}
    if body.logprobs:
        arguments |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    return arguments


def _response_format(wanted: Any) -> dict[str, Any]:
    if wanted == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"schema": wanted}}


def _with_tool_names(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, in which each result names its call.

    Ollama takes results without a name, and its own client drops the id with which LangChain tells
    whose they are: they are in the calls' order then.
    """
    told: list[dict[str, Any]] = []
    names: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            names = _called(message)
        elif message.get("role") == "tool" and names:
            name = names.pop(0)
            if not any(message.get(one) for one in ("tool_name", "name", "tool_call_id")):
                message = {**message, "tool_name": name}
        told.append(message)
    return told


def _called(message: Mapping[str, Any]) -> list[str]:
    """The functions that an assistant's message calls, as far as it is well made."""
    calls = message.get("tool_calls")
    functions = [
        call.get("function") if isinstance(call, dict) else None
        for call in (calls if isinstance(calls, list) else ())
    ]
    names = [one.get("name") if isinstance(one, dict) else None for one in functions]
    return [name for name in names if isinstance(name, str)]
