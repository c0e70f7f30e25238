"""The scripted engines, one per worker; the judge counts generations by their request logs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.prompts import Answers, job_of
from tests.doubles.ollama import FakeOllama, Seen, is_probe


@dataclass(frozen=True)
class Generation:
    """One request for a job; times are monotonic seconds, and `ended` is None while it runs."""

    job: str
    engine: int
    began: float
    ended: float | None
    finished: bool


@dataclass
class Engine(FakeOllama):
    """A FakeOllama that belongs to one worker and records when it sent each chunk."""

    number: int = 0
    answers: Answers = field(default_factory=Answers)
    chunk_times: dict[str, list[float]] = field(default_factory=dict)
    stopped_at: list[float] = field(default_factory=list)
    started_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.respond = lambda body: self.answers.script(body, f"engine {self.number}")
        self._ended: dict[int, float] = {}

    def start(self) -> None:
        """Start as FakeOllama does and record the time."""
        super().start()
        self.started_at.append(time.monotonic())

    def stop(self) -> None:
        """Stop as FakeOllama does and record the time, at which every open request ended."""
        self.stopped_at.append(time.monotonic())
        super().stop()

    async def _chat(self, body: dict[str, Any], reader: Any, writer: Any) -> bool:
        if is_probe(body):  # it is no job's, and has no number among them
            return await super()._chat(body, reader, writer)
        index = len(self.seen)
        try:
            return await super()._chat(body, reader, writer)
        finally:
            self._ended[index] = time.monotonic()

    def _record(self, body: dict[str, Any], text: str, *, done: bool) -> dict[str, Any]:
        self.chunk_times.setdefault(job_of(body), []).append(time.monotonic())
        return super()._record(body, text, done=done)

    def generations(self, since: int = 0) -> list[Generation]:
        """All requests for jobs so far, from number `since` on, in order of time."""
        return [
            self._generation(index, seen)
            for index, seen in enumerate(list(self.seen)[since:], since)
            if job_of(seen.body)
        ]

    def running(self) -> list[Generation]:
        """The generations that have not ended."""
        return [one for one in self.generations() if one.ended is None]

    def _generation(self, index: int, seen: Seen) -> Generation:
        ended = seen.closed_at or self._ended.get(index)
        return Generation(job_of(seen.body), self.number, seen.began_at, ended, seen.finished)
