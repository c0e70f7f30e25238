"""A Redis, the scripted engine, one worker of four slots, and the callers' process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.dedupe.child import Child
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

SLOTS = 4


@dataclass(frozen=True)
class Site:
    """All of them, running."""

    redis: RedisProcess
    engine: Child
    worker: WorkerProcess
    caller: Child


@contextmanager
def site() -> Iterator[Site]:
    """Start them; they end with the `with`."""
    with RedisProcess() as redis, Child("benchmarks.streaming.engine", {}) as engine:
        environment = {
            "REDIS_URL": redis.url,
            "OLLAMA_HOST": engine.call("host"),
            "MODEL_NAME": "fake:1b",
            "CONCURRENCY": str(SLOTS),
        }
        with (
            WorkerProcess(environment) as worker,
            Child("benchmarks.streaming.caller", environment) as caller,
        ):
            yield Site(redis, engine, worker, caller)
