"""The whole service on one machine: whatever is missing of Redis and Ollama, a worker, Flower.

For `make demo`, `make up` and the tests. With REDIS_URL or OLLAMA_HOST set, those are used instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from local_llm_service.worker.embedded.processes.child_process import ChildProcess
from local_llm_service.worker.embedded.processes.ollama_process import IMPORT_ROOT, OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess, free_port
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME
from local_llm_service.worker.store.keys import DEFAULT_PREFIX, Keys


class _PythonProcess(ChildProcess):
    """A child that runs a module of this project under the given environment.

    `roots` are the folders that its modules are imported from.
    """

    roots: tuple[Path, ...] = (IMPORT_ROOT,)

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._environment = dict(environment)

    def environment(self) -> dict[str, str]:
        """See ChildProcess.environment; this project is importable in the child."""
        path = os.pathsep.join(
            filter(None, [*map(str, self.roots), os.environ.get("PYTHONPATH", "")])
        )
        return {**os.environ, "PYTHONPATH": path, **self._environment}


class WorkerProcess(_PythonProcess):
    """`python -m worker`; started once it has published itself in Redis."""

    name = "worker"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "local_llm_service.worker", *self.arguments()]

    def arguments(self) -> list[str]:
        """Celery's worker options; the name makes this worker's presence its own."""
        return ["--hostname", f"{self.worker_name}"]

    @property
    def worker_name(self) -> str:
        """Under which it publishes itself."""
        return f"llm-{id(self):x}-{os.getpid()}@localhost"

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        prefix = self.environment().get("KEY_PREFIX") or DEFAULT_PREFIX
        client = redis.Redis.from_url(self._environment["REDIS_URL"])
        try:
            return bool(client.exists(Keys(prefix).worker(self.worker_name)))
        except redis.RedisError:
            return False
        finally:
            client.close()


class FlowerProcess(_PythonProcess):
    """Flower on 127.0.0.1; started once its page can be fetched."""

    name = "flower"

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [
            sys.executable,
            *("-m", "celery", "-A", "local_llm_service.worker.app", "flower"),
            *("--address=127.0.0.1", f"--port={self.port}"),
        ]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Stack:
    """Start everything with `with Stack() as stack`; `stack.environment` is what a caller needs."""

    def __init__(self, *, flower: bool = False) -> None:
        self._with_flower = flower
        self._exits = ExitStack()
        self.environment: dict[str, str] = {}
        self.flower: FlowerProcess | None = None
        self.worker: WorkerProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:  # Ctrl-C while it starts must also end what has started
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def _start(self) -> None:
        """Redis and Ollama where none is named, then the worker, which needs both."""
        if not (url := os.environ.get("REDIS_URL")):
            url = self._exits.enter_context(RedisProcess()).url
        self.environment["REDIS_URL"] = url
        if host := os.environ.get("OLLAMA_HOST"):
            self.environment["OLLAMA_HOST"] = host
        else:
            self.environment["OLLAMA_HOST"] = self._exits.enter_context(OllamaProcess()).host
            self.environment["MODEL_NAME"] = MODEL_NAME
        self.worker = self._exits.enter_context(WorkerProcess(self.environment))
        if self._with_flower:
            self.flower = self._exits.enter_context(FlowerProcess(self.environment))
