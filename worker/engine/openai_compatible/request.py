"""A prompt as the body of `POST /v1/chat/completions`, in the dialect of the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from local_llm_service.worker.engine.openai_compatible.dialect import Dialect
from local_llm_service.worker.prompt import Message, Prompt, Sampling, ToolCall


def chat_body(
    model: str, prompt: Prompt, dialect: Dialect, *, most_tokens: int, form: str
) -> dict[str, Any]:
    """The body that asks for one streamed answer of `most_tokens` at most.

    `form`: one of `dialect.FORMATS`, as far as the prompt wants JSON.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(prompt.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        dialect.bound: most_tokens,
        **_sampling(prompt.sampling),
    }
    if form:
        body["response_format"] = _format(prompt.schema, form)
    if prompt.tools:
        body["tools"] = [dict(tool) for tool in prompt.tools]
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if prompt.top_logprobs is not None:
        # Of no others llama-server makes no log probabilities at all.
        body |= {"logprobs": True, "top_logprobs": max(1, prompt.top_logprobs)}
    return {name: value for name, value in body.items() if name not in dialect.refused}


def strictest_form(prompt: Prompt) -> str:
    """How to ask for the JSON that a prompt wants; nothing where the server is not to be told."""
    if prompt.schema is None or not prompt.grammar:
        return ""
    return "json_schema" if isinstance(prompt.schema, dict) else "json_object"


def _format(schema: object, form: str) -> dict[str, Any]:
    if form == "json_object":
        return {"type": form}
    # Not strict: that takes but a small part of JSON Schema, and the answer is checked anyway.
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": False},
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """All of it, whatever the server's defaults are: vLLM takes these from the model's files.

    What the most likely token alone can be is not bound any further.
    """
    found: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        # The name in vLLM and SGLang, and that in llama-server and LM Studio.
        "repetition_penalty": sampling.repeat_penalty,
        "repeat_penalty": sampling.repeat_penalty,
    }
    if sampling.seed is not None:
        found["seed"] = sampling.seed
    return found


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation with an id for each call, by which a tool's turn names what it answers."""
    ids = _CallIds()
    made: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        if message["role"] == "tool":
            turn["tool_call_id"] = ids.of_result(message.get("tool_name", ""))
        elif calls := message.get("tool_calls"):
            # Some templates fail over an empty text beside calls.
            turn["content"] = message["content"] or None
            turn["tool_calls"] = [_call(one, ids) for one in calls]
        made.append(turn)
    return made


def _call(call: ToolCall, ids: _CallIds) -> dict[str, Any]:
    name, given = call["function"]["name"], call["function"]["arguments"]
    arguments = json.dumps(given, ensure_ascii=False)
    function = {"name": name, "arguments": arguments}
    return {"id": ids.of_call(name), "type": "function", "function": function}


class _CallIds:
    """Makes ids up: our messages have none. The same conversation always gets the same ones."""

    def __init__(self) -> None:
        self._count = 0
        #: Ids and functions of calls without a result.
        self._open: list[tuple[str, str]] = []

    def of_call(self, name: str) -> str:
        """Mistral's models take nothing but nine letters and digits."""
        made = f"call{self._count:05}"
        self._count += 1
        self._open.append((made, name))
        return made

    def of_result(self, name: str) -> str:
        """That of the first call of this function without a result, else of any call."""
        found = next((one for one in self._open if one[1] == name), None)
        if found is None:
            found = self._open[0] if self._open else (self.of_call(name), name)
        self._open.remove(found)
        return found[0]
