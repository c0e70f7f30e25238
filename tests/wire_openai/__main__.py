"""Records what llama.cpp's server answers at `/v1`, into tests/wire_openai/llama_server/.

    python -m tests.wire_openai

It takes some twenty seconds. Run it after an update of xllamacpp and look at the differences: texts
and times change with each run's machine, statuses, fields and wording should not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.conftest import wait_until
from tests.doubles.llama_server import CALL, MODEL, LlamaServer
from tests.wire_openai.recorder import recorded

FOLDER = Path(__file__).parent / "llama_server"
KEY = {"Authorization": "Bearer recorded-key"}
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
COLOURS = [{"role": "user", "content": "Name three colours."}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": CITY},
}
LONG = [{"role": "user", "content": "word " * 900}]


def chat(**fields: Any) -> dict[str, Any]:
    """A body that asks for a short text, the same at each run."""
    return {
        "model": MODEL,
        "messages": COLOURS,
        "max_tokens": 12,
        "temperature": 0,
        "seed": 1,
        **fields,
    }


def schema(of: Any) -> dict[str, Any]:
    """A response format for a schema, as OpenAI writes it."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": of}}


def chats() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and body of the chats, most of them streamed and not."""
    both: dict[str, dict[str, Any]] = {
        "chat": {},
        "chat_natural_stop": {
            "messages": [{"role": "user", "content": "Say yes."}],
            "max_tokens": 200,
        },
        "chat_stop_sequence": {"stop": ["."]},
        "chat_json_schema": {"response_format": schema(CITY), "max_tokens": 40},
        "chat_json_schema_cut": {"response_format": schema(CITY), "max_tokens": 3},
        "chat_json_schema_bad": {"response_format": schema({"type": "nonsense"})},
        "chat_json_schema_bad_pattern": {
            "response_format": schema({"type": "string", "pattern": "a(?=b)"})
        },
        "chat_json_object": {"response_format": {"type": "json_object"}, "max_tokens": 30},
        "chat_tools_called": {
            "messages": [{"role": "user", "content": CALL}],
            "tools": [WEATHER],
            "max_tokens": 60,
        },
        "chat_tools_cut": {
            "messages": [{"role": "user", "content": CALL}],
            "tools": [WEATHER],
            "max_tokens": 16,
        },
        "chat_tools_required": {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 20},
        "chat_tools_auto": {"tools": [WEATHER], "max_tokens": 20},
        "chat_logprobs": {"logprobs": True, "top_logprobs": 2, "max_tokens": 4},
        "chat_prompt_too_long": {"messages": LONG},
        "chat_answer_too_long": {
            "messages": [{"role": "user", "content": "red " * 460}],
            "max_tokens": 200,
            "ignore_eos": True,
        },
        "chat_unknown_model": {"model": "nosuch:1b"},
    }
    for name, fields in both.items():
        yield f"{name}_nostream", chat(**fields)
        yield f"{name}_stream", chat(**fields, **STREAM)
    yield "chat_stream_without_usage", chat(stream=True)
    yield "chat_temperature_is_text", chat(temperature="hot")
    yield "chat_messages_is_text", chat(messages="Hello")
    yield "chat_no_messages", {"model": MODEL}
    yield "chat_empty_messages", chat(messages=[])
    yield "chat_unknown_role", chat(messages=[{"role": "wizard", "content": "Hello"}])
    yield "chat_unknown_field", chat(colour="red", max_tokens=2)
    yield "chat_max_tokens_0", chat(max_tokens=0, **STREAM)
    yield "chat_two_answers", chat(n=2, max_tokens=4, **STREAM)
    yield "chat_image", chat(messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}])  # fmt: skip
    call = {"id": "call_1", "type": "function"}
    call |= {"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        *COLOURS,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 20 degrees."},
    ]
    yield "chat_tools_result_turn", chat(messages=turns, tools=[WEATHER], **STREAM)


class Recording:
    """The exchanges with one server, each a file."""

    def __init__(self, server: LlamaServer) -> None:
        self._server = server

    def keep(self, name: str, path: str, note: str = "", **request: Any) -> dict[str, Any]:
        """Record one exchange."""
        method = "GET" if path in ("/v1/models", "/health") else "POST"
        request.setdefault("headers", KEY)
        found = recorded(self._server.url.removesuffix("/v1"), method, path, **request)
        about = {"server": "llama.cpp's server", "xllamacpp": version("xllamacpp"), "name": name}
        if note:
            about["note"] = note
        write(FOLDER / f"{name}.json", about | found)
        return found

    def breaks(self) -> None:
        """What is seen when somebody leaves; the server is dead at the end."""
        long = chat(max_tokens=1500, **STREAM)
        for name, fields in (("", {}), ("_with_progress", {"return_progress": True})):
            self._leave_in_prompt(f"client_disconnect_in_prompt{name}", fields)
        self.keep(
            "client_disconnect_stream",
            CHAT,
            "the client closes its socket midway; within 5 s the server's /slots says idle",
            body=long,
            leave_after_lines=8,
        )
        wait_until(lambda: self._server.busy_slots() == 0, "the generation has ended", 5)

        def kill(line: int) -> None:
            if line == 8:
                self._server.kill()

        self.keep(
            "server_killed_midway_stream",
            CHAT,
            "the server was killed while it answered: the chunked body breaks off",
            body=long,
            at_line=kill,
        )

    def _leave_in_prompt(self, name: str, fields: dict[str, Any]) -> None:
        """Leave while the prompt is evaluated, and keep how long that went on."""
        text = ("blue " if fields else "green ") * 450
        body = chat(messages=[{"role": "user", "content": text}], **fields, **STREAM)
        leave: dict[str, Any] = {"leave_when": lambda: self._server.busy_slots() > 0}
        self.keep(
            name,
            CHAT,
            "the client leaves before the first token; idle_after_ms is how long the slot is busy",
            body=body,
            **({"leave_after_lines": 6} if fields else leave),
        )
        began = time.monotonic()
        wait_until(lambda: self._server.busy_slots() == 0, "the generation has ended", 30)
        file = FOLDER / f"{name}.json"
        found = json.loads(file.read_text())
        found["idle_after_ms"] = round((time.monotonic() - began) * 1000)
        write(file, found)


def write(file: Path, found: dict[str, Any]) -> None:
    """Write a recording."""
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Record all."""
    with LlamaServer(context_tokens=512, api_key="recorded-key") as server:
        recording = Recording(server)
        recording.keep("models", "/v1/models")
        recording.keep("health", "/health")
        recording.keep("models_wrong_key", "/v1/models", headers={"Authorization": "Bearer no"})
        recording.keep("chat_no_key", CHAT, headers={}, body=chat())
        recording.keep("chat_malformed_json", CHAT, body_text='{"model": "x", ')
        recording.keep("unknown_route", "/v1/nosuch", body={})
        for name, body in chats():
            recording.keep(name, CHAT, body=body)
        recording.keep("embeddings_of_text_model", EMBEDDINGS, body={"model": MODEL, "input": "a"})
        recording.breaks()
    with LlamaServer(context_tokens=512, api_key="recorded-key", embeds=True) as server:
        recording = Recording(server)
        recording.keep("embeddings", EMBEDDINGS, body={"model": MODEL, "input": ["Hello", "World"]})
        recording.keep(
            "embeddings_too_long", EMBEDDINGS, body={"model": MODEL, "input": "word " * 900}
        )
        recording.keep("chat_of_embedding_model", CHAT, body=chat())


if __name__ == "__main__":
    main()
