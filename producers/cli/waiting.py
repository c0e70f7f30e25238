"""Waits for one job and shows its state on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from local_llm_service.producers.client import Handle
from local_llm_service.producers.service import workers
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.lazy_settings import lazy_settings

#: The pause between two changes of the line on the terminal.
TICK_SECONDS = 0.25


def wait(handle: Handle[Any], timeout: float) -> Answer:
    """Wait for the answer of `handle`, at most `timeout` seconds. Raises as `Handle.get` does."""
    begin = time.monotonic()
    shown = sys.stderr.isatty()
    try:
        while True:
            waited = time.monotonic() - begin
            if waited >= timeout:
                raise TimeoutError
            try:
                answer: Answer = handle.get(timeout=min(TICK_SECONDS, timeout - waited))
                return answer
            except TimeoutError:
                if shown:
                    _line(f"{handle.status()}  {waited:.0f} s")
    finally:
        if shown:
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
    return None


def _line(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()
