"""A simulated paid model: a scripted server of `/v1/chat/completions` in this process.

It says what the log expects, and counts as a paid model would: a token for four bytes of a prompt
in UTF-8, and as many tokens of answer as it is told. What it has billed is known to the token. It
knows nothing, so nothing here says how good a paid model's answers are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "simulated-paid-model"
CONTEXT_TOKENS = 131_072
BYTES_OF_A_TOKEN = 4
#: What a chat template adds to a prompt.
_TEMPLATE_TOKENS = 8
_SAID = "This is what a paid model would say."


@dataclass(frozen=True, slots=True)
class Billed:
    """Tokens that were billed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Billed) -> Billed:
        return Billed(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


def tokens_of(text: str) -> int:
    """About as many as most models make of a text."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_OF_A_TOKEN)


@dataclass
class PaidModel:
    """The server while it runs; `answer_tokens` is the length of each answer."""

    url: str
    answer_tokens: int
    _says: str = _SAID
    _billed: Billed = Billed()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, text: str) -> None:
        """Answer so from now on; empty: something."""
        with self._lock:
            self._says = text or _SAID

    def take_bill(self) -> Billed:
        """What was billed since the last time."""
        with self._lock:
            billed, self._billed = self._billed, Billed()
        return billed

    def answer(self, body: dict[str, Any]) -> tuple[str, Billed]:
        """Answer a request's body, and bill it."""
        prompt = sum(tokens_of(_text(one.get("content"))) for one in body.get("messages", ()))
        most = body.get("max_completion_tokens") or body.get("max_tokens") or self.answer_tokens
        with self._lock:
            one = Billed(prompt + _TEMPLATE_TOKENS, min(self.answer_tokens, int(most)))
            self._billed += one
            return self._says, one


@contextmanager
def paid_model(answer_tokens: int) -> Iterator[PaidModel]:
    """Serve on a free port of this host until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    model = PaidModel(f"http://127.0.0.1:{server.server_port}/v1", answer_tokens)
    server.model = model  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="paid-model", daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(one.get("text", "")) for one in content if isinstance(one, dict))
    return str(content or "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a log of requests is no part of the tables."""

    def do_GET(self) -> None:
        """The models that there are."""
        if self.path.rstrip("/").endswith("/models"):
            one = {"id": NAME, "object": "model", "created": 0, "owned_by": "evals"}
            self._json(200, {"object": "list", "data": [one | {"max_model_len": CONTEXT_TOKENS}]})
        else:
            self._json(404, {"error": {"message": "no such route", "type": "not_found"}})

    def do_POST(self) -> None:
        """One chat, streamed or whole."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        text, billed = self.server.model.answer(body)  # type: ignore[attr-defined]
        usage = {
            "prompt_tokens": billed.prompt_tokens,
            "completion_tokens": billed.completion_tokens,
            "total_tokens": billed.prompt_tokens + billed.completion_tokens,
        }
        head = {"id": "chatcmpl-simulated", "created": 0, "model": NAME}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return self._json(200, whole)
        head["object"] = "chat.completion.chunk"
        first = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        chunks = [{**head, "choices": [one]} for one in (first, last)]
        chunks.append({**head, "choices": [], "usage": usage})
        events = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks)
        self._send(200, "text/event-stream", f"{events}data: [DONE]\n\n".encode())

    def _json(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
