"""The whole service on one machine: what is missing of Redis and Ollama, a worker, HTTP, Flower.

For `make demo` and `make up`. With REDIS_URL or OLLAMA_HOST set, those are used instead.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Self

from local_llm_service.worker.embedded.processes.flower_process import FlowerProcess
from local_llm_service.worker.embedded.processes.http_process import HttpProcess
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME


class Stack:
    """Start everything with `with Stack() as stack`; `stack.environment` is what a caller needs.

    HTTP takes LOCAL_LLM_PORT, else `http_port` if nobody holds it.
    """

    def __init__(self, *, flower: bool = False, http_port: int = 0) -> None:
        self._with_flower, self._http_port = flower, http_port
        self._exits = ExitStack()
        self.environment: dict[str, str] = {}
        self.flower: FlowerProcess | None = None
        self.worker: WorkerProcess | None = None
        self.http: HttpProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:  # Ctrl-C while it starts must also end what has started
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self) -> None:
        """Start Redis and Ollama where none is named, then the worker, which needs both."""
        if not (url := os.environ.get("REDIS_URL")):
            url = self._exits.enter_context(RedisProcess()).url
        self.environment["REDIS_URL"] = url
        if host := os.environ.get("OLLAMA_HOST"):
            self.environment["OLLAMA_HOST"] = host
        else:
            self.environment["OLLAMA_HOST"] = self._exits.enter_context(OllamaProcess()).host
            self.environment["MODEL_NAME"] = MODEL_NAME
        self.http = HttpProcess(self.environment, preferred=self._http_port)
        self._exits.push(self.http)
        self.http.begin()  # it and the worker take a second each
        self.worker = self._exits.enter_context(WorkerProcess(self.environment))
        self.http.start()
        if self._with_flower:
            self.flower = self._exits.enter_context(FlowerProcess(self.environment))
