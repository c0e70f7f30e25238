"""The scripted engine in a process of its own: an answer of many tokens at a steady pace."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.dedupe.child import serve
from tests.doubles.ollama import FakeOllama, Script


@dataclass
class Engine(FakeOllama):
    """A FakeOllama that notes when it began to send the first token of each prompt's answer."""

    tokens: int = 200
    pause_seconds: float = 0.0
    first_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.respond = self._script

    def _script(self, _: dict[str, Any]) -> Script:
        chunks = tuple(f"word{number} " for number in range(self.tokens))
        return Script(chunks=chunks, pause_seconds=self.pause_seconds)

    def _record(self, body: dict[str, Any], text: str, *, done: bool) -> dict[str, Any]:
        self.first_at.setdefault(body["messages"][-1]["content"], time.time())
        return super()._record(body, text, done=done)


def main() -> None:
    """Serve until the parent ends it."""
    engine = Engine()

    def pace(tokens: int, pause_seconds: float) -> None:
        engine.tokens, engine.pause_seconds = tokens, pause_seconds

    def first_at() -> dict[str, float]:
        """By prompt: when its first token was sent, seconds since 1970. Forgets them all."""
        found, engine.first_at = engine.first_at, {}
        engine.seen.clear()
        return found

    with engine:
        asked = lambda: len(engine.seen)  # noqa: E731
        serve({"host": lambda: engine.host, "pace": pace, "first_at": first_at, "asked": asked})


if __name__ == "__main__":
    main()
