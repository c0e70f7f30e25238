"""What a POST /api/chat asks for, checked in Ollama's order and refused in Ollama's words."""

import json
import os
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api import go_json
from local_llm_service.worker.embedded.ollama_api.durations import keep_alive_nanoseconds
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

DEFAULT_KEEP_ALIVE = "5m"
ROLE, CONTENT = "role", "content"

_TEXT, _FLAG, _LIST = ((str,), "string"), ((bool,), "bool"), (list,)
_MESSAGE: go_json.Shape = {
    ROLE: _TEXT,
    CONTENT: _TEXT,
    "images": (_LIST, "[]api.ImageData"),
    "tool_calls": (_LIST, "[]api.ToolCall"),
    "tool_name": _TEXT,
}
_REQUEST: go_json.Shape = {
    "model": _TEXT,
    "messages": (_LIST, "[]api.Message"),
    "stream": _FLAG,
    "options": ((dict,), "map[string]interface {}"),
    "tools": (_LIST, "api.Tools"),
    "truncate": _FLAG,
    "shift": _FLAG,
    "logprobs": _FLAG,
    "top_logprobs": ((int,), "int"),
}


@dataclass(frozen=True)
class Message:
    """One turn of the conversation. `tool_calls` as Ollama's clients write them."""

    role: str
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class ChatRequest:
    """A valid request for one of this server's models.

    `options` and `format` are unchecked: like Ollama, the server looks at them only after
    scheduling. `keep_alive` is in nanoseconds.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool
    options: dict[str, Any]
    format: Any
    truncate: bool
    shift: bool
    keep_alive: int
    top_logprobs: int | None
    has_images: bool
    tools: tuple[dict[str, Any], ...] = ()

    @property
    def unloads(self) -> bool:
        """True for a request that only unloads the model."""
        return not self.messages and self.keep_alive == 0


def parse_chat(body: bytes) -> ChatRequest:
    """Read the request in `body`; ApiError 400 or 404."""
    given = go_json.read_object(body, "ChatRequest", _REQUEST)
    raw_messages = [_message(one) for one in given.get("messages", [])]
    keep_alive = keep_alive_nanoseconds(given.get("keep_alive", _default_keep_alive()))
    top_logprobs = given.get("top_logprobs", 0)
    if not 0 <= top_logprobs <= 20:
        raise ApiError(400, "top_logprobs must be between 0 and 20")
    _check_capabilities(given, checked_model(given.get("model", "")))
    return ChatRequest(
        model=given["model"],
        messages=tuple(
            Message(m.get(ROLE, ""), m.get(CONTENT, ""), tuple(m.get("tool_calls", ())))
            for m in raw_messages
        ),
        stream=given.get("stream", True),
        options=given.get("options", {}),
        format=given.get("format"),
        truncate=given.get("truncate", True),
        shift=given.get("shift", True),
        keep_alive=keep_alive,
        top_logprobs=top_logprobs if given.get("logprobs", False) else None,
        has_images=any(m.get("images") for m in raw_messages),
        tools=tuple(given.get("tools", ())),
    )


def checked_model(name: str) -> smollm2.EmbeddedModel:
    """The model of a name; ApiError 400 for an invalid one, 404 for one that is not here."""
    if not name:
        raise ApiError(400, "model is required")
    if smollm2.name_parts(name) is None:
        raise ApiError(400, "invalid model name")
    model = smollm2.model_named(name)
    if model is None:
        raise ApiError(404, f"model '{name}' not found")
    return model


def checked_format(value: Any) -> dict[str, Any] | None:
    """Return the JSON Schema that `format` asks for, or None; ApiError 500 for anything else."""
    if value is None or value == "":
        return None
    if value == "json":
        return {"type": "object"}
    if isinstance(value, dict):
        return value
    raw = json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
    raise ApiError(
        500, f'invalid format: {raw}; expected "json" or a valid JSON Schema object', late=True
    )


def _message(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = "string" if isinstance(value, str) else "value"
        raise ApiError(
            400,
            f"json: cannot unmarshal {kind} into Go struct field ChatRequest.messages "
            "of type api.Message",
        )
    message = go_json.fields(value, "ChatRequest.messages", _MESSAGE)
    for call in message.get("tool_calls", ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("arguments", {}), dict):
            raise ApiError(
                400,
                "json: cannot unmarshal value into Go struct field "
                "ChatRequest.messages.tool_calls of type api.ToolCall",
            )
    return message


def _check_capabilities(given: dict[str, Any], model: smollm2.EmbeddedModel) -> None:
    if not model.can("completion"):
        raise ApiError(400, f'"{given["model"]}" does not support chat')
    if given.get("tools") and not model.can("tools"):
        name = "/".join((smollm2.name_parts(given["model"]) or ())[:3])
        tag = (smollm2.name_parts(given["model"]) or ("",))[-1]
        raise ApiError(400, f"{name}:{tag} does not support tools")
    if given.get("think"):
        raise ApiError(400, f'"{given["model"]}" does not support thinking')


def _default_keep_alive() -> Any:
    text = os.environ.get("OLLAMA_KEEP_ALIVE", "") or DEFAULT_KEEP_ALIVE
    return int(text) if text.lstrip("-").isdigit() else text
