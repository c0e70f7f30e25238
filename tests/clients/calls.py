"""The calls that the official `openai` and `ollama` clients have to make here, one a line.

`make test` makes them against a scripted model (tests/http/test_clients.py), `make test-clients`
against the embedded stack, with other versions of the clients. What a small model says is its own:
a call is right where it returns something true, and raises nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

import ollama
import openai
from pydantic import BaseModel

T = TypeVar("T")

#: What a response or a batch says of itself while it goes on.
_RUNNING = ("queued", "validating", "in_progress", "finalizing")

HELLO: list[Any] = [{"role": "user", "content": "Say hello to Ada."}]


class Paint(BaseModel):
    """Small enough for any model."""

    colour: Literal["red", "blue"]


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Bonn", "Paris"]}},
            "required": ["city"],
        },
    },
}
CALLED: list[Any] = [
    {"role": "user", "content": "The weather in Bonn?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
]


@dataclass(frozen=True)
class Site:
    """A service, and the models that it has. Its clients are open until the end of a `with`."""

    url: str
    model: str
    embedding_model: str
    tools_model: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.openai.close()
        self.ollama.close()

    @cached_property
    def openai(self) -> openai.OpenAI:
        """The official client, with nothing but another address."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    @cached_property
    def ollama(self) -> ollama.Client:
        """As OLLAMA_HOST makes it."""
        return ollama.Client(self.url, timeout=60)

    def complete(self, **arguments: Any) -> Any:
        """One chat, short unless `arguments` say otherwise."""
        short = {"max_tokens": 24, "temperature": 0}
        given = {"model": self.model, "messages": HELLO, **short, **arguments}
        return self.openai.chat.completions.create(**given)

    def chat(self, **arguments: Any) -> Any:
        """One chat in Ollama's words."""
        options = {"num_predict": 24, "temperature": 0}
        given = {"model": self.model, "messages": HELLO, "options": options, **arguments}
        return self.ollama.chat(**given)

    def respond(self, **arguments: Any) -> Any:
        """One response."""
        given = {"model": self.model, "input": "Say hello.", "max_output_tokens": 24, **arguments}
        return self.openai.responses.create(**given)


def text_of(chunks: Any) -> str:
    """The text of streamed chunks of OpenAI's."""
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def parsed(site: Site) -> bool:
    """A class as response format, read into an instance."""
    found = site.openai.chat.completions.parse(
        model=site.model, messages=HELLO, temperature=0, response_format=Paint
    )
    return isinstance(found.choices[0].message.parsed, Paint)


def forced_call(site: Site) -> bool:
    """A call that the model has to make."""
    said = site.complete(tools=[WEATHER], tool_choice="required").choices[0]
    (call,) = said.message.tool_calls
    city = json.loads(call.function.arguments)["city"]
    return said.finish_reason in ("tool_calls", "stop") and city in ("Bonn", "Paris")


def helper(site: Site) -> bool:
    """The client's own helper over a stream, which puts the answer together and reads it."""
    with site.openai.chat.completions.stream(
        model=site.model, messages=HELLO, temperature=0, response_format=Paint
    ) as stream:
        types = {event.type for event in stream}
        found = stream.get_final_completion().choices[0].message.parsed
        return isinstance(found, Paint) and {"content.delta", "content.done"} <= types


def refused(site: Site) -> bool:
    """What cannot be done, by its name."""
    try:
        site.complete(n=2)
    except openai.BadRequestError as error:
        return error.param == "n"
    return False


async def _asynchronous(site: Site) -> str:
    client = openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="none", max_retries=0)
    async with client:
        said = await client.chat.completions.create(model=site.model, messages=HELLO, max_tokens=24)
        return said.choices[0].message.content or ""


async def _asynchronous_stream(site: Site) -> str:
    client = openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="none", max_retries=0)
    async with client:
        stream = await client.chat.completions.create(
            model=site.model, messages=HELLO, max_tokens=24, stream=True
        )
        return text_of([chunk async for chunk in stream])


def streamed_response(site: Site) -> bool:
    """The events of a response; the last one holds it."""
    *_, last = site.respond(stream=True)
    return last.type in ("response.completed", "response.incomplete")


def ended(look: Callable[[], T], seconds: float = 120) -> T:
    """What runs in the background, once it has ended. These clients have no call that waits."""
    until = time.monotonic() + seconds
    while getattr(found := look(), "status", None) in _RUNNING:
        assert time.monotonic() < until, "it does not end"
        time.sleep(0.05)
    return found


