"""Both sides, kept warm: each has a Redis, workers and a producer; one engine serves all."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.dedupe.child import Child
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

MODEL = "fake:1b"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SIDES = ("ours", "plain")


class PlainWorker(WorkerProcess):
    """A worker of benchmarks/dedupe/plain.py; it counts as started once it consumes."""

    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    name = "plain"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "benchmarks.dedupe.plain", *self.arguments()]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        return " ready." in self.log_path.read_text(errors="replace")


@dataclass
class Side:
    """One of the two services: its Redis, its workers and the needs of its producers."""

    name: str
    redis: RedisProcess
    workers: list[WorkerProcess]
    environment: dict[str, str]

    def producer(self) -> Child:
        """Make a producer process without starting it."""
        return Child("benchmarks.dedupe.producer", self.environment, self.name)


class Site:
    """`with Site(...) as site` runs the engine and the given sides, `workers` of 4 slots each."""

    def __init__(self, *, sides: tuple[str, ...] = SIDES, workers: int = 3) -> None:
        self._wanted, self._count = sides, workers
        self._exits = ExitStack()
        self.sides: dict[str, Side] = {}

    def __enter__(self) -> Self:
        try:
            self.engine = self._exits.enter_context(Child("benchmarks.dedupe.engine", {}))
            self._host = self.engine.call("host")
            for name in self._wanted:
                self.sides[name] = self._side(name)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def producer(self, side: str) -> Child:
        """Start a new producer process of that side; it ends with the site."""
        return self._exits.enter_context(self.sides[side].producer())

    def generations(self) -> list[Any]:
        """(began, ended, finished) of each request to the engine since the last call."""
        return list(self.engine.call("generations"))

    def cpu_seconds(self, side: str, producer: Child) -> dict[str, float]:
        """Seconds of CPU so far, by the kinds of process that work for this side."""
        one = self.sides[side]
        return {
            "workers": sum(_cpu_seconds(worker.pid) for worker in one.workers),
            "producer": _cpu_seconds(producer.pid),
            "engine": _cpu_seconds(self.engine.pid),
            "redis": _cpu_seconds(one.redis.pid),
        }

    def _side(self, name: str) -> Side:
        redis = self._exits.enter_context(RedisProcess())
        environment = {
            "REDIS_URL": redis.url,
            "OLLAMA_HOST": self._host,
            "MODEL_NAME": MODEL,
            "CONCURRENCY": "4",
        }
        make = WorkerProcess if name == "ours" else PlainWorker
        workers: list[WorkerProcess] = [make(environment) for _ in range(self._count)]
        for worker in workers:  # together: each takes a second to start
            self._exits.push(worker.__exit__)
            worker._spawn()
        for worker in workers:
            worker._wait_until_ready()
        return Side(name, redis, workers, environment)


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process (proc(5)); nan without /proc."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(words[11]) + int(words[12])) / TICKS_PER_SECOND
