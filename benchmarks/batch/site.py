"""A Redis, a scripted engine and workers, and the batch as a process of its own beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script

ROOT = Path(__file__).parents[2]
Respond = Callable[[dict[str, Any]], Script]


@dataclass
class TimedOllama(FakeOllama):
    """A FakeOllama that also knows when each answer was sent to its end, by its request's place."""

    ended: dict[int, float] = field(default_factory=dict)

    async def _chat(self, body: dict[str, Any], reader: Any, writer: Any) -> bool:
        place = len(self.seen)
        try:
            return await super()._chat(body, reader, writer)
        finally:
            self.ended[place] = time.monotonic()


class BatchSite:
    """`with BatchSite(respond, workers=1, slots=4) as site`."""

    def __init__(self, respond: Respond, *, workers: int, slots: int) -> None:
        self.redis, self.engine = RedisProcess(), TimedOllama(respond)
        self._counts = workers, slots
        self._exits = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="local-llm-batch-"))
        self.window = 2 * workers * slots
        self.output = self.directory / "out.jsonl"

    def __enter__(self) -> Self:
        self._exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._exits.enter_context(self.redis)
        self._exits.enter_context(self.engine)
        workers, slots = self._counts
        environment = {
            "REDIS_URL": self.redis.url,
            "OLLAMA_HOST": self.engine.host,
            "MODEL_NAME": self.engine.models[0],
            "CONCURRENCY": str(slots),
        }
        for _ in range(workers):
            worker = WorkerProcess(environment)
            worker.start()
            self._exits.callback(worker.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def begin_batch(self, count: int, prompt: Callable[[int], str]) -> subprocess.Popen[bytes]:
        """Start `local-llm batch generate --no-cache` on so many lines."""
        given = self.directory / "in.jsonl"
        with given.open("w") as file:
            for number in range(count):
                line = {"custom_id": f"line-{number}", "prompt": prompt(number)}
                file.write(f"{json.dumps(line)}\n")
        words = ["batch", "generate", str(given), "-o", str(self.output), "--no-cache"]
        process = subprocess.Popen(
            [sys.executable, "-m", "local_llm_service.producers", *words],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "REDIS_URL": self.redis.url,
            },
            stdin=subprocess.DEVNULL,
            stderr=(self.directory / "batch.log").open("wb"),
        )
        self._exits.callback(_stop, process)
        return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)
