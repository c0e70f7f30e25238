"""A Redis, the scripted engine, one worker, and one HTTP process in front of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from benchmarks.dedupe.child import Child
from local_llm_service.worker.embedded.processes.http_process import HttpProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

MODEL = "fake:1b"


@dataclass(frozen=True)
class Site:
    """All of them, running, and the environment in which a client finds them."""

    redis: RedisProcess
    engine: Child
    http: HttpProcess
    environment: dict[str, str]


@contextmanager
def site(*, slots: int = 4, worker: bool = True) -> Iterator[Site]:
    """Start them; they end with the `with`."""
    with RedisProcess() as redis, Child("benchmarks.streaming.engine", {}) as engine:
        environment = {
            "REDIS_URL": redis.url,
            "OLLAMA_HOST": str(engine.call("host")),
            "MODEL_NAME": MODEL,
            "CONCURRENCY": str(slots),
        }
        with HttpProcess(environment) as http:
            if worker:
                with WorkerProcess(environment):
                    yield Site(redis, engine, http, environment)
            else:
                yield Site(redis, engine, http, environment)


class Caller:
    """One connection to the HTTP service that is kept, as a client library does."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises RuntimeError for another status than 200."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", path, json.dumps(body), headers)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{path}: {reply.status}")
        return dict(json.loads(text))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
