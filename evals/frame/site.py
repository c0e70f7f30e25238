"""The service that is evaluated: an own Redis and a worker beside the given Ollama, or its double.

Never the caller's own Redis: an evaluation must not mix with the jobs of a service that runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from evals.frame.run import SiteFailed
from local_llm_service.worker.embedded.processes.child_process import ChildProcess
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME
from local_llm_service.worker.settings import Settings

#: Between two looks whether the worker still runs.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Site:
    """Redis and an Ollama that run; a worker is started for each set."""

    redis_url: str
    ollama_host: str
    model: str

    @contextmanager
    def worker(self, settings: Mapping[str, str]) -> Iterator[WorkerProcess]:
        """A worker with these settings, until the end of the block."""
        environment = {
            "REDIS_URL": self.redis_url,
            "OLLAMA_HOST": self.ollama_host,
            "MODEL_NAME": self.model,
            **settings,
        }
        with WorkerProcess(environment) as worker:
            yield worker


async def while_it_runs(asking: Coroutine[Any, Any, None], worker: ChildProcess) -> None:
    """Await what asks a worker. Raises SiteFailed when that has ended: nobody would answer."""
    task = asyncio.ensure_future(asking)
    try:
        while not task.done():
            if not worker.running:
                raise SiteFailed(f"the worker has ended:\n{worker.log_tail()}")
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def site(ollama_host: str | None, model: str | None) -> Iterator[Site]:
    """Start what is missing: without a host the embedded model. Raises EmbeddedUnavailable.

    From here on this process's clients use the site's Redis.
    """
    embedded = OllamaProcess() if ollama_host is None else None
    with RedisProcess() as redis, embedded or nullcontext():
        os.environ["REDIS_URL"] = redis.url
        host = ollama_host or (embedded.host if embedded is not None else "")
        default = MODEL_NAME if embedded is not None else _default_model()
        yield Site(redis.url, host, model or default)


def _default_model() -> str:
    return os.environ.get("MODEL_NAME") or str(Settings.model_fields["model_name"].default)


def settings_of(given: Mapping[str, str], num_ctx: int | None) -> dict[str, str]:
    """A worker's settings: a set's own, with a context in tokens if one is asked for.

    The largest answer is at most half of a context, as a worker does not start with less room.
    """
    settings = dict(given)
    if num_ctx is not None:
        settings["NUM_CTX"] = str(num_ctx)
    if "NUM_CTX" in settings:
        most = min(_number(settings, "max_output_tokens"), context_of(settings) // 2)
        settings["MAX_OUTPUT_TOKENS"] = str(most)
    return settings


def context_of(settings: Mapping[str, str]) -> int:
    """The context, in tokens, of a worker with these settings."""
    return _number(settings, "num_ctx")


def _number(settings: Mapping[str, str], name: str) -> int:
    variable = name.upper()
    given = settings.get(variable) or os.environ.get(variable)
    return int(given or Settings.model_fields[name].default)
