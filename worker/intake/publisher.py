"""A worker publishes itself in Redis, so that callers see its models without asking Ollama.

A thread of its own writes one short-lived key every few seconds and removes it when the worker
stops. Each worker asks the Ollama beside it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.intake.circuit_breaker import CircuitBreaker
from local_llm_service.worker.intake.gate import Gate
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.intake.reasons import reasons_of
from local_llm_service.worker.intake.served_models import ServedModels
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import bounds, keys
from local_llm_service.worker.store.presence import Presence, RunningJob, publish, server_name
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)


class Publisher:
    """Writes the Presence of one worker until stopped.

    `slots` and `running` return its numbers of now, `jobs` what runs, the oldest first.
    """

    def __init__(
        self,
        name: str,
        slots: Callable[[], int],
        *,
        running: Callable[[], int],
        jobs: Callable[[], list[RunningJob]],
        settings: Settings,
        store: Store,
        engine: Engine,
        gate: Gate,
        catalog: ModelCatalog,
        served: ServedModels,
        breaker: CircuitBreaker,
    ) -> None:
        self._name, self._slots, self._running, self._jobs = name, slots, running, jobs
        self._settings, self._store, self._engine = settings, store, engine
        self._gate, self._catalog, self._breaker = gate, catalog, breaker
        self._served = served
        self._said = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Publish now and then every PRESENCE_INTERVAL_SECONDS."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the key at once and end the thread."""
        self._stopped.set()
        self._catalog.changed.set()
        self._thread.join(timeout=10)

    def observe(self) -> Presence:
        """Ask Ollama for its models and describe this worker."""
        version: str | None = None
        models: list[Model] = []
        notes: list[str] = []
        try:
            version = self._engine.version()
            models = self._engine.models()
            self._catalog.note(models)
            notes = self._engine.notes()
            self._say_once(logging.INFO, f"{server_name(version)} answers")
        except ServiceError as error:
            self._say_once(logging.WARNING, f"{error.message}. {error.hint}")
            self._catalog.note_away()
            if version is None:
                self._breaker.trip()
        presence = Presence(
            name=self._name,
            slots=self._slots(),
            running=self._running(),
            model=self._settings.model_name,
            ollama_host=self._settings.masked_ollama_host,
            ollama_version=version,
            ollama_reachable=version is not None,
            closed_by=self._gate.reasons,
            failing=[model for model in self._served.failing() if model != keys.DEFAULT_MODEL],
            lease_seconds=self._settings.lease_seconds,
            cache_enabled=self._settings.enable_cache,
            num_ctx=self._settings.num_ctx,
            notes=notes,
            models=models,
            jobs=self._jobs(),
        )
        return presence.model_copy(update={"reasons": reasons_of(presence)})

    def publish(self, presence: str) -> None:
        """Write a Presence as JSON; "" removes it. Raises redis-py's errors."""
        publish(self._store, self._name, presence, self._served.table())

    def _run(self) -> None:
        while not self._stopped.is_set():
            text = self.observe().model_dump_json()
            try:
                self.publish(text)
            except redis.RedisError as error:
                self._say_once(logging.WARNING, f"presence not published: {type(error).__name__}")
            self._catalog.changed.wait(bounds.PRESENCE_INTERVAL_SECONDS)
            self._catalog.changed.clear()
        try:
            self.publish("")
        except redis.RedisError:
            logger.warning("presence not removed: it expires by itself")

    def _say_once(self, level: int, text: str) -> None:
        """Log a state when it changes, not every few seconds."""
        if text != self._said:
            self._said = text
            logger.log(level, text)
