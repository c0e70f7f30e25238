"""One worker and one scripted model for the whole tour, so that it takes seconds.

The worker has a single slot, so that one slow answer keeps it busy and the next jobs have to wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.ollama import FakeOllama, Script


class Workers:
    """The worker of the tour, which can be killed and replaced."""

    def __init__(self, ollama: FakeOllama) -> None:
        self._environment = {
            "REDIS_URL": os.environ["REDIS_URL"],
            "OLLAMA_HOST": ollama.host,
            "MODEL_NAME": "fake:1b",
            "MODEL_WAIT_SECONDS": "0.5",
            "CONCURRENCY": "1",
            "LEASE_SECONDS": "3",  # the shortest: a dead worker's job goes to another one after it
        }
        self.start()

    def start(self) -> None:
        """Start one, and wait until it takes jobs."""
        self._worker = ForkedWorker(self._environment)
        self._worker.start()

    def kill(self) -> None:
        """End it as a crash does, without a goodbye."""
        self._worker.kill()


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    """A scripted Ollama that has the model `fake:1b`."""
    with FakeOllama() as server:
        yield server


@pytest.fixture(scope="module")
def workers(redis_process: RedisProcess, ollama: FakeOllama) -> Iterator[Workers]:
    """A running service: an empty Redis and a worker beside `ollama`."""
    with redis.Redis.from_url(redis_process.url) as client:
        client.flushall()
    running = Workers(ollama)
    yield running
    running.kill()


@pytest.fixture
def model(workers: Workers, ollama: FakeOllama) -> FakeOllama:
    """The model as each test finds it: it answers at once and remembers what it was asked."""
    ollama.respond = lambda _: Script(chunks=("Hello", "."))
    ollama.seen.clear()
    return ollama
