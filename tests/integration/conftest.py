"""Integration tests use a private Redis, real worker processes, and a scripted or real model.

The test process is the producer. Its Celery app reads REDIS_URL once, so one Redis serves the whole
run and is emptied before each test; code that needs other settings runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.ollama import FakeOllama
from tests.doubles.stock_worker import StockWorker, stock_url

ROOT = Path(__file__).parents[2]
KEYS = Keys()

#: Every other key must have a lifetime. These keys are kombu's tables; in-flight deliveries, where
#: an entry lives as long as its job; dead letters, which are bounded; a counter; and a
#: list of 64 rings.
_WITHOUT_TTL = (
    *("_kombu.binding", "llm.high", "llm.normal", "llm.low"),  # of stock apps
    *(f"{KEYS.prefix}{name}" for name in ("binding", "llm.", "_kombu")),
    *(KEYS.parked, KEYS.parked_for, KEYS.parked_messages, KEYS.to_end, KEYS.sought),
    *(KEYS.quarantine, KEYS.unacked, KEYS.deferred, KEYS.deadlines, KEYS.unanswered),
    *(KEYS.dead_letters, KEYS.dead_letter_messages, KEYS.dead_letter_texts),
    *(KEYS.unreadable, KEYS.fence, KEYS.doorbell),
    KEYS.backlog,  # and its jobs: an entry lives as long as its job
    KEYS.fan_outs,  # a name stays until all are answered
    *(KEYS.afterwork, KEYS.afterwork_messages),  # end with their jobs' results
    *(KEYS.attended, KEYS.orphans),  # an entry ends with its job
    KEYS.api_key_records,  # an operator's
)


def _empty_redis(process: RedisProcess) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(process.url, decode_responses=True)
    client.flushall()
    yield client
    immortal = [
        key
        for key in client.scan_iter()
        if client.ttl(key) == -1 and not key.startswith(_WITHOUT_TTL)
    ]
    client.close()
    assert immortal == [], "keys without a lifetime"


@pytest.fixture
def redis_client(redis_process: RedisProcess) -> Iterator[redis.Redis]:
    """A client of an empty Redis. A key left without a lifetime fails the test."""
    yield from _empty_redis(redis_process)


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    """A scripted Ollama with the model `fake:1b`."""
    with FakeOllama() as server:
        yield server


def _beside(ollama: FakeOllama, environment: Mapping[str, str]) -> dict[str, str]:
    return {
        "REDIS_URL": os.environ["REDIS_URL"],
        "OLLAMA_HOST": ollama.host,
        "MODEL_NAME": "fake:1b",
        "RETRY_BASE_SECONDS": "0.05",
        "MODEL_WAIT_SECONDS": "0.5",
        **environment,
    }


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker_of(redis_client: redis.Redis, ollama: FakeOllama) -> Iterator[StartWorker]:
    """Start worker processes of a class: `start_worker_of(ForkedWorker, CONCURRENCY="4")`. They end
    with the test."""
    started: list[WorkerProcess] = []

    def start(kind: type[WorkerProcess], **environment: str) -> WorkerProcess:
        worker = kind(_beside(ollama, environment))
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.kill()  # a drain takes a second or more, and no test needs the jobs it puts back


@pytest.fixture
def start_worker(start_worker_of: StartWorker) -> StartWorker:
    """Start worker processes: `start_worker(CONCURRENCY="4")`. They end with the test."""
    return partial(start_worker_of, ForkedWorker)


@pytest.fixture
def worker(start_worker: StartWorker) -> WorkerProcess:
    """One worker with two slots."""
    return start_worker(CONCURRENCY="2")


# One worker serves all tests of a file if each asks a different question and cleans up: a start
# takes a second. Redis is emptied before the first test only, because a running worker would not
# survive it later. Tests of such a file must not use the fixtures above.


@pytest.fixture(scope="module")
def shared_redis(redis_process: RedisProcess) -> Iterator[redis.Redis]:
    """A client of a Redis that was empty when the file's tests began."""
    yield from _empty_redis(redis_process)


@pytest.fixture(scope="module")
def shared_ollama() -> Iterator[FakeOllama]:
    """The scripted Ollama that `shared_worker` asks."""
    with FakeOllama() as server:
        yield server


@pytest.fixture(scope="module")
def shared_worker(
    request: pytest.FixtureRequest, shared_redis: redis.Redis, shared_ollama: FakeOllama
) -> Iterator[WorkerProcess]:
    """A worker with the settings that the file names in SHARED_WORKER."""
    worker = ForkedWorker(_beside(shared_ollama, request.module.SHARED_WORKER))
    worker.start()
    yield worker
    worker.kill()


StartStock = Callable[..., StockWorker]


@pytest.fixture
def start_stock(redis_process: RedisProcess, ollama: FakeOllama) -> Iterator[StartStock]:
    """Start stock workers on database 1; they end with the test."""
    started: list[StockWorker] = []

    def start(url: str = redis_process.url, **settings: Any) -> StockWorker:
        started.append(StockWorker(url, ollama.host, **settings))
        started[-1].start()
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def stock_redis(redis_process: RedisProcess, redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client of the stock workers' database, emptied before the test."""
    client = redis.Redis.from_url(stock_url(redis_process.url), decode_responses=True)
    yield client
    client.close()


def run_python(
    *arguments: str, timeout: float = 60, stdin: str | None = None, cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own with `env` added to the environment."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **env},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(name="run_python")
def _run_python() -> Callable[..., Any]:
    return run_python
