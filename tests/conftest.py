"""Shared by all tests: a clean environment, a Redis, and waiting on a condition, not sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from pydantic import AliasChoices

from local_llm_service.worker.embedded.processes.ports import free_port
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.settings import Settings

T = TypeVar("T")

#: What a backend's tests use, and some of ours. pyproject.toml switches its guard off, as most of
#: our tests are to reach the run's Redis.
pytest_plugins = ["local_llm_service.testing.plugin"]

#: Prefixes of the variables that Celery, Kombu, Ollama's client and Flower read.
_FOREIGN = ("CELERY_", "KOMBU_", "OLLAMA_", "FLOWER_")


def variables() -> set[str]:
    """The environment variables that Settings reads, including old names."""
    names = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else filter(None, [alias])
        names |= {name.upper(), *(str(choice).upper() for choice in choices)}
    return names


def forget_settings(environment: MutableMapping[str, str]) -> None:
    """Remove settings of a developer's shell or CI; a test that needs a setting sets it."""
    ours = variables()
    for name in list(environment):
        if name.upper() in ours or name.upper().startswith(_FOREIGN):  # Settings ignores case
            del environment[name]


forget_settings(os.environ)

# The machine may be busy with other tests: slow examples say nothing of the code.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")

# Set before anything reads it: the Celery app of this process keeps the first REDIS_URL that it
# sees. `redis_process` starts a Redis at this address.
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


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    """The test run's own Redis, at this process's REDIS_URL."""
    with RedisProcess(port=REDIS_PORT) as server:
        yield server


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., object]:
    return wait_until