def background_response(site: Site) -> bool:
    """A response that nobody holds a connection for."""
    begun = site.respond(background=True)
    found = ended(lambda: site.openai.responses.retrieve(begun.id))
    return found.status in ("completed", "incomplete") and bool(found.output_text)


def batch(site: Site) -> bool:
    """A file of two lines, run as a batch; its output has both."""
    client = site.openai
    body = {"model": site.model, "messages": HELLO, "max_tokens": 8}
    lines = [
        {"custom_id": one, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for one in ("a", "b")
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    made = ended(lambda: client.batches.retrieve(made.id))
    output = client.files.content(made.output_file_id or "").text.splitlines()
    deleted = client.files.delete(file.id).deleted
    return deleted and sorted(json.loads(one)["custom_id"] for one in output) == ["a", "b"]


async def _ollama_stream(site: Site) -> str:
    async with ollama.AsyncClient(site.url) as client:
        options = {"num_predict": 24, "temperature": 0}
        parts = await client.chat(site.model, HELLO, stream=True, options=options)
        return "".join([part.message.content or "" async for part in parts])


_SAYS = {"seed": 7, "stop": ["\n\n\n"], "top_p": 0.9, "user": "ada", "service_tier": "flex"}
_SCHEMA = {"name": "paint", "schema": Paint.model_json_schema(), "strict": True}

#: fmt: off
OPENAI: dict[str, Callable[[Site], Any]] = {
    "models.list": lambda s: s.model in [one.id for one in s.openai.models.list()],
    "models.retrieve": lambda s: s.openai.models.retrieve(s.model).id == s.model,
    "chat": lambda s: s.complete().choices[0].message.content,
    "chat, cut": lambda s: s.complete(max_tokens=1).usage.completion_tokens == 1,
    "chat, options": lambda s: s.complete(**_SAYS).service_tier == "flex",
    "chat, JSON by a schema": lambda s: Paint.model_validate_json(
        s.complete(response_format={"type": "json_schema", "json_schema": _SCHEMA})
        .choices[0]
        .message.content
    ),
    "chat.parse": parsed,
    "chat, a call": forced_call,
    "chat, a call's result": lambda s: s.complete(messages=CALLED).choices[0].message.content,
    "chat, refused": refused,
    "chat, streamed": lambda s: text_of(s.complete(stream=True)),
    "chat, streamed with usage": lambda s: (
        list(s.complete(stream=True, stream_options={"include_usage": True}))[-1].usage.total_tokens
        > 0
    ),
    "chat.stream": helper,
    "chat, asynchronous": lambda s: asyncio.run(_asynchronous(s)),
    "chat, asynchronous and streamed": lambda s: asyncio.run(_asynchronous_stream(s)),
    "embeddings": lambda s: (
        len(s.openai.embeddings.create(model=s.embedding_model, input=["a", "b"]).data) == 2
    ),
    "responses": lambda s: s.respond().output_text,
    "responses, streamed": streamed_response,
    "responses, in the background": background_response,
    "files and batches": batch,
}
OLLAMA: dict[str, Callable[[Site], Any]] = {
    "list": lambda s: s.model in [one.model for one in s.ollama.list().models],
    "show": lambda s: s.ollama.show(s.model).capabilities,
    "ps": lambda s: s.ollama.ps().models is not None,
    "chat": lambda s: s.chat().message.content,
    "chat, streamed": lambda s: [*s.chat(stream=True)][-1].done_reason in ("stop", "length"),
    "chat, JSON by a schema": lambda s: Paint.model_validate_json(
        s.chat(format=Paint.model_json_schema()).message.content
    ),
    "chat, with tools": lambda s: s.chat(model=s.tools_model, tools=[WEATHER]).done,
    "chat, asynchronous and streamed": lambda s: asyncio.run(_ollama_stream(s)),
    "generate": lambda s: s.ollama.generate(s.model, "Hi", options={"num_predict": 9}).response,
    "generate, streamed": lambda s: (
        [*s.ollama.generate(s.model, "Hi", stream=True, options={"num_predict": 9})][-1].done
    ),
    "embed": lambda s: len(s.ollama.embed(s.embedding_model, ["a", "b"]).embeddings) == 2,
}
