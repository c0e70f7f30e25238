"""Puts the service into this process for one test, and the process back as it was.

Real are the callers' half, the scripts, the worker's half of a job's path, cache, single flight and
errors; stand-ins are Redis and the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

from local_llm_service.producers.async_client import leave_event_loops
from local_llm_service.tasks import admission, job
from local_llm_service.tasks.steps import engine_steps
from local_llm_service.worker.celery_ext.fresh_app import fresh_app
from local_llm_service.worker.celery_ext.in_process import InProcessWorker
from local_llm_service.worker.engine import Engine, engine_instead
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.listening.thread_listener import leave_process_listener
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import Settings, settings_instead
from local_llm_service.worker.store.connection import dialling
from local_llm_service.worker.store.dialling import Dial
from local_llm_service.worker.store.store import process_store

#: No name of this kind resolves (RFC 6761): whatever does not go through the stand-in goes nowhere.
REDIS_URL = "redis://local-llm-testing.invalid:6379/0"

#: What is quicker here than in a service, so that tests are, and what would need a network.
SETTINGS: Mapping[str, Any] = {
    "redis_url": REDIS_URL,
    "callback_broker_url": "memory://",  # kombu's own, for other apps' steps of a canvas
    "callback_result_backend": "cache+memory://",
    "ollama_host": "http://local-llm-testing.invalid:11434",
    "retry_base_seconds": 0.01,
    "model_wait_seconds": 2.0,
    "drain_seconds": 0.0,
}


class GivenSettings(Settings):
    """Settings that read no environment: a developer's REDIS_URL cannot get in."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: Any,
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given."""
        return (init_settings,)


@contextmanager
def service_here(settings: Settings, dial: Dial, engine: Engine) -> Iterator[InProcessWorker]:
    """The service in this process, with one worker that runs, until the end of the block."""
    with ExitStack() as exits:
        exits.enter_context(_replaced(settings, dial, engine))
        exits.enter_context(fresh_app())
        exits.callback(_end_waits)
        runtime = WorkerRuntime.make(
            "celery@local-llm-testing", settings.concurrency, settings, process_store(), engine
        )
        worker = InProcessWorker(runtime)
        exits.callback(worker.stop)
        exits.callback(engine.close)
        worker.start()
        yield worker


@contextmanager
def _replaced(settings: Settings, dial: Dial, engine: Engine) -> Iterator[None]:
    """Everything of the process that knows its settings, its Redis or its engine, replaced."""
    _end_waits()
    consensus, before = dict(admission._consensus), settings_instead(settings)
    opened = engine_instead(lambda _: engine)
    _forget()
    try:
        with dialling(dial):
            yield
    finally:
        settings_instead(before)
        engine_instead(opened)
        _forget()
        admission._consensus.update(consensus)


def _end_waits() -> None:
    """End what finds results for those who wait, in threads and in event loops."""
    leave_process_listener()
    leave_event_loops()


def _forget() -> None:
    """Forget what this process has made of its settings."""
    lazy_settings.cache_clear()
    process_store.cache_clear()
    job._limits.cache_clear()
    engine_steps._direct_engine.cache_clear()
    engine_steps._direct_book.cache_clear()
    admission._consensus.clear()
