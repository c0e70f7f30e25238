"""What all tests share: a clean environment, and waiting on a condition instead of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from local_llm_service.worker.embedded.processes.ports import free_port

T = TypeVar("T")

#: Set by a developer's shell or by CI; a test that needs one of them sets it itself.
_OURS = (
    "REDIS_URL",
    "OLLAMA_HOST",
    "OLLAMA_NUM_PARALLEL",
    "MODEL_NAME",
    "CONCURRENCY",
    "NUM_CTX",
    "ENABLE_CACHE",
    "CACHE_TTL",
    "CACHE_MAX_ENTRY_BYTES",
    "CACHE_MAX_BYTES",
    "HIT_RESULT_TTL",
    "LOG_LEVEL",
    "DEADLINE_SECONDS",
    "MAX_QUEUE_LENGTH",
    "MAX_ATTEMPTS",
    "LEASE_SECONDS",
    "DRAIN_SECONDS",
    "MAX_CRASHES",
    "METRICS_PORT",
    "RESULT_TTL",
    "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND",
)

for _name in _OURS:
    os.environ.pop(_name, None)

# Before anything reads it: the Celery app of this process keeps the first REDIS_URL that it sees.
# tests/integration/conftest.py starts a Redis there.
REDIS_PORT = free_port()
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"


def wait_until(condition: Callable[[], T], what: str, timeout_seconds: float = 20.0) -> T:
    """Return the first true value of `condition`; fail with `what` after `timeout_seconds`."""
    end = time.monotonic() + timeout_seconds
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"never happened within {timeout_seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., object]:
    return wait_until
