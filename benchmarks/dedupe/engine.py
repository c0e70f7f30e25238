"""The scripted engine in a process of its own; all workers of both sides ask it.

It counts generations: every request for an answer that reaches it, with its times.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.dedupe.child import serve
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.serving import plain

TEXT = "The queue holds the question until a worker is free, and the answer is kept."


@dataclass
class Engine(FakeOllama):
    """A FakeOllama that also answers with `stream: false` and records when each answer was sent."""

    seconds: float = 0.1
    ended: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.respond = lambda _: Script(chunks=(TEXT,), first_seconds=self.seconds)

    async def _accept(self, reader: Any, writer: Any) -> None:
        # Go's server sets this too. asyncio does not set it on a listening socket that it was
        # given, and a streamed answer on a reused connection then waits 40 ms for a delayed ACK.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super()._accept(reader, writer)

    async def _chat(self, body: dict[str, Any], reader: Any, writer: Any) -> bool:
        index = len(self.seen)
        try:
            return await super()._chat(body, reader, writer)
        finally:
            self.ended[index] = time.monotonic()

    async def _play(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        if body.get("stream", True):
            return await super()._play(script, body, writer)
        await asyncio.sleep(script.first_seconds)
        record = self._record(body, TEXT, done=True)
        plain(writer, 200, record | {"done_reason": "stop", "eval_count": 1})
        await writer.drain()
        return True


def main() -> None:
    """Serve until the parent ends it."""
    engine = Engine()

    def take(seconds: float) -> None:
        engine.seconds = seconds

    def generations() -> list[tuple[float, float | None, bool]]:
        """(began, ended, finished) of each generation since the last call; monotonic seconds."""
        found = [
            (seen.began_at, engine.ended.get(index), seen.finished)
            for index, seen in enumerate(engine.seen)
        ]
        if all(ended for _, ended, _ in found):
            engine.seen.clear()
            engine.ended.clear()
        return found

    def running() -> int:
        return len(engine.seen) - len(engine.ended)

    with engine:
        serve({
            "host": lambda: engine.host,
            "take": take,
            "generations": generations,
            "running": running,
        })  # fmt: skip


if __name__ == "__main__":
    main()
