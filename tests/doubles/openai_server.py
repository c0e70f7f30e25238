"""A scripted server of `/v1/chat/completions`: vLLM's shapes by default, OpenAI's faults on demand.

    with OpenAiServer() as server:
        server.say("Paris.", Reply(status=429, headers=(("Retry-After", "1"),)))
        ... an engine at server.url ...
        server.requests[0].body, server.requests[0].headers

What it is told to say comes in that order, then `respond` decides. Any thread may use it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from local_llm_service.testing.scripted_run import tokens
from local_llm_service.worker.engine.abandoned import PROBE
from local_llm_service.worker.tokens.counting import is_counting
from tests.doubles import openai_errors as errors
from tests.doubles.ollama import vector_of
from tests.doubles.serving import Heard, Seen, WireServer, chunk, plain, watched

#: What a chat template adds to the words of a prompt.
TEMPLATE_TOKENS = 9

CHAT, EMBEDDINGS, MODELS, VERSION = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/models",
    "/version",
)


@dataclass(frozen=True)
class Reply:
    """One answer: pieces of text with a pause before each, and how it ends.

    `end`: "done" (as vLLM ends), "no_done" (without `data: [DONE]`), "cut" (the connection breaks
    after the pieces), "silent" (the body ends there), "error" (an error event there: `error`),
    "hang" (nothing more is ever sent). `usage`: in a chunk of its own, in the last chunk with text
    ("with_finish"), or never. A `status` other than 200 sends `error` and `headers` alone; any
    other answer has them, too.
    """

    chunks: tuple[str, ...] = ("Hello", ".")
    pause_seconds: float = 0.0
    first_seconds: float = 0.0
    end: Literal["done", "no_done", "cut", "silent", "error", "hang"] = "done"
    #: None: no chunk has one.
    finish_reason: str | None = "stop"
    #: None: a token for each word, and what the template adds.
    prompt_tokens: int | None = None
    #: None: a token for each piece.
    completion_tokens: int | None = None
    usage: Literal["own", "with_finish", "never"] = "own"
    status: int = 200
    error: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    #: Thoughts before the answer, in `reasoning_content`.
    reasoning: tuple[str, ...] = ()
    #: What a model of OpenAI says instead of an answer, in `refusal`.
    refusal: str = ""
    #: Function and arguments of calls; the arguments come in pieces.
    tool_calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    #: The log-probability of each piece, sent only where a request asks for it.
    logprobs: tuple[float, ...] = ()
    #: How the stream is written: ends of lines, comments between events, escapes instead of UTF-8,
    #: and the most bytes of one write.
    line_end: str = "\n"
    pings: bool = False
    escaped: bool = False
    bytes_at_once: int | None = None
    #: Sent as the body of the stream as it is, instead of all that.
    raw: bytes | None = None

    @classmethod
    def fault(cls, error: errors.Error, *headers: tuple[str, str]) -> Reply:
        """The reply with an error of `openai_errors`."""
        return cls(status=error[0], error=error[1], headers=headers)


@dataclass
class OpenAiServer(WireServer):
    """The server; `requests` has those for chats, `embedded` for vectors, `asked` all other paths.
    `probes` only ask whether a slot is free, `counted` only count a text: both take nothing that is
    to be said.

    With an `api_key` it refuses others. It refuses a request that names an argument of `refuses`,
    as OpenAI does, and one whose prompt and answer are more than `context_tokens`, as vLLM does.
    """

    respond: Callable[[dict[str, Any]], Reply] = lambda _: Reply()
    #: The same for vectors, where only `first_seconds`, `end` and an error count.
    respond_to_texts: Callable[[dict[str, Any]], Reply] = lambda _: Reply()
    models: tuple[str, ...] = ("large",)
    api_key: str | None = None
    refuses: tuple[str, ...] = ()
    context_tokens: int = 131_072
    #: What `/v1/models` says of a model beside its name.
    facts: dict[str, Any] = field(default_factory=lambda: {"max_model_len": 131_072})
    #: What `/version` says; None: there is no such route, as at OpenAI.
    version: str | None = "0.11.2"
    #: The status of `/v1/models`; None: it never answers.
    listed_status: int | None = 200
    requests: list[Seen] = field(default_factory=list)
    probes: list[Seen] = field(default_factory=list)
    counted: list[Seen] = field(default_factory=list)
    embedded: list[Seen] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _to_say: deque[Reply] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def say(self, *replies: Reply | str) -> None:
        """Answer the next requests so; a text is an answer in words."""
        made = (one if isinstance(one, Reply) else Reply(words(one)) for one in replies)
        with self._lock:
            self._to_say.extend(made)

    async def answer(
        self, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """See WireServer."""
        if self.api_key and heard.headers.get("authorization") != f"Bearer {self.api_key}":
            return await self._write(writer, *errors.wrong_key())
        if heard.path == CHAT:
            seen = Seen(heard.json(), time.monotonic(), heard.headers)
            self._kept_in(seen.body).append(seen)
            return await watched(seen, reader, self._chat(seen.body, writer))
        if heard.path == EMBEDDINGS:
            seen = Seen(heard.json(), time.monotonic(), heard.headers)
            self.embedded.append(seen)
            return await watched(seen, reader, self._vectors(seen.body, writer))
        self.asked.append(heard.path)
        if heard.path == MODELS:
            if self.listed_status is None:
                await asyncio.sleep(3600)
            body = self._listed() if self.listed_status == 200 else {"detail": "Not so"}
            return await self._write(writer, self.listed_status or 200, body)
        if heard.path == VERSION and self.version is not None:
            return await self._write(writer, 200, {"version": self.version})
        return await self._write(writer, 404, {"detail": "Not Found"})

    async def _write(
        self, writer: Any, status: int, body: object, headers: tuple[tuple[str, str], ...] = ()
    ) -> bool:
        plain(writer, status, body, headers)
        await writer.drain()
        return True

    async def _chat(self, body: dict[str, Any], writer: Any) -> bool:
        refused = self._refused(body)
        reply = Reply.fault(refused) if refused else self._next(body)
        await asyncio.sleep(reply.first_seconds)
        if reply.status != 200:
            return await self._write(writer, reply.status, reply.error, reply.headers)
        chunk_type = "Content-Type: text/event-stream; charset=utf-8"
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
        writer.write(
            f"HTTP/1.1 200 OK\r\n{chunk_type}\r\n{more}Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        if reply.raw is not None:
            await self._send(reply, reply.raw, writer)
        else:
            for event in events(reply, body):
                await self._send_event(reply, event, writer)
        if reply.end == "hang":
            await asyncio.sleep(3600)
        if reply.end != "cut":
            chunk(writer, b"")
        await writer.drain()
        return reply.end != "cut"

    async def _send_event(self, reply: Reply, event: dict[str, Any] | str, writer: Any) -> None:
        if reply.pause_seconds:
            await asyncio.sleep(reply.pause_seconds)
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=reply.escaped)
        ping = f": ping{reply.line_end * 2}" if reply.pings else ""
        await self._send(reply, f"{ping}data: {text}{reply.line_end * 2}".encode(), writer)

    async def _send(self, reply: Reply, content: bytes, writer: Any) -> None:
        size = reply.bytes_at_once or len(content)
        for start in range(0, len(content), size):
            chunk(writer, content[start : start + size])
            await writer.drain()

    def _kept_in(self, body: dict[str, Any]) -> list[Seen]:
        """Where a request for a chat is kept."""
        bound = body.get("max_tokens", body.get("max_completion_tokens", 0))
        if [dict(one) for one in PROBE.messages] == body["messages"] and bound == PROBE.max_tokens:
            return self.probes
        return self.counted if is_counting(body["messages"], bound) else self.requests

    def _next(self, body: dict[str, Any]) -> Reply:
        if self._kept_in(body) is not self.requests:
            return Reply(("A",), finish_reason="length", prompt_tokens=prompt_tokens(body))
        with self._lock:
            said = self._to_say.popleft() if self._to_say else None
        reply = said or self.respond(body)
        return replace(reply, prompt_tokens=reply.prompt_tokens or prompt_tokens(body))

    def _refused(self, body: dict[str, Any]) -> errors.Error | None:
        """What it has against a request."""
        if body["model"] not in self.models:
            return errors.vllm_model_missing(body["model"])
        for name in self.refuses:
            if name in body:
                other = {"max_tokens": "max_completion_tokens"}.get(name)
                return errors.unsupported(name, other)
        answer = body.get("max_tokens", body.get("max_completion_tokens", 0))
        if prompt_tokens(body) + answer > self.context_tokens:
            return errors.vllm_overflow(prompt_tokens(body), answer, self.context_tokens)
        return None

    async def _vectors(self, body: dict[str, Any], writer: Any) -> bool:
        with self._lock:
            reply = self._to_say.popleft() if self._to_say else self.respond_to_texts(body)
        await asyncio.sleep(reply.first_seconds)
        if reply.end == "hang":
            await asyncio.sleep(3600)
        if reply.end == "cut":
            return False
        if reply.status != 200:
            return await self._write(writer, reply.status, reply.error, reply.headers)
        data = [
            {"index": place, "object": "embedding", "embedding": vector_of(text)}
            for place, text in enumerate(body["input"])
        ]
        count = sum(len(text.split()) for text in body["input"])
        usage = {"prompt_tokens": count, "total_tokens": count}
        # In no particular order: `index` says which text each is of.
        return await self._write(
            writer,
            200,
            {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage},
        )

    def _listed(self) -> dict[str, Any]:
        entry = {"object": "model", "created": 1_763_800_000, "owned_by": "vllm", **self.facts}
        return {"object": "list", "data": [{"id": name, **entry} for name in self.models]}


def words(text: str) -> tuple[str, ...]:
    """A text in pieces of a word each."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def prompt_tokens(body: dict[str, Any]) -> int:
    """A token for each word of a chat, and what the template adds."""
    return TEMPLATE_TOKENS + sum(len(tokens(one.get("content") or "")) for one in body["messages"])


