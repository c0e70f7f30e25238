"""Breakers of single models: a worker whose engine fails one takes no jobs for it, and probes.

The circuit breaker is for an Ollama that does not answer at all. These are for one that answers
with errors: without them it ends a job in a millisecond, and so takes nearly every job there is.

A probe is a job: after a pause, one is taken. If the engine fails it too, it goes to another worker
and the pause doubles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from local_llm_service.worker.errors import (
    EngineTimeout,
    InvalidOutput,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    ServiceError,
    StreamBroken,
)

logger = logging.getLogger(__name__)

#: What an engine does to a job: another worker's engine may do better. All else is the job's own.
ENGINE_FAULTS = (ModelFailed, ModelMissing, StreamBroken, EngineTimeout, OllamaBusy)

#: So many failures in a row open a breaker. One alone may be the job's fault.
FAILURES_IN_A_ROW = 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0


@dataclass(slots=True)
class _Breaker:
    """Failures since the last success; open while `pause_seconds` is above 0."""

    failures: int = 0
    failed_at: float = 0.0
    pause_seconds: float = 0.0
    probe_at: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.pause_seconds > 0

    def fail(self, began_at: float, now: float, *, at_once: bool) -> bool:
        """Count a failure of a run that began at `began_at`; True when that opens the breaker."""
        if self.is_open and began_at < self.probe_at:
            return False  # it began before the probe
        self.failures, self.failed_at = self.failures + 1, now
        if not (self.is_open or at_once or self.failures >= FAILURES_IN_A_ROW):
            return False
        opens = not self.is_open
        self.pause_seconds = min(
            max(FIRST_PAUSE_SECONDS, 2 * self.pause_seconds), LONGEST_PAUSE_SECONDS
        )
        self.probe_at = now + self.pause_seconds
        return opens


@dataclass(slots=True)
class _Engine(_Breaker):
    """The breaker of a whole engine: it opens when the engine fails more than one model."""

    models: set[str] = field(default_factory=set)


class ModelBreakers:
    """The breakers of one worker, by full model name. `changed` is called when one opens or closes.

    Runs of all slots report here; the transport asks before each take.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._lock = changed, threading.Lock()
        self._of_model: dict[str, _Breaker] = {}
        self._of_engine = _Engine()

    @property
    def are_quiet(self) -> bool:
        """Whether the engine has failed nothing of late."""
        return not self._of_model

    def allowed(self, models: Collection[str], in_flight: Collection[str]) -> list[str]:
        """Of these models, those that jobs may be taken for now.

        One whose breaker is open is among them when its probe is due and no job of it is in
        `in_flight` (the models of this worker's jobs, one for each job).
        """
        now = time.monotonic()
        with self._lock:
            engine = self._of_engine
            if engine.is_open and (in_flight or now < engine.probe_at):
                return []
            return [model for model in models if self._allows(model, in_flight, now)]

    def _allows(self, model: str, in_flight: Collection[str], now: float) -> bool:
        breaker = self._of_model.get(model)
        if breaker is None or not breaker.is_open:
            return True
        return now >= breaker.probe_at and model not in in_flight

    def failing(self, models: Collection[str]) -> list[str]:
        """Of these models, those that the engine fails, as far as this worker knows."""
        with self._lock:
            if self._of_engine.is_open:
                return list(models)
            return [name for name in models if name in self._of_model and self._is_open(name)]

    def _is_open(self, model: str) -> bool:
        return self._of_model[model].is_open

    def ended(self, model: str, error: ServiceError | None, began_at: float) -> None:
        """Note how a run with `model`, begun at `began_at` (monotonic seconds), ended.

        An error that says nothing of the engine (a cancel, a deadline) changes nothing.
        """
        if error is None or isinstance(error, InvalidOutput):
            self._worked(model)
        elif isinstance(error, ENGINE_FAULTS):
            self._failed(model, error, began_at)

    def keep_only(self, models: Collection[str]) -> None:
        """Forget models that are gone: they may come back as other ones."""
        with self._lock:
            for model in [name for name in self._of_model if name not in models]:
                del self._of_model[model]
            if self.are_quiet:
                self._of_engine = _Engine()

    def _worked(self, model: str) -> None:
        if self.are_quiet:
            return
        with self._lock:
            breaker = self._of_model.pop(model, None)
            closes = self._of_engine.is_open or (breaker is not None and breaker.is_open)
            self._of_engine = _Engine()
        if closes:
            logger.info("the engine answers for model %r again", model)
            self._changed()

    def _failed(self, model: str, error: ServiceError, began_at: float) -> None:
        now = time.monotonic()
        with self._lock:
            breaker, engine = self._of_model.setdefault(model, _Breaker()), self._of_engine
            # One moment at which a runner dies ends the jobs of all slots: that is one failure.
            if error.retryable and began_at < max(breaker.failed_at, engine.failed_at):
                return
            opens = breaker.fail(began_at, now, at_once=isinstance(error, ModelMissing))
            engine.models.add(model)
            if engine.is_open or len(engine.models) > 1:
                opens |= engine.fail(began_at, now, at_once=False)
        if opens:
            logger.warning(
                "the engine fails model %r (%s): taking one job for it at a time", model, error.code
            )
            self._changed()
