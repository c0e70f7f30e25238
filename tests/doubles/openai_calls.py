"""Calls of an engine over the scripted server of `/v1`, and a caller that may stop one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.errors import Cancelled, ServiceError
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.prompt import Completion, Prompt
from local_llm_service.worker.settings import Settings
from tests.doubles.openai_server import OpenAiServer, Reply

PROMPT = Prompt(({"role": "user", "content": "What is in Paris?"},), 100)
HANG = Reply(("Well", ","), end="hang")
SILENT = Reply(first_seconds=3600)


class Stop:
    """A caller that may stop; see Stoppable. `wanted` are the seconds for which others wait."""

    def __init__(self, wanted: float = 0.0) -> None:
        self.reason: ServiceError | None = None
        self._stop: Callable[[], None] | None = None
        self._wanted, self._lock = wanted, threading.Lock()

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        with self._lock:
            self._stop = stop
            if stop is not None and self.reason is not None:
                stop()

    @property
    def wanted_seconds(self) -> Callable[[], float]:
        def seconds() -> float:
            left, self._wanted = self._wanted, 0.0
            return left

        return seconds

    def stop(self) -> None:
        """Stop the generation, as a cancel does."""
        with self._lock:
            self.reason = Cancelled("the job was cancelled")
            if self._stop is not None:
                self._stop()


@pytest.fixture(name="server")
def openai_server() -> Iterator[OpenAiServer]:
    """A server that says what a test tells it."""
    with OpenAiServer() as started:
        yield started


Open = Callable[..., OpenAiEngine]


@pytest.fixture(name="open_engine")
def openai_engines(server: OpenAiServer) -> Iterator[Open]:
    """Opens engines over the server, and closes them."""
    opened: list[OpenAiEngine] = []

    def opening(settings: dict[str, Any] | None = None, **entry: Any) -> OpenAiEngine:
        given = {"name": "box", "kind": "openai_compatible", "url": server.url} | entry
        opened.append(OpenAiEngine(FleetEngine(**given), Settings(**(settings or {}))))
        return opened[-1]

    yield opening
    for one in opened:
        one.close()


def ask(
    engine: OpenAiEngine, prompt: Prompt = PROMPT, seconds: float = 30.0, **more: Any
) -> Completion:
    """One answer of the model."""
    return engine.complete(prompt, model="large", remaining_seconds=seconds, **more)
