"""Each kind of engine over its scripted server, which runs in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.settings import Settings
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.openai_server import OpenAiServer, Reply

Kind = Literal["ollama", "openai_compatible"]
KINDS: tuple[Kind, ...] = ("ollama", "openai_compatible")
PROMPT = Prompt(({"role": "user", "content": "Count."},), 1000)


@dataclass(frozen=True)
class Pieces:
    """What the server says: so many pieces, with a pause before each; then it may hang."""

    count: int
    pause_seconds: float = 0.0
    hangs: bool = False


@contextmanager
def engine_of(kind: Kind, pieces: Pieces) -> Iterator[tuple[Engine, Callable[[], float]]]:
    """An engine, and a function that waits until its server has seen a client leave: when that
    was, on the clock `time.monotonic` that processes share."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(kind, pieces, theirs), daemon=True
    )
    process.start()
    engine = _opened(kind, ours.recv())
    try:
        yield engine, lambda: _ask(ours)
    finally:
        engine.close()
        ours.send("end")
        process.join(10)


def _opened(kind: Kind, url: str) -> Engine:
    if kind == "ollama":
        return OllamaEngine(Settings(ollama_host=url))
    return OpenAiEngine(FleetEngine("bench", kind, url), Settings())


def _ask(connection: Connection) -> float:
    connection.send("closed")
    return float(connection.recv())


def _serve(kind: Kind, pieces: Pieces, connection: Connection) -> None:
    texts = tuple(f" {number}" for number in range(pieces.count))
    pause = pieces.pause_seconds
    if kind == "ollama":
        end = "hang" if pieces.hangs else "done"
        with FakeOllama(lambda _: Script(texts, pause, end=end), models=("m",)) as ollama:
            _answer(connection, ollama.host, lambda: ollama.seen[-1].closed_at)
        return
    reply = Reply(texts, pause, end="hang" if pieces.hangs else "done")
    with OpenAiServer(lambda _: reply, models=("m",)) as server:
        _answer(connection, server.url, lambda: server.requests[-1].closed_at)


def _answer(connection: Connection, url: str, closed_at: Callable[[], float | None]) -> None:
    connection.send(url)
    while connection.recv() == "closed":
        while (at := closed_at()) is None:
            pass
        connection.send(at)
