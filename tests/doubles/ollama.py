"""A scripted Ollama at the wire: for faults, for speed, and to see the worker's real requests.

It speaks HTTP/1.1 on raw sockets so that a test can break a body off, hang, or refuse. A function
from the request body to a `Script` decides each answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from local_llm_service.worker.engine.abandoned import PROBE
from local_llm_service.worker.tokens.counting import is_counting
from tests.doubles import serving
from tests.doubles.serving import Heard, WireServer, chunk, plain, watched
from tests.doubles.windows import tokens_read


@dataclass
class Script:
    """One answer: chunks of text with a pause before each, and how it ends.

    `end`: "done" (a proper last record), "cut" (the connection breaks), "silent" (the body ends
    without a last record), "error" (an error line), "hang" (nothing more is ever sent).
    """

    chunks: tuple[str, ...] = ("Hello", ".")
    pause_seconds: float = 0.0
    first_seconds: float = 0.0
    end: str = "done"
    done_reason: str = "stop"
    #: None: a token for each word, and at least 11 in all.
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    status: int = 200
    error: str = ""
    #: Function and arguments of calls, which come in one record before the last one.
    tool_calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    #: Of each chunk, as Ollama writes it; sent only where a request asks for it.
    logprobs: tuple[dict[str, Any], ...] = ()
    #: Sent as the whole body of a 200, instead of all that.
    raw: bytes | None = None


#: The options of a request that names none, in Ollama 0.24 (api/types.go). `repeat_penalty` is the
#: one that shows: 0.33 has 1.0.
DEFAULT_OPTIONS: dict[str, float] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
}


#: When each model was pulled, as /api/tags says it.
MODIFIED_AT = "2026-11-22T11:40:23+00:00"


@dataclass
class Seen(serving.Seen):
    """One request as the server saw it."""

    @property
    def options(self) -> dict[str, Any]:
        """The options that the answer was made with: the server's own where none was sent."""
        return DEFAULT_OPTIONS | self.body.get("options", {})


