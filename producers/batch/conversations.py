"""Conversations of other programs as arguments of a kind: ShareGPT's, OpenAI's. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from local_llm_service.worker.errors import InvalidRequest

#: Who speaks, in the words of ShareGPT, of OpenAI and of their relatives.
ROLES: Final = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "developer": "system",
    "function": "tool",
    "function_call": "assistant",
    "function_response": "tool",
    "observation": "tool",
}


def turns_of(conversation: object) -> list[dict[str, Any]] | None:
    """Messages of a role and a text each; None for what is no list of messages.

    A content or a role that is not known stays as it is: the kind's request names it.
    """
    if not isinstance(conversation, list) or not conversation:
        return None
    found = [_turn(one) for one in conversation]
    return None if None in found else [one for one in found if one is not None]


def as_arguments(kind: str, conversation: object, rest: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call of `kind` about a conversation, beside `rest`.

    `compress` and `chat` take it whole, with OpenAI's calls, and `summarize` as a transcript; the
    others take one message of a user and, `generate`, one of the system. Raises InvalidRequest for
    one that does not fit.
    """
    arguments = dict(rest)
    turns = turns_of(conversation)
    if kind in ("compress", "chat"):
        if turns is not None and isinstance(conversation, list):
            pairs = zip(conversation, turns, strict=True)
            conversation = [one if _has_calls(one) else turn for one, turn in pairs]
        return arguments | {"messages": conversation}
    if turns is None:
        raise InvalidRequest("messages: must be a list of messages with role and content")
    if kind == "summarize":
        arguments["context"] = "\n".join(f"{one['role']}: {one['content']}" for one in turns)
        return arguments
    system, user = _one_question(kind, turns)
    if kind == "generate":
        own = {"prompt": user} | ({"system_prompt": system} if system else {})
        return own | arguments
    if system:
        raise InvalidRequest(f"messages: {kind} takes no system message")
    return {("user_message" if kind == "extract_parameters" else "prompt"): user} | arguments


def _one_question(kind: str, turns: Sequence[Mapping[str, Any]]) -> tuple[str | None, Any]:
    """The system's message, if there is one, and the user's."""
    system = [one["content"] for one in turns[:-1] if one["role"] == "system"]
    is_question = turns[-1]["role"] == "user" and len(system) == len(turns) - 1 < 2
    if not is_question:
        raise InvalidRequest(
            f"messages: {kind} takes one message of a user, with at most one of the system before",
            "Conversations are for chat, summarize and compress.",
        )
    return (system[0] if system else None), turns[-1]["content"]


def _has_calls(message: Mapping[str, Any]) -> bool:
    """Whether it makes calls of tools, or brings the result of one, in OpenAI's form."""
    return bool(
        (message.get("role") == "assistant" and message.get("tool_calls"))
        or (message.get("role") == "tool" and message.get("tool_call_id"))
    )


def _turn(message: object) -> dict[str, Any] | None:
    """One message; None for what is none."""
    if not isinstance(message, dict):
        return None
    role = message.get("role", message.get("from"))
    if not isinstance(role, str):
        return None
    content = message["content"] if "content" in message else message.get("value")
    return {"role": ROLES.get(role, role), "content": _text_of(content, message)}


def _text_of(content: object, message: Mapping[str, Any]) -> object:
    """The text of a message: parts joined, a call of a tool as the model wrote it."""
    if isinstance(content, list):
        parts = [one.get("text") for one in content if isinstance(one, dict)]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            content = "\n".join(str(part) for part in parts)
    calls = message.get("tool_calls")
    if content in (None, "") and isinstance(calls, list):
        return "\n".join(_call(one) for one in calls)
    if content is None and isinstance(message.get("function_call"), dict):
        return _call({"function": message["function_call"]})
    return content


def _call(call: object) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ""
    arguments = function.get("arguments", "")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return f"{function.get('name', 'function')}({written})"