def events(reply: Reply, body: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """What a reply sends after `data: `, in order."""
    yield _chunk(body, {"role": "assistant", "content": ""})
    for thought in reply.reasoning:
        yield _chunk(body, {"reasoning_content": thought})
    for place, text in enumerate(reply.chunks):
        event = _chunk(body, {"content": text})
        if body.get("logprobs") and reply.logprobs:
            entry = _logprob(text, reply.logprobs[place], body.get("top_logprobs", 0))
            event["choices"][0]["logprobs"] = {"content": [entry]}
        yield event
    if reply.refusal:
        yield _chunk(body, {"refusal": reply.refusal})
    for place, (name, given) in enumerate(reply.tool_calls):
        yield from _call(body, place, name, json.dumps(given))
    if reply.end == "error":
        yield reply.error
    elif reply.end in ("done", "no_done"):
        yield from _ending(reply, body)


def _ending(reply: Reply, body: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    written = reply.completion_tokens
    written = len(reply.chunks) + len(reply.tool_calls) if written is None else written
    read = reply.prompt_tokens or 0
    usage = {"prompt_tokens": read, "total_tokens": read + written, "completion_tokens": written}
    reason = "tool_calls" if reply.tool_calls and reply.finish_reason else reply.finish_reason
    last = _chunk(body, {}, finish_reason=reason)
    wanted = (body.get("stream_options") or {}).get("include_usage")
    yield last | ({"usage": usage} if reply.usage == "with_finish" else {})
    if wanted and reply.usage == "own":
        yield {**_chunk(body, {}), "choices": [], "usage": usage}
    if reply.end == "done":
        yield "[DONE]"


def _chunk(
    body: dict[str, Any], delta: dict[str, Any], *, finish_reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        **{"id": "chatcmpl-2f6c1d", "object": "chat.completion.chunk", "created": 1_763_800_000},
        **{"model": body["model"], "choices": [choice]},
    }


def _call(body: dict[str, Any], place: int, name: str, given: str) -> Iterator[dict[str, Any]]:
    """One call: its name first, then its arguments in two pieces."""
    first = {
        "id": f"call_{place}a",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
    yield _chunk(body, {"tool_calls": [{"index": place, **first}]})
    middle = len(given) // 2
    for piece in (given[:middle], given[middle:]):
        call = {"index": place, "function": {"arguments": piece}}
        yield _chunk(body, {"tool_calls": [call]})


def _logprob(text: str, logprob: float, others: int) -> dict[str, Any]:
    entry = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    return entry | {"top_logprobs": [dict(entry)] * min(1, others)}
