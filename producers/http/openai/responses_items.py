"""Items of OpenAI's Responses, as a conversation of `chat`.

The model is sent text, calls of functions and their results. What it cannot be given (an image, a
file, another service's reasoning) is refused, never left out in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from local_llm_service.worker.errors import InvalidRequest

_TEXT_PARTS = ("input_text", "output_text", "text")
_ROLES = ("user", "assistant", "system", "developer")
#: Members of an item that say nothing to the model.
_SILENT = ("id", "status", "phase", "type")


def items_of(given: Any) -> list[dict[str, Any]]:
    """The items of an `input`, which may be one text. Raises InvalidRequest."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise InvalidRequest("input: must be a text or a list of items")
    if not given:
        raise InvalidRequest("input: must hold at least one item")
    return [_item(one, f"input.{place}") for place, one in enumerate(given)]


def messages_of(
    items: Iterable[Mapping[str, Any]], instructions: str | None = None
) -> list[dict[str, Any]]:
    """The messages of a `chat`, with the instructions before them.

    Calls in a row are one message of the assistant's, and leading system messages are one with the
    instructions, as some chat templates accept no second one.
    """
    messages: list[dict[str, Any]] = []
    for item in items:
        message = _message(item)
        last = messages[-1] if messages else None
        if "tool_calls" in message and last is not None and last["role"] == "assistant":
            last.setdefault("tool_calls", []).extend(message["tool_calls"])
        else:
            messages.append(message)
    return _instructed(messages, instructions)


def _instructed(
    messages: Sequence[dict[str, Any]], instructions: str | None
) -> list[dict[str, Any]]:
    head = 0
    while head < len(messages) and messages[head]["role"] == "system":
        head += 1
    texts = [message["content"] for message in messages[:head]]
    # What `compact` made of a conversation holds the instructions that were sent with it.
    if instructions and not (texts and texts[0].startswith(instructions)):
        texts.insert(0, instructions)
    system = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return [*system, *messages[head:]]


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item["type"]
    if kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
    if kind == "compaction":
        return {"role": "system", "content": item["encrypted_content"]}
    role = "system" if item["role"] == "developer" else item["role"]
    return {"role": role, "content": item["content"]}


def _item(item: Any, path: str) -> dict[str, Any]:
    """One item in its plain form: texts are one text, and only what is known is there."""
    if not isinstance(item, dict):
        raise InvalidRequest(f"{path}: must be an object")
    kind = item.get("type", "message")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise InvalidRequest(
            f"{path}.type: must be one of {', '.join(_READERS)}",
            "This service sends text, calls of functions and their results to the model.",
        )
    return {"type": kind, **read(item, path)}


def _read_message(item: dict[str, Any], path: str) -> dict[str, Any]:
    _only(item, path, "role", "content")
    if item.get("role") not in _ROLES:
        raise InvalidRequest(f"{path}.role: must be one of {', '.join(_ROLES)}")
    return {"role": item["role"], "content": _text(item.get("content"), f"{path}.content")}


def _read_call(item: dict[str, Any], path: str) -> dict[str, Any]:
    _only(item, path, "call_id", "name", "arguments")
    return {name: _word(item, name, path) for name in ("call_id", "name", "arguments")}


def _read_result(item: dict[str, Any], path: str) -> dict[str, Any]:
    _only(item, path, "call_id", "output")
    output = _text(item.get("output"), f"{path}.output")
    return {"call_id": _word(item, "call_id", path), "output": output}


def _read_compaction(item: dict[str, Any], path: str) -> dict[str, Any]:
    _only(item, path, "encrypted_content", "created_by")
    return {"encrypted_content": _word(item, "encrypted_content", path)}


_READERS = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_result,
    "compaction": _read_compaction,
}


def _only(item: dict[str, Any], path: str, *known: str) -> None:
    """Raise InvalidRequest for a member that says something unknown."""
    for name, value in item.items():
        if name not in known and name not in _SILENT and value is not None:
            shown = name if name.isidentifier() and len(name) <= 40 else "a member"
            raise InvalidRequest(f"{path}: {shown} is not known here", "Leave it out.")


def _word(item: dict[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}.{name}: must be a text")
    return value


def _text(content: Any, path: str) -> str:
    """The text of a content, which may be in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"{path}: must be a text or a list of parts")
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            raise InvalidRequest(
                f"{path}.{place}.type: must be input_text or output_text, with a text",
                "This service sends text only to the model.",
            )
        texts.append(text)
    return "\n".join(texts)
