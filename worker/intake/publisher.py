"""A worker publishes itself in Redis, so that callers see its models without asking Ollama.

A thread of its own writes one short-lived key every few seconds and removes it when the worker
stops. Each worker asks the Ollama beside it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from local_llm_service.worker.intake.engine_breakers import EngineBreakers
from local_llm_service.worker.intake.engine_looks import EngineLooks
from local_llm_service.worker.intake.gate import Gate
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.intake.reasons import reasons_of
from local_llm_service.worker.intake.served_models import ServedModels
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import bounds
from local_llm_service.worker.store.presence import (
    EnginePresence,
    Presence,
    RunningJob,
    publish,
)
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
        gate: Gate,
        catalog: ModelCatalog,
        served: ServedModels,
        breaker: EngineBreakers,
    ) -> None:
        self._name, self._slots, self._running, self._jobs = name, slots, running, jobs
        self._settings, self._store = settings, store
        self._gate, self._catalog, self._served = gate, catalog, served
        self._looks = EngineLooks(catalog, served, breaker)
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
        """Ask the engines for their models and describe this worker."""
        looks = self._looks.all()
        fleet, settings = self._catalog.fleet, self._settings
        default = fleet.engine_of(fleet.own_name(settings.model_name)).name
        shown = next(one.presence for one in looks if one.presence.name == default)
        models = [model for one in looks for model in one.models]
        presence = Presence(
            name=self._name,
            slots=self._slots(),
            running=self._running(),
            model=settings.model_name,
            ollama_host=shown.url,
            ollama_version=shown.version,
            ollama_reachable=shown.reachable,
            closed_by=self._gate.reasons,
            failing=self._served.failing(),
            lease_seconds=settings.lease_seconds,
            remote_budget_usd=settings.remote_budget_usd if fleet.has_paid_models else None,
            cache_enabled=settings.enable_cache,
            num_ctx=settings.num_ctx,
            notes=self._notes([one.presence for one in looks]),
            models=models,
            engines=[one.presence for one in looks],
            routes=[route.name for route in fleet.routes],
            aliases=fleet.aliases,
            jobs=self._jobs(),
        )
        return presence.model_copy(update={"reasons": reasons_of(presence)})

    def _notes(self, engines: list[EnginePresence]) -> list[str]:
        """What an operator should know; with several engines, of which of them."""
        # Why the only engine is away is among the reasons.
        notes = list(engines[0].notes) if engines[0].reachable else []
        if len(engines) > 1:
            away = " is away, and jobs for its models wait"
            notes = [
                f"engine {one.name}{'' if one.reachable else away}: {note}"
                for one in engines
                for note in one.notes
            ]
        if self._settings.enable_cache:
            notes += [
                f"answers of model {name!r} are not cached: its engine does not say when it "
                "changes; set its revision in ENGINES_FILE, or MODEL_REVISION"
                for name in self._catalog.without_revision()
            ]
        return notes

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
