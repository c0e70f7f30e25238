"""The models of a worker's Ollama, each with its revision: one word that goes into fingerprints.

A revision holds the model's digest, so that a model that was pulled again never answers from old
cache entries, and those settings of the worker that can change an answer.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings

#: How long the catalog counts as fresh. A look costs about 2 ms, too much for every job. For this
#: long after a pull, an old entry can still answer, or a new answer go under the old digest.
FRESH_SECONDS = 1.0


class ModelCatalog:
    """The models of this worker's Ollama, as last seen."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        self._lock = threading.Lock()
        self._seen: dict[str, str] = {}
        self._names: tuple[str, ...] | None = None
        self._seen_at = -FRESH_SECONDS
        #: Set when something has changed, for whoever publishes it.
        self.changed = threading.Event()

    def note(self, models: list[Model]) -> None:
        """Record the models that Ollama has now."""
        seen = {full_name(one.name): self._revision(one) for one in models if one.digest}
        names = tuple(full_name(one.name) for one in models)
        with self._lock:
            if seen != self._seen or names != self._names:
                self.changed.set()
            self._seen, self._names = seen, names
            self._seen_at = time.monotonic()

    def _revision(self, model: Model) -> str:
        settings = self._settings
        # The context that it really runs with: less than NUM_CTX where it was trained for less.
        num_ctx = min(settings.num_ctx, model.context_tokens or settings.num_ctx)
        return f"{model.digest}/{num_ctx}/{settings.max_output_tokens}"

    def note_away(self) -> None:
        """Record that Ollama does not answer; it may come back with other models.

        Until then no model can be pulled, and callers can go on using old answers.
        """
        with self._lock:
            self._seen_at = -FRESH_SECONDS

    def look(self) -> None:
        """Ask Ollama for its models now; one that does not answer changes nothing."""
        try:
            self.note(self._engine.models())
        except ServiceError:
            return

    def names(self) -> tuple[str, ...] | None:
        """The full names of all models that were there at the last look; None before the first."""
        return self._names

    def revision(self, model: str) -> str | None:
        """The revision of `model`; None if it is not known, or if the cache is off."""
        if not self._settings.enable_cache:
            return None
        with self._lock:
            fresh = time.monotonic() - self._seen_at < FRESH_SECONDS
        if not fresh:
            try:
                self.note(self._engine.models())
            except ServiceError:
                return None
        with self._lock:
            return self._seen.get(full_name(model))

    def table(self) -> dict[str, Any]:
        """For publish.lua: the default model and the models' revisions."""
        with self._lock:
            models = self._seen if self._settings.enable_cache else {}
            return {"default": full_name(self._settings.model_name), "models": dict(models)}
