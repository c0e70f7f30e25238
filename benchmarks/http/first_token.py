"""The first token by HTTP beside the first token of the engine itself, asked in turn.

Each question is new. Both are streams over a kept connection: `POST /v1/chat/completions` here, and
Ollama's `/api/chat` there.
"""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.dedupe.numbers import row
from benchmarks.http.site import MODEL, site

MOST_LATER_SECONDS = 0.040
#: Tokens of each answer, and the seconds between two: 100 tokens a second.
TOKENS, PAUSE_SECONDS = 10, 0.010


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Ask both in turn; return the bound and the raw seconds."""
    rounds = 30 if short else 300
    raw: dict[str, list[float]] = {"http": [], "engine": []}
    with site() as running:
        running.engine.call("pace", tokens=TOKENS, pause_seconds=PAUSE_SECONDS)
        here = HTTPConnection("127.0.0.1", running.http.port)
        there = HTTPConnection(urlsplit(running.environment["OLLAMA_HOST"]).netloc)
        sides = (("http", here, "/v1/chat/completions"), ("engine", there, "/api/chat"))
        for number in range(rounds + 5):
            for name, connection, path in sides:
                seconds = first_token(connection, path)
                if number >= 5:  # the first calls of each process
                    raw[name].append(seconds)
        here.close()
        there.close()
    return judge(raw), raw


def first_token(connection: HTTPConnection, path: str) -> float:
    """Seconds until a piece of text is there; the rest is read, too."""
    body = {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": f"Tell me of {uuid4().hex}."}],
    }
    began, first = time.perf_counter(), 0.0
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    while line := reply.readline():
        if not first and b"word0" in line:
            first = time.perf_counter() - began
    assert first, "no text came"
    return first


def judge(raw: dict[str, list[float]]) -> list[Measure]:
    """How much later it is, question by question."""
    print(row("POST /v1/chat/completions", raw["http"]))
    print(row("the engine itself", raw["engine"]))
    later = [ours - bare for ours, bare in zip(raw["http"], raw["engine"], strict=True)]
    print(row("later", later))
    limit = MOST_LATER_SECONDS * 1000
    return [Measure("first token later, p95", percentile(later, 95) * 1000, limit, "ms")]