@dataclass
class FakeOllama(WireServer):
    """Starts with `with FakeOllama(respond) as server`; `server.host` is its OLLAMA_HOST.

    `seen` holds the requests of jobs, `embedded` those for vectors, `probes` those that only ask
    whether a slot is free, `counted` those that only count a text; windows.py says what of a prompt
    is read. At most `slots` answers run at once, and a prompt is evaluated (`first_seconds`) to its
    end when its client has gone, as in 0.24 (tests/wire, client_disconnect_in_prompt). `max_loaded`
    models are there at once: a request for another waits, as in Ollama, for those that run.
    `trained` is the context that /api/show tells.
    """

    respond: Callable[[dict[str, Any]], Script] = lambda _: Script()
    #: The same for /api/embed, where only `first_seconds`, `end` and an error count.
    respond_to_texts: Callable[[dict[str, Any]], Script] = lambda _: Script()
    #: The vector of a text.
    vector: Callable[[str], list[float]] = lambda text: vector_of(text)
    models: tuple[str, ...] = ("fake:1b",)
    #: Those of them that it hands on to its maker.
    elsewhere: tuple[str, ...] = ()
    version: str = "0.33.0"
    digest: str = "ab" * 32
    slots: int = 1000
    max_loaded: int = 1000
    trained: int = 131_072
    #: A prompt that is too long is cut although `truncate: false` was sent.
    cuts: bool = False
    #: What /api/ps lists; None: there is no such route.
    loaded: tuple[str, ...] | None = ()
    seen: list[Seen] = field(default_factory=list)
    embedded: list[Seen] = field(default_factory=list)
    probes: list[Seen] = field(default_factory=list)
    counted: list[Seen] = field(default_factory=list)
    #: Method, path and body of what would change the models.
    managed: list[tuple[str, str, bytes]] = field(default_factory=list)
    _running: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(
        self, heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """See WireServer."""
        method, path, text = heard.method, heard.path, heard.content
        if path == "/api/chat":
            return await self._chat(json.loads(text), reader, writer)
        if path == "/api/embed":
            return await self._embed(json.loads(text), reader, writer)
        if path.startswith(("/api/pull", "/api/delete", "/api/blobs/")):
            return await self._manage(method, path, text, writer)
        answers: dict[str, Any] = {
            "/api/version": {"version": self.version},
            "/api/tags": {"models": self._tags()},
        }
        if path == "/api/show" and json.loads(text).get("model") in self.models:
            answers[path] = self._shown()
        if self.loaded is not None:
            answers["/api/ps"] = {"models": [self._running_model(one) for one in self.loaded]}
        plain(writer, 200 if path in answers else 404, answers.get(path, {"error": "no route"}))
        await writer.drain()
        return True

    async def _chat(
        self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        seen = Seen(body, time.monotonic())
        counts = is_counting(body["messages"], body.get("options", {}).get("num_predict", 0))
        kept = self.probes if is_probe(body) else self.counted if counts else self.seen
        kept.append(seen)
        script = self.respond(body) if kept is self.seen else Script(("A",), done_reason="length")
        if script.status == 200:
            read = tokens_read(body, script.prompt_tokens, self.version, cuts=self.cuts)
            script = (
                Script(status=400, error=read)
                if isinstance(read, str)
                else replace(script, prompt_tokens=read)
            )
        return await watched(seen, reader, self._play(script, body, writer))

    async def _manage(self, method: str, path: str, body: bytes, writer: Any) -> bool:
        """Remember what would change the models. A pull is told in lines, and fails for "nope"."""
        self.managed.append((method, path, body))
        if path != "/api/pull":
            status = 201 if method == "POST" else 404 if method == "HEAD" else 200
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            is_there = b"nope" not in body
            _line(writer, {"status": "pulling manifest"})
            _line(writer, {"status": "success"} if is_there else {"error": "no such model"})
            chunk(writer, b"")
        await writer.drain()
        return True

    async def _embed(
        self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        seen = Seen(body, time.monotonic())
        self.embedded.append(seen)
        script = self.respond_to_texts(body)
        return await watched(seen, reader, self._in_turn(script, body, writer, self._vectors))

    async def _play(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        return await self._in_turn(script, body, writer, self._stream)

    async def _in_turn(
        self, script: Script, body: dict[str, Any], writer: Any, write: Callable[..., Any]
    ) -> bool:
        if body["model"] not in self.models:
            script = Script(status=404, error=f"model '{body['model']}' not found")
        while not self._has_room(body["model"]):
            await asyncio.sleep(0.005)
        self._running.append(body["model"])
        evaluation = asyncio.ensure_future(asyncio.sleep(script.first_seconds))
        try:
            await asyncio.shield(evaluation)
            return bool(await write(script, body, writer))
        finally:
            free = partial(self._free, body["model"])
            free(None) if evaluation.done() else evaluation.add_done_callback(free)

    async def _stream(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        if script.status != 200:
            plain(writer, script.status, {"error": script.error})
            await writer.drain()
            return True
        if script.raw is not None:
            plain(writer, 200, script.raw)
            await writer.drain()
            return True
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for place, text in enumerate(script.chunks):
            if script.pause_seconds:
                await asyncio.sleep(script.pause_seconds)
            record = self._record(body, text, done=False)
            if body.get("logprobs") and script.logprobs:
                record["logprobs"] = [script.logprobs[place]]
            _line(writer, record)
            await writer.drain()
        if script.tool_calls:
            calls = [
                {"id": f"call_{n}", "function": {"index": n, "name": name, "arguments": given}}
                for n, (name, given) in enumerate(script.tool_calls)
            ]
            record = self._record(body, "", done=False)
            record["message"]["tool_calls"] = calls
            _line(writer, record)
        return await self._end(script, body, writer)

    async def _vectors(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        if script.end == "hang":
            await asyncio.sleep(3600)
        if script.end == "cut":
            return False
        if script.status != 200:
            plain(writer, script.status, {"error": script.error})
        else:
            given = body["input"]
            texts = [given] if isinstance(given, str) else given
            answer = {
                "model": body["model"],
                "embeddings": [self.vector(text) for text in texts],
                "total_duration": 3_000_000,
                "load_duration": 1_000_000,
                "prompt_eval_count": sum(len(text.split()) for text in texts),
            }
            plain(writer, 200, answer)
        await writer.drain()
        return True

    def _has_room(self, model: str) -> bool:
        is_loaded = model in self._running or len(set(self._running)) < self.max_loaded
        return is_loaded and len(self._running) < self.slots

    def _free(self, model: str, _: object) -> None:
        self._running.remove(model)

    async def _end(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        if script.end == "hang":
            await asyncio.sleep(3600)
        if script.end == "error":
            _line(writer, {"error": script.error or "unexpected EOF"})
        if script.end == "done":
            count = script.completion_tokens
            _line(
                writer,
                self._record(body, "", done=True)
                | {
                    "done_reason": script.done_reason,
                    "total_duration": 2_000_000,
                    "load_duration": 1_000_000,
                    "prompt_eval_count": script.prompt_tokens,
                    "prompt_eval_duration": 500_000,
                    "eval_count": len(script.chunks) if count is None else count,
                    "eval_duration": 500_000,
                },
            )
        if script.end != "cut":
            chunk(writer, b"")
        await writer.drain()
        return script.end != "cut"

    def _record(self, body: dict[str, Any], text: str, *, done: bool) -> dict[str, Any]:
        return {
            "model": body["model"],
            "created_at": "2026-11-22T12:00:00.000000000Z",
            "message": {"role": "assistant", "content": text},
            "done": done,
        }

    def _tags(self) -> list[dict[str, Any]]:
        return [
            {
                **{"name": name, "model": name, "modified_at": MODIFIED_AT},
                **{"size": 98_362_432, "digest": self.digest, "details": {}},
                **({"remote_host": "https://ollama.com:443"} if name in self.elsewhere else {}),
            }
            for name in self.models
        ]

    def _shown(self) -> dict[str, Any]:
        return {
            "details": {"format": "gguf", "family": "fake", "parameter_size": "1B"},
            "model_info": {
                "general.architecture": "fake",
                "general.parameter_count": 1_000_000_000,
                "fake.context_length": self.trained,
            },
            "capabilities": ["completion"],
        }

    def _running_model(self, name: str) -> dict[str, Any]:
        return {
            **{"name": name, "model": name, "size": 209_505_483, "digest": self.digest},
            **{"details": {}, "expires_at": "2318-11-22T12:17:35.515122957Z"},
            **{"size_vram": 0, "context_length": 4096},
        }


def vector_of(text: str) -> list[float]:
    """Four numbers that no other text has, of length 1 and as short as Ollama writes them."""
    numbers = [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:4]]
    length = math.sqrt(sum(number * number for number in numbers))
    return [float(f"{number / length:.8g}") for number in numbers]


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a request only asks if a slot is free (engine/abandoned.py)."""
    return [dict(one) for one in PROBE.messages] == body["messages"] and (
        body["options"]["num_predict"] == PROBE.max_tokens
    )


def _line(writer: Any, record: dict[str, Any]) -> None:
    chunk(writer, json.dumps(record).encode() + b"\n")
