"""Waits for one job and shows its state on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from local_llm_service.producers.client import Job
from local_llm_service.producers.service import workers
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.lazy_settings import lazy_settings

A = TypeVar("A", bound=Answer)

#: The pause between two changes of the line on the terminal.
TICK_SECONDS = 0.25


def wait(job: Job[A], timeout: float) -> A:
    """Wait for the answer of `job`, at most `timeout` seconds. Raises as `Job.result` does."""
    with shown(job) if sys.stderr.isatty() else nullcontext():
        return job.result(timeout)


@contextmanager
def shown(job: Job[Any]) -> Iterator[None]:
    """Show how far a job is, from a thread: the wait itself must not wait for that."""
    begin, ended = time.monotonic(), threading.Event()

    def show() -> None:
        while not ended.wait(TICK_SECONDS):
            try:
                now = str(job.progress())
            except BrokerUnreachable:
                now = "Redis is away"
            if not ended.is_set():
                _line(f"{now}  {time.monotonic() - begin:.0f} s")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(TICK_SECONDS)
        _line("")


def obstacle() -> str | None:
    """Why a job cannot start now, and what to do; None when a worker can take it."""
    there = workers()
    if not there:
        return (
            "no worker is running on this Redis under KEY_PREFIX "
            f"{lazy_settings().key_prefix}. Start one with `python -m local_llm_service.worker`, "
            "or give both the same REDIS_URL and KEY_PREFIX"
        )
    if not any(worker.ollama_reachable for worker in there):
        host = there[0].ollama_host
        return f"Ollama is not running at {host}. Start it with `ollama serve`"
    if all(worker.reasons for worker in there) and not any(worker.models for worker in there):
        return f"no worker has a model: {there[0].reasons[0]}"
    return None


def _line(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()
