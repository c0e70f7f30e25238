"""A worker publishes itself in Redis, so that callers see what is served without asking Ollama.

One key with a short life, written every few seconds from a thread of its own and removed when the
worker stops. Ollama is asked by the worker that sits beside it.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import redis
from celery import bootsteps
from celery.worker import state

from local_llm_service.worker.engine import Engine, get_engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.intake.circuit_breaker import get_breaker
from local_llm_service.worker.intake.gate import GATE
from local_llm_service.worker.intake.model_catalog import Serving, get_serving
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.presence import Presence
from local_llm_service.worker.store.scripts import Scripts

logger = logging.getLogger(__name__)


class Publisher:
    """Writes the Presence of one worker until it is stopped."""

    def __init__(
        self, name: str, slots: int, settings: Settings, engine: Engine, serving: Serving
    ) -> None:
        self._name, self._slots = name, slots
        self._settings, self._engine, self._serving = settings, engine, serving
        self._scripts = Scripts(connect(settings.redis_url))
        self._said = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Publish now and then every PRESENCE_INTERVAL_SECONDS."""
        self._thread.start()

    def stop(self) -> None:
        """Take the key away at once and end the thread."""
        self._stopped.set()
        self._serving.changed.set()
        self._thread.join(timeout=10)

    def observe(self) -> Presence:
        """Ask Ollama what it serves and describe this worker."""
        version: str | None = None
        models: list[Model] = []
        try:
            version = self._engine.version()
            models = self._engine.models()
            self._serving.note(models)
            self._say_once(logging.INFO, f"Ollama {version} answers")
        except ServiceError as error:
            self._say_once(logging.WARNING, f"{error.message}. {error.hint}")
            self._serving.note_away()
            if version is None:
                get_breaker().trip()
        return Presence(
            name=self._name,
            slots=self._slots,
            running=len(state.active_requests),
            model=self._settings.model_name,
            ollama_host=self._settings.masked_ollama_host,
            ollama_version=version,
            ollama_reachable=version is not None,
            closed_by=GATE.reasons,
            lease_seconds=self._settings.lease_seconds,
            cache_enabled=self._settings.enable_cache,
            models=models,
        )

    def _run(self) -> None:
        while not self._stopped.is_set():
            text = self.observe().model_dump_json()
            try:
                self._publish(text)
            except redis.RedisError as error:
                self._say_once(logging.WARNING, f"presence not published: {type(error).__name__}")
            self._serving.changed.wait(keys.PRESENCE_INTERVAL_SECONDS)
            self._serving.changed.clear()
        try:
            self._publish("")
        except redis.RedisError:
            logger.warning("presence not removed: it expires by itself")

    def _publish(self, presence: str) -> None:
        ttl_ms = keys.PRESENCE_TTL_SECONDS * 1000
        self._scripts.run("publish", [self._name, presence, ttl_ms, self._serving.table()])

    def _say_once(self, level: int, text: str) -> None:
        """Log a state when it changes, not every few seconds."""
        if text != self._said:
            self._said = text
            logger.log(level, text)


class PresenceStep(bootsteps.StartStopStep):
    """Celery's hook: publish while this worker runs."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        self._publisher: Publisher | None = None
        super().__init__(parent, **options)

    def start(self, parent: Any) -> None:
        """Begin to publish `parent`, which is Celery's worker."""
        name, slots = str(parent.hostname), int(parent.concurrency)
        self._publisher = Publisher(name, slots, get_settings(), get_engine(), get_serving())
        self._publisher.start()

    def stop(self, parent: Any) -> None:
        """Take the worker off the list."""
        if self._publisher is not None:
            self._publisher.stop()
